//! `CMD`, `ENTRYPOINT` and `HEALTHCHECK`: their form, and that there is one of each.

use kiln_grammar::{Command, CommandLine, InstructionKind};

use super::Check;
use super::report::{Remark, Report};
use super::walk::{Memory, Step};

/// Checks that the program which a container runs is no shell's child, unless a `SHELL` asks for that.
pub(super) fn json_arguments(step: &Step<'_>, report: &mut Report) {
    let (InstructionKind::Cmd(line) | InstructionKind::Entrypoint(line)) = step.kind() else {
        return;
    };
    if !is_shell_form(line) || !step.scope.state.config.config.docker.shell.is_empty() {
        return;
    }
    let keyword = step.instruction.keyword.node.to_uppercase();
    let message = format!("`{keyword}` in the shell's form keeps signals from the program");
    let remark = Remark::new(Check::JSONArgsRecommended, line.span, message)
        .hint(format!("write `{keyword} [\"program\", \"argument\"]`, or say `SHELL` above it"));
    report.say_knowing(step.unknown_base, &step.site, remark);
}

fn is_shell_form(line: &CommandLine) -> bool {
    matches!(line.command, Command::Shell(_))
}

/// Checks that nothing is said twice of which the last alone counts. The line is that of the one before.
pub(super) fn several(step: &Step<'_>, memory: &mut Memory, report: &mut Report) {
    let slot = match step.kind() {
        InstructionKind::Cmd(_) => 0,
        InstructionKind::Entrypoint(_) => 1,
        InstructionKind::Healthcheck(_) => 2,
        InstructionKind::From(_)
        | InstructionKind::Run(_)
        | InstructionKind::Shell(_)
        | InstructionKind::Copy(_)
        | InstructionKind::Add(_)
        | InstructionKind::Env(_)
        | InstructionKind::Label(_)
        | InstructionKind::Arg(_)
        | InstructionKind::Expose(_)
        | InstructionKind::User(_)
        | InstructionKind::Workdir(_)
        | InstructionKind::Volume(_)
        | InstructionKind::Stopsignal(_)
        | InstructionKind::Onbuild(_)
        | InstructionKind::Maintainer(_) => return,
    };
    let this = (step.site.clone(), step.keyword());
    if let Some((site, span)) = memory.last[slot].replace(this) {
        let keyword = step.instruction.keyword.node.to_uppercase();
        let message = format!("this `{keyword}` is without effect: another follows in the stage");
        let remark = Remark::new(Check::MultipleInstructionsDisallowed, span, message)
            .label(step.keyword(), "this is the one that counts")
            .hint("remove all but the last");
        report.say(&step.site.clone().on(site.within), remark);
    }
}
