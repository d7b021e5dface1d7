//! `CMD`, `ENTRYPOINT` and `SHELL`.

use kiln_grammar::{Command, CommandLine, Shell};

use super::Scope;
use crate::gotext::{plain_list, quoted_list};
use crate::stage::{Change, Effect};

/// Lowers `CMD`.
pub(super) fn lower_cmd(line: &CommandLine, scope: &Scope<'_>) -> Effect {
    let argv = with_shell(&line.command, scope);
    Effect::of(format!("CMD {}", quoted_list(&argv)), vec![Change::Command(argv)])
}

/// Lowers `ENTRYPOINT`.
pub(super) fn lower_entrypoint(line: &CommandLine, scope: &Scope<'_>) -> Effect {
    let argv = with_shell(&line.command, scope);
    Effect::of(format!("ENTRYPOINT {}", quoted_list(&argv)), vec![Change::Entrypoint(argv)])
}

/// Lowers `SHELL`.
pub(super) fn lower_shell(shell: &Shell) -> Effect {
    let argv = shell.argv.clone();
    Effect::of(format!("SHELL {}", plain_list(&argv)), vec![Change::Shell(argv)])
}

/// A command as a program with arguments; text is handed to the stage's shell.
pub(super) fn with_shell(command: &Command, scope: &Scope<'_>) -> Vec<String> {
    match command {
        Command::Exec(argv) => argv.clone(),
        Command::Shell(text) => {
            let mut argv = scope.state.shell();
            argv.push(text.clone());
            argv
        }
    }
}
