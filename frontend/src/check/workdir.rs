//! `WORKDIR`: where its path begins.

use kiln_grammar::InstructionKind;

use super::Check;
use super::report::{Remark, Report};
use super::walk::{Memory, Step};
use crate::expand::expand;

/// Checks that the first path does not rest on what the base image says.
pub(super) fn relative(step: &Step<'_>, memory: &mut Memory, report: &mut Report) {
    let InstructionKind::Workdir(workdir) = step.kind() else { return };
    let is_first = !std::mem::replace(&mut memory.has_workdir, true);
    let Ok(path) = expand(&workdir.path, &step.scope.state.environment) else { return };
    if is_first && !path.starts_with('/') {
        let message =
            format!("`{path}` is relative to the base image's directory, which may change");
        let remark = Remark::new(Check::WorkdirRelativePath, workdir.path.span, message);
        report.say(&step.site, remark.hint("begin the stage's first `WORKDIR` with a `/`"));
    }
}
