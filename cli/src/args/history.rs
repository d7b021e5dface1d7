//! `kiln history`, with the verbs of `docker buildx history`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{Format, ProgressMode, ValueError};

/// What can be filtered by.
const FILTERS: &[&str] = &["status", "name"];
/// How builds stand.
const STATUSES: &[&str] = &["completed", "error", "canceled", "running", "killed"];

/// `kiln history`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
A BUILD is an id, the beginning of one, or ^N: ^0 is the latest build, ^1 the one before it. The latest is
meant where none is given. How many are kept is said by `[history]` in kiln.toml.

Examples:
  kiln history ls
  kiln history inspect
  What the build before the latest wrote:
    kiln history logs ^1")]
pub struct HistoryArgs {
    /// What to do with the records of builds.
    #[command(subcommand)]
    pub what: History,
}

/// What can be done with the records of builds.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum History {
    /// List builds, the latest first
    Ls(HistoryLsArgs),
    /// Show how a build went: its steps, its errors and what it spent its time on
    Inspect(HistoryInspectArgs),
    /// Print what a build wrote
    Logs(HistoryLogsArgs),
    /// Write a build as a trace for a viewer, or send it to a collector
    Trace(HistoryTraceArgs),
    /// Remove records of builds
    Rm(HistoryRmArgs),
    /// Write records of builds to one file
    Export(HistoryExportArgs),
    /// Bring records of builds in from a file that `export` wrote
    Import(HistoryImportArgs),
}

/// `kiln history ls`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  kiln history ls
  Builds that failed:
    kiln history ls --filter status=error
  For use in scripts:
    kiln history ls --format json")]
pub struct HistoryLsArgs {
    /// Only what fits: status=completed|error|canceled|running|killed, name=TEXT (a part of the name)
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = BuildFilter::parse)]
    pub filters: Vec<BuildFilter>,
    /// Print names whole
    #[arg(long)]
    pub no_trunc: bool,
    /// `table`, or `json`: one object in each line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// `kiln history inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
The time of a step that was taken from the cache is that of looking it up. The critical path is the chain of
steps that took longest: the build could not have been faster, however many steps ran at the same time.

Examples:
  kiln history inspect
  The keys of all steps:
    kiln history inspect --format json | jq '.Steps[] | {Name, Key}'")]
pub struct HistoryInspectArgs {
    /// Id, the beginning of one, or ^N (default: the latest)
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,
    /// `pretty`, or `json`: one object
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "pretty")]
    pub format: InspectFormat,
}

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InspectFormat {
    /// For people.
    Pretty,
    /// For programs.
    Json,
}

/// `kiln history logs`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Of a build that runs it is what there is until now. A record has at most 32 MiB of output.

Examples:
  kiln history logs
  kiln history logs ^1 --progress rawjson")]
pub struct HistoryLogsArgs {
    /// Id, the beginning of one, or ^N (default: the latest)
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,
    /// How it is shown: as the build itself would have
    #[arg(long, value_enum, value_name = "MODE", default_value = "plain")]
    pub progress: ProgressMode,
}

/// `kiln history trace`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
The trace is in Chrome's format, which chrome://tracing, ui.perfetto.dev and speedscope open: a row for each job,
with each step's cache key and state. Collectors of OpenTelemetry get a span for the build and one for each
task, by OTLP over HTTP with JSON; OTEL_EXPORTER_OTLP_HEADERS may hold headers for them.

Examples:
  kiln history trace -o build.json
  To the collector of this machine:
    kiln history trace --otlp
  As a file of OTLP:
    kiln history trace ^1 --format otlp -o build.otlp.json")]
pub struct HistoryTraceArgs {
    /// Id, the beginning of one, or ^N (default: the latest)
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,
    /// What is written: `chrome`, or `otlp`: one request in JSON
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "chrome")]
    pub format: TraceFormat,
    /// File to write; standard output where none is given
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Send the trace to this collector instead
    #[arg(
        long,
        value_name = "ENDPOINT",
        num_args = 0..=1,
        default_missing_value = "http://localhost:4318",
        conflicts_with_all = ["output", "format"],
    )]
    pub otlp: Option<String>,
}

/// The form of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// Chrome's.
    Chrome,
    /// OpenTelemetry's.
    Otlp,
}

/// `kiln history rm`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["builds", "all"]), after_help = "\
A build that runs cannot be removed.

Examples:
  kiln history rm ^3
  kiln history rm --all")]
pub struct HistoryRmArgs {
    /// Ids, beginnings of ids, or ^N
    #[arg(value_name = "BUILD")]
    pub builds: Vec<String>,
    /// Remove the records of all builds
    #[arg(long)]
    pub all: bool,
}

/// `kiln history export`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
The file is a tar archive, compressed with gzip, that has one file of JSON lines for each build.

Examples:
  kiln history export -o build.kiln
  kiln history export --all -o builds.kiln
  The events themselves:
    kiln history export ^1 | tar -xzO | jq .event")]
pub struct HistoryExportArgs {
    /// Ids, beginnings of ids, or ^N (default: the latest)
    #[arg(value_name = "BUILD")]
    pub builds: Vec<String>,
    /// Write the records of all builds that ended
    #[arg(long, conflicts_with = "builds")]
    pub all: bool,
    /// File to write; standard output where none is given
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `kiln history import`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Records that are there already stay as they are. What is imported counts for the limits of the history.

Examples:
  kiln history import -f build.kiln
  kiln history import < build.kiln")]
pub struct HistoryImportArgs {
    /// File to read; standard input where none is given
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildFilter {
    /// Builds that stand so.
    Status(String),
    /// Builds with a name that has this in it.
    Name(String),
}

impl BuildFilter {
    /// Reads `KEY=VALUE`.
    fn parse(text: &str) -> Result<Self, ValueError> {
        let none = || ValueError::Form { text: text.to_owned(), form: "KEY=VALUE" };
        let (key, value) = text.split_once('=').ok_or_else(none)?;
        match key {
            "status" => {
                let name = value.to_lowercase();
                let known = STATUSES.contains(&name.as_str());
                let unknown =
                    ValueError::Unknown { what: "status", name: name.clone(), known: STATUSES };
                if known { Ok(Self::Status(name)) } else { Err(unknown) }
            }
            "name" => Ok(Self::Name(value.to_owned())),
            _ => {
                let (what, name) = ("filter", key.to_owned());
                Err(ValueError::Unknown { what, name, known: FILTERS })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read() {
        for (text, filter) in [
            ("status=Error", BuildFilter::Status("error".to_owned())),
            ("name=app", BuildFilter::Name("app".to_owned())),
        ] {
            assert_eq!(BuildFilter::parse(text), Ok(filter), "{text}");
        }
        let error = BuildFilter::parse("status=eror").unwrap_err().to_string();
        assert!(error.contains("`error`"), "{error}");
        assert!(BuildFilter::parse("age=1").is_err() && BuildFilter::parse("status").is_err());
    }
}
