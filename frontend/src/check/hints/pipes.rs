//! Pipes: whose failure counts.

use kiln_grammar::InstructionKind;

use super::super::Check;
use super::super::report::{Remark, Report};
use super::super::walk::Step;
use super::shell::Simple;

/// Programs whose failure leaves nothing to go on with: they bring something from elsewhere.
const FETCHING: [&str; 2] = ["curl", "wget"];

/// Checks that a failed download is not taken for an empty one.
pub(super) fn check(script: &str, commands: &[Simple], step: &Step<'_>, report: &mut Report) {
    let InstructionKind::Run(run) = step.kind() else { return };
    let Some(fetch) = commands.iter().find(|one| one.is_piped && FETCHING.contains(&one.program()))
    else {
        return;
    };
    let shell = step.scope.state.shell();
    if script.contains("pipefail") || shell.iter().any(|word| word.contains("pipefail")) {
        return;
    }
    let message = format!(
        "the step succeeds when `{}` fails, as only the last command of a pipe counts",
        fetch.program()
    );
    let remark = Remark::new(Check::PipeWithoutPipefail, run.command.span, message).hint(
        "write to a file first, or say `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]`",
    );
    report.say(&step.site, remark);
}
