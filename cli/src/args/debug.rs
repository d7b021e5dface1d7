//! `kiln debug`: what Kiln thinks, for whoever looks for a defect or compares builders.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kiln_image::Platform;

use super::{BuildArg, ShellArgs};

/// `kiln debug`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  kiln debug plan Dockerfile
  kiln debug shell 'build 3/5'
  The steps alone:
    kiln debug plan Dockerfile | jq .steps")]
pub struct DebugArgs {
    /// What to look at.
    #[command(subcommand)]
    pub what: Debugged,
}

/// What can be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Debugged {
    /// Print what a Dockerfile comes to, as one JSON object
    Plan(Box<PlanArgs>),
    /// Open a shell with the filesystem before or after a step of a build
    Shell(Box<ShellArgs>),
}

/// `kiln debug plan`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
The object has `config`, `author`, `platform`, `history` and `steps`, or `error` for a Dockerfile that is
refused, and in either case `lint`: what the build checks say, with lines. What is empty is left out. Its
form follows the plan and may change.

Examples:
  What the stage `test` runs:
    kiln debug plan --target test Dockerfile | jq '.steps[].run.args // empty'
  Without fetching anything, as if every base had this config:
    kiln debug plan --assume-base config.json Dockerfile")]
pub struct PlanArgs {
    /// Dockerfile, or `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Stage to plan (default: the last)
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Value for an ARG; without `=VALUE` that of the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]", value_parser = BuildArg::parse)]
    pub build_args: Vec<BuildArg>,
    /// Platform of the image (default: this machine's)
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    pub platform: Option<Platform>,
    /// Take every base image to have this image config (the whole or its `config` part) and one layer;
    /// nothing is fetched
    #[arg(long, value_name = "CONFIG.json")]
    pub assume_base: Option<PathBuf>,
}
