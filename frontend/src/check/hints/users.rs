//! Whose programs the image runs.

use kiln_grammar::{InstructionKind, Span};

use super::super::Check;
use super::super::report::{Remark, Report, Site};
use super::super::walk::Step;
use super::Memory;
use crate::expand::expand;

/// A `USER`.
#[derive(Debug, Clone)]
pub(in super::super) struct LastUser {
    name: String,
    site: Site,
    span: Span,
}

/// Remembers a `USER`.
pub(super) fn note(step: &Step<'_>, memory: &mut Memory) {
    let InstructionKind::User(user) = step.kind() else { return };
    let Ok(name) = expand(&user.user, &step.scope.state.environment) else { return };
    memory.last_user = Some(LastUser { name, site: step.site.clone(), span: user.user.span });
}

/// Checks that an image which knows another user does not end as root's.
pub(in super::super) fn last_user_root(last: Option<&LastUser>, report: &mut Report) {
    let Some(LastUser { name, site, span }) = last else { return };
    let user = name.split(':').next().unwrap_or_default();
    if user == "root" || user == "0" {
        let message = "containers of the image run as root";
        let remark = Remark::new(Check::LastUserRoot, *span, message)
            .hint("end the stage with a `USER` that has no more rights than the program needs");
        report.say(site, remark);
    }
}
