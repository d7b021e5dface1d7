//! `STOPSIGNAL`.

use kiln_grammar::Stopsignal;

use super::Scope;
use crate::expand::expand;
use crate::stage::{Change, Effect};
use crate::{Diagnostic, Rule};

/// Linux's signals by name, but the real-time ones.
const NAMES: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "UNUSED",
];

/// Lowers `STOPSIGNAL`; the signal is kept as written.
pub(super) fn lower(stop: &Stopsignal, scope: &Scope<'_>) -> Result<Effect, Diagnostic> {
    let signal = expand(&stop.signal, &scope.state.environment)?;
    if !is_signal(&signal) {
        let message = format!("`{signal}` is not a signal");
        return Err(Diagnostic::error(Rule::InvalidSignal, stop.signal.span, message)
            .hint("write a name such as `SIGTERM`, or its number"));
    }
    Ok(Effect::of(format!("STOPSIGNAL {signal}"), vec![Change::StopSignal(signal)]))
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number > 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str| match name.strip_prefix(prefix) {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(['+', '-'])?.parse::<u32>().ok(),
        None => None,
    };
    NAMES.contains(&name)
        || offset("RTMIN").is_some_and(|n| n <= 15)
        || offset("RTMAX").is_some_and(|n| n <= 14)
}
