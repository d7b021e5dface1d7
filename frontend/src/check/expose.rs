//! `EXPOSE`: how ports are written.

use kiln_grammar::InstructionKind;

use super::Check;
use super::report::{Remark, Report};
use super::walk::Step;
use crate::expand::expand_split;

/// Checks every port that is one.
pub(super) fn check(step: &Step<'_>, report: &mut Report) {
    let InstructionKind::Expose(expose) = step.kind() else { return };
    for word in &expose.ports {
        let ports = expand_split(word, &step.scope.state.environment).unwrap_or_default();
        for text in ports {
            let (container, outside) = match text.rsplit_once(':') {
                Some((outside, container)) => (container, outside),
                None => (text.as_str(), ""),
            };
            let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
            let known = ["", "tcp", "udp", "sctp"].contains(&protocol.to_lowercase().as_str());
            if port.is_empty() || !known {
                return;
            }
            if protocol != protocol.to_lowercase() {
                let message = format!("the protocol of `{text}` is not in lower case");
                let remark = Remark::new(Check::ExposeProtoCasing, word.span, message)
                    .hint(format!("write `{}`", text.replace(protocol, &protocol.to_lowercase())));
                report.say(&step.site, remark);
            }
            if !outside.trim_matches(':').is_empty() {
                let message = format!("`{text}` names more than a port of the container");
                let remark = Remark::new(Check::ExposeInvalidFormat, word.span, message).hint(
                    format!("write `{container}`; `docker run -p` says where it is published"),
                );
                report.say(&step.site, remark);
            }
        }
    }
}
