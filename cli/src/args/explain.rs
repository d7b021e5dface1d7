//! `kiln explain`.

use clap::Args;

use super::Format;

const EXAMPLES: &str = "\
A BUILD is an id, the beginning of one, or ^N: ^0 is the latest build, ^1 the one before it. A STEP is a part of
its name that no other has, a line of the Dockerfile, or its number in the build graph.

A step runs again when its command, its variables, its mounts or anything that it reads is not as in a recorded
result. Of what it reads the content counts: bytes, modes, owners, links, attributes; not times, nor files that
`.dockerignore` leaves out or that no COPY selects. Contents of cache mounts, proxies, limits and labels make no
step run again, nor do values of secrets, but for those with `--secret …,cache=hmac`.

Examples:
  Why the latest build ran what it ran:
    kiln explain

  One step of it, with all files that changed:
    kiln explain ^0 3/5
    kiln explain ^0 Dockerfile:7

  A build of before, for a program:
    kiln explain ^1 --format json";

/// What to explain.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// Id of a build, the beginning of one, or ^N (default: the latest)
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,
    /// Step: a part of its name, `Dockerfile:LINE` or `:LINE`, or its number (default: all)
    #[arg(value_name = "STEP")]
    pub step: Option<String>,
    /// `table`, in words, or `json`: one object in each line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}
