//! `kiln debug shell`.

use clap::Args;

use super::diff::{REFERENCES, build_and_step};
use super::{Sandbox, SecretSpec};

const EXAMPLES: &str = "\
The command runs as the step did: with its user, its variables and its mounts, cache mounts among them. Secrets and
agents are there if they are given again. A COPY has the user and variables of the nearest RUN below it. What is
written is thrown away, but for what goes into cache mounts. Where standard input is no terminal, the command reads it
as a pipe.

The exit code is the command's, or 128 and the number of the signal that ended it; Kiln's own failures have the codes
of `kiln --help`.

Examples:
  A shell with what the third step of the stage `build` left:
    kiln debug shell 'build 3/5'
  With what the instruction on line 12 found, in the build before the latest:
    kiln debug shell --before ^1 :12
  One command, with a secret:
    kiln debug shell --secret id=token,src=token :12 -- make test
  A script:
    kiln debug shell :12 < look.sh";

/// What is run where no program is named.
pub const SHELL: &str = "/bin/sh";

/// Where to look around, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = format!("{REFERENCES}\n\n{EXAMPLES}"))]
pub struct ShellArgs {
    /// Build (default: the latest) and step
    #[arg(value_names = ["BUILD", "STEP"], num_args = 1..=2, required = true)]
    reference: Vec<String>,
    /// What the step found
    #[arg(long, conflicts_with = "after")]
    pub before: bool,
    /// What the step left (default, but for a step that failed)
    #[arg(long)]
    pub after: bool,
    /// Program to run where no command is given
    #[arg(long, value_name = "PROGRAM", default_value = SHELL)]
    pub shell: String,
    /// Variable besides the step's, or in the place of one
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    pub env: Vec<(String, String)>,
    /// Secret for RUN --mount=type=secret: id=NAME with src=FILE or env=VARIABLE
    #[arg(long = "secret", value_name = "FIELDS", value_parser = SecretSpec::parse)]
    pub secrets: Vec<SecretSpec>,
    /// What the command finds around it.
    #[command(flatten)]
    pub sandbox: Sandbox,
    /// Command to run in the place of a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl ShellArgs {
    /// The build, if one is named, and the step.
    #[must_use]
    pub fn reference(&self) -> (Option<&str>, &str) {
        build_and_step(&self.reference)
    }

    /// What is to run.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        if self.command.is_empty() { vec![self.shell.clone()] } else { self.command.clone() }
    }
}

fn parse_variable(text: &str) -> Result<(String, String), super::ValueError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(super::ValueError::Form { text: text.to_owned(), form: "NAME=VALUE" }),
    }
}
