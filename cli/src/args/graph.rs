//! `kiln graph`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Context, Source};

/// `kiln graph`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Of a context, the graph is what a build would do; nothing is built. Of a build of the past, it is what it did:
with times, cache states, sizes and the critical path. The page of `html` needs nothing but itself: the graph,
the time line, and for each step its log and the files of its layers (of those the first 300, and of a log the
last 500 lines).

Examples:
  kiln graph .
  kiln graph --target test --format mermaid .
  What the latest build did, as a page:
    kiln graph --build --format html -o build.html
  By graphviz:
    kiln graph --build ^1 --format dot | dot -Tsvg -o build.svg")]
pub struct GraphArgs {
    /// What COPY and ADD would read from, as for `kiln build`
    #[arg(value_name = "CONTEXT", value_parser = Context::parse, required_unless_present = "build")]
    pub context: Option<Context>,
    /// A build of the past: its id, the beginning of one, or ^N (default: the latest)
    #[arg(
        long,
        value_name = "BUILD",
        num_args = 0..=1,
        default_missing_value = "^0",
        conflicts_with_all = ["context", "file", "target", "build_args", "build_contexts", "platforms", "labels"],
    )]
    pub build: Option<String>,
    /// What would be built.
    #[command(flatten)]
    pub source: Source,
    /// How the graph is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "tree")]
    pub format: GraphFormat,
    /// File to write; standard output where none is given
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The form of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Text for people
    Tree,
    /// For graphviz
    Dot,
    /// For Mermaid, as in Markdown
    Mermaid,
    /// For programs
    Json,
    /// One page for a browser
    Html,
}
