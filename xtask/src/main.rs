//! The project's own tasks, run as `cargo xtask TASK`.
//!
//! Nothing here is part of the product; what a task needs of Kiln it gets by running the `kiln` binary,
//! as a user would.

mod base;
mod bench;
mod ci;
mod corpus;
mod demo;
mod shell;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Kiln project")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds an example twice, changes a file and builds again; needs no root and no registry
    Demo,
    /// Checks the house rules: dependency directions, headers; reports sizes
    Tidy,
    /// All that a change must pass: format, clippy, tests, docs, tidy, cargo-deny, fuzz targets
    Ci,
    /// Prints what builds cost, as ratios to what the kernel alone costs
    Bench {
        /// Runs of each measurement; the median is printed
        #[arg(long, default_value_t = 5)]
        runs: usize,
        /// Only these measurements
        #[arg(long, value_enum)]
        only: Vec<bench::Part>,
    },
    /// Compares plans with the reference's on the corpus beside the project
    Corpus {
        /// Compares whole builds instead: images, and the lines that failing builds point at
        #[arg(long)]
        builds: bool,
        /// Only the builds whose names contain this
        #[arg(long, requires = "builds")]
        only: Option<String>,
    },
    /// Rewrites the golden files of all crates
    Bless,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo => demo::demo(),
        Task::Tidy => tidy::tidy(),
        Task::Ci => ci::ci(),
        Task::Bench { runs, only } => bench::bench(runs, &only),
        Task::Corpus { builds, only } => corpus::corpus(builds, only.as_deref()),
        Task::Bless => ci::bless(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
