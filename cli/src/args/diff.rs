//! `kiln diff`.

use clap::Args;

use super::Format;

/// What the steps of builds are called by.
pub(super) const REFERENCES: &str = "\
A BUILD is an id, the beginning of one, or ^N: ^0 is the latest build, ^1 the one before it. A STEP is what its
name has in brackets (`build 3/5`), a part of its name that no other has, a line of the Dockerfile (`:12`), or its
number in the build graph. `kiln history inspect` lists the steps of a build.";

const EXAMPLES: &str = "\
In front of each path stands A for what was added, C for what was changed, D for what was deleted, as `docker diff`
has it; a directory is changed when something in it is. Times are not looked at. In a name, what is no text or would
steer the terminal is written as `\\xNN`. Exit code 4 says that there is no such step, or that its layers were
collected.

Examples:
  What the third step of the stage `build` changed in the latest build:
    kiln diff 'build 3/5'
  What the instruction on line 12 changed in the build before that, with sizes:
    kiln diff --long ^1 :12
  The largest files that it added:
    kiln diff :12 --format json | jq -s 'sort_by(-.After.Size)[:10][].Path'";

/// What to compare.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = format!("{REFERENCES}\n\n{EXAMPLES}"))]
pub struct DiffArgs {
    /// Build (default: the latest) and step
    #[arg(value_names = ["BUILD", "STEP"], num_args = 1..=2, required = true)]
    reference: Vec<String>,
    /// Show type, mode, owner and size of what is there, or was
    #[arg(short, long)]
    pub long: bool,
    /// `table`, or `json`: one object in each line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

impl DiffArgs {
    /// The build, if one is named, and the step.
    #[must_use]
    pub fn reference(&self) -> (Option<&str>, &str) {
        build_and_step(&self.reference)
    }
}

/// `[BUILD] STEP`.
pub(super) fn build_and_step(reference: &[String]) -> (Option<&str>, &str) {
    match reference {
        [] => (None, ""),
        [step] => (None, step),
        [build, step, ..] => (Some(build), step),
    }
}
