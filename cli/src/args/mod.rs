//! The command line as plain data.
//!
//! [`LowArgs`] holds what was typed, checked in itself and nothing more: no file is opened here and
//! nothing is looked up but the variables that `--help` names. What it means for a build is decided
//! where it is joined with the engine.

mod build;
mod cache;
mod call;
mod debug;
mod diff;
mod explain;
mod fields;
mod graph;
mod history;
mod images;
mod output;
mod sandbox;
mod secret;
mod shell;
mod upkeep;
mod values;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use build::{
    BuildArgs, Context, Network, OnError, ProgressMode, Results, Settings, Source, View,
};
pub use cache::{CacheFrom, CacheTo, Caches};
pub use call::{Call, CallFormat, CallMethod};
pub use debug::{DebugArgs, Debugged, PlanArgs};
pub use diff::DiffArgs;
pub use explain::ExplainArgs;
pub use fields::ValueError;
pub use graph::{GraphArgs, GraphFormat};
pub use history::{
    BuildFilter, History, HistoryArgs, HistoryExportArgs, HistoryImportArgs, HistoryInspectArgs,
    HistoryLogsArgs, HistoryLsArgs, HistoryRmArgs, HistoryTraceArgs, InspectFormat, TraceFormat,
};
pub use images::{ImagesArgs, InspectArgs, LoadArgs, SaveArgs};
pub use output::{Destination, OutputSpec};
pub use sandbox::{AgentSpec, Allowance, HostSpec, Sandbox, Ulimit};
pub use secret::{SecretFrom, SecretInKey, SecretSpec};
pub use shell::{SHELL, ShellArgs};
pub use upkeep::{
    Builder, BuilderArgs, CheckArgs, DfArgs, DuArgs, Filter, Format, PruneArgs, RmiArgs, System,
    SystemArgs, kind_name,
};
pub use values::{BuildArg, Label, NamedContext};

use crate::exit_code::ExitCode;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "kiln",
    version,
    about = "Builds container images from Dockerfiles, without a daemon and without root",
    arg_required_else_help = true,
    subcommand_required = true
)]
pub struct Arguments<C: Subcommand> {
    /// Directory of the store: images, layers, caches.
    ///
    /// By default `/var/lib/kiln` for root, `$XDG_DATA_HOME/kiln` or `~/.local/share/kiln` for others.
    #[arg(long, global = true, value_name = "DIR", env = "KILN_ROOT")]
    pub root: Option<PathBuf>,
    /// Configuration file.
    ///
    /// By default the first of `$XDG_CONFIG_HOME/kiln/kiln.toml`, `~/.config/kiln/kiln.toml` and
    /// `/etc/kiln/kiln.toml` that exists.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: C,
}

/// All that can be asked for.
pub type LowArgs = Arguments<Command>;

/// The verb that is given most often, alone: to describe all of them takes longer than to read the arguments.
#[derive(Subcommand)]
enum BuildAlone {
    Build(Box<BuildArgs>),
}

/// A verb with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Say why the steps of a build ran or did not
    Explain(ExplainArgs),
    /// List the images in the store
    Images(ImagesArgs),
    /// Show an image's manifest and configuration as JSON
    Inspect(InspectArgs),
    /// Bring images into the store from an archive
    Load(LoadArgs),
    /// Write images from the store to an archive
    Save(SaveArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// Show the graph of a Dockerfile, or of a build of the past
    Graph(Box<GraphArgs>),
    /// Show builds of the past
    History(HistoryArgs),
    /// Show what a step of a build changed
    Diff(DiffArgs),
    /// Show and prune the build cache
    Builder(BuilderArgs),
    /// Show and keep up the store
    System(SystemArgs),
    /// Show what Kiln makes of its input
    Debug(DebugArgs),
}

impl LowArgs {
    /// The arguments of a build that makes sense.
    fn of_build(arguments: &[OsString]) -> Option<Self> {
        if !arguments.iter().any(|argument| argument == "build") {
            return None;
        }
        let low = Arguments::<BuildAlone>::try_parse_from(arguments).ok()?;
        let BuildAlone::Build(build) = low.command;
        build.check().ok()?;
        Some(Self { root: low.root, config: low.config, command: Command::Build(build) })
    }

    /// Reads the arguments, the program's name first.
    ///
    /// # Errors
    /// When they make no sense, or ask for help or the version; the error knows what to print and
    /// where.
    pub fn parse_args<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let arguments: Vec<OsString> = args.into_iter().map(Into::into).collect();
        if let Some(build) = Self::of_build(&arguments) {
            return Ok(build);
        }
        let mut command = Self::command().after_help(exit_codes());
        let matches = command.try_get_matches_from_mut(&arguments).map_err(|error| {
            use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand};
            if !matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand) {
                return error;
            }
            // Who reads help pays for its paragraphs, and nobody else.
            let command = flowing(Self::command().after_help(exit_codes()));
            command.try_get_matches_from(&arguments).err().unwrap_or(error)
        })?;
        let low = Self::from_arg_matches(&matches)?;
        if let Command::Build(build) = &low.command {
            build.check().map_err(|error| {
                let build = command.find_subcommand_mut("build").unwrap_or_else(|| {
                    unreachable!("the arguments were parsed as those of `build`")
                });
                build.error(clap::error::ErrorKind::ArgumentConflict, error)
            })?;
        }
        Ok(low)
    }
}

/// What a failed reading of the arguments means for the exit code: asking for help is no failure.
#[must_use]
pub fn exit_code(error: &clap::Error) -> ExitCode {
    if error.use_stderr() { ExitCode::Usage } else { ExitCode::Success }
}

/// Paragraphs behind the options on one line each, so that they are broken where the terminal ends.
fn flowing(command: clap::Command) -> clap::Command {
    let help = command.get_after_help().map(|help| paragraphs(&help.to_string()));
    let command = match help {
        Some(help) => command.after_help(help),
        None => command,
    };
    command.mut_subcommands(flowing)
}

/// Joins neighbouring lines that are not indented.
fn paragraphs(text: &str) -> String {
    let mut joined = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        joined += line;
        let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
        let goes_on = is_prose(line) && lines.peek().is_some_and(|next| is_prose(next));
        joined.push(if goes_on { ' ' } else { '\n' });
    }
    joined.trim_end().to_owned()
}

fn exit_codes() -> String {
    let codes: Vec<_> = ExitCode::ALL.iter().map(|code| format!("  {code}")).collect();
    format!("Exit codes:\n{}", codes.join("\n"))
}
