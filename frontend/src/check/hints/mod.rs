//! Kiln's own checks, which speak when they are asked for.
//!
//! Each is narrow on purpose: it speaks where the stages, the paths and the order of steps leave little doubt,
//! and is silent elsewhere.

mod apt;
mod bases;
mod copies;
mod order;
mod pipes;
mod secrets;
mod shell;
mod users;

use std::collections::BTreeMap;

use kiln_grammar::{Command, InstructionKind, Run, Span};

use super::report::{Report, Site};
use super::walk::Step;

pub(super) use bases::{untagged_bases, unused_stages};
pub(super) use users::{LastUser, last_user_root};

/// What hints remember of a stage from one instruction to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// The `COPY` of everything that no install of dependencies came before.
    whole_context: Option<(Site, Span)>,
    /// Whether dependencies were installed.
    has_dependencies: bool,
    /// Files that were copied since the last command ran, with the sources they came from.
    copied: BTreeMap<String, (Site, Span)>,
    /// The last `USER`, also of the stages below.
    pub(super) last_user: Option<LastUser>,
}

/// Looks at one instruction.
pub(super) fn check(step: &Step<'_>, memory: &mut Memory, report: &mut Report) {
    secrets::check(step, report);
    copies::check(step, memory, report);
    users::note(step, memory);
    let InstructionKind::Run(run) = step.kind() else {
        order::note_copy(step, memory);
        return;
    };
    let script = script(run, step);
    let commands = shell::commands(&script);
    apt::check(run, &commands, step, report);
    pipes::check(&script, &commands, step, report);
    order::check(&commands, step, memory, report);
}

/// What a `RUN` gives to its shell; nothing for a program that it starts itself.
fn script(run: &Run, step: &Step<'_>) -> String {
    let Command::Shell(text) = &run.command.command else { return String::new() };
    match step.instruction.heredocs.as_slice() {
        [document] if run.is_script => {
            let text = document.text();
            // Another interpreter's script is not looked at.
            let first = text.lines().next().unwrap_or_default();
            if first.starts_with("#!") && !first.ends_with("sh") { String::new() } else { text }
        }
        _ => text.clone(),
    }
}
