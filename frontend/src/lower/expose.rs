//! `EXPOSE`: ports, ranges of them, and the remains of `docker run -p` syntax that are checked and dropped.

use kiln_grammar::Expose;

use super::Scope;
use crate::expand::expand_split;
use crate::gotext::plain_list;
use crate::stage::{Change, Effect};
use crate::{Diagnostic, Rule};

/// Lowers `EXPOSE`. The history lists the ports of the instruction one by one, sorted as texts.
pub(super) fn lower(expose: &Expose, scope: &Scope<'_>) -> Result<Effect, Vec<Diagnostic>> {
    let mut ports = Vec::new();
    let mut errors = Vec::new();
    for word in &expose.ports {
        let texts = expand_split(word, &scope.state.environment);
        let texts = texts.unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        for text in texts {
            match read(&text) {
                Ok(read) => ports.extend(read),
                Err(reason) => {
                    let message = format!("`{text}` is not a port: {reason}");
                    errors.push(Diagnostic::error(Rule::InvalidPort, word.span, message).hint(
                        "write a number from 0 to 65535, such as `80`, `53/udp` or `7000-7010`",
                    ));
                }
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    ports.sort();
    ports.dedup();
    Ok(Effect::of(format!("EXPOSE {}", plain_list(&ports)), vec![Change::Ports(ports)]))
}

/// Reads `[[address:]host:]port[-port][/protocol]`.
fn read(text: &str) -> Result<Vec<String>, &'static str> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol }.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err("the protocol is none of `tcp`, `udp` and `sctp`");
    }
    let (host, container) = match ports.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, ports),
    };
    let (first, last) = range(container)?;
    let host = host.map(|host| host.rsplit_once(':').map_or(host, |(_, port)| port));
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        let (host_first, host_last) = range(host)?;
        if host_last - host_first != last - first && first != last {
            return Err("the two ranges differ in length");
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn range(text: &str) -> Result<(u16, u16), &'static str> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().ok_or("it is no number from 0 to 65535")
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err("the range runs backwards");
    }
    Ok((first, last))
}
