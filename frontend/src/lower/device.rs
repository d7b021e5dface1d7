//! The devices of `RUN`.
//!
//! A name is that of the Container Device Interface (CDI): `vendor/class=name`, `vendor/class=*` for all of
//! a class, or `vendor/class` for what the host puts under that name. Only its form is looked at here; which
//! devices there are is for whoever runs the step.

use kiln_grammar::Spanned;
use kiln_ir::DeviceRequest;

use crate::{Diagnostic, Rule};

const KEYS: [&str; 2] = ["name", "required"];
/// The longest name that is read.
const MAX_NAME_BYTES: usize = 256;

/// Lowers `--device=NAME[,required]`.
pub(super) fn lower(flag: &Spanned<String>) -> Result<DeviceRequest, Diagnostic> {
    let fail = |message: String| Diagnostic::error(Rule::InvalidFlagValue, flag.span, message);
    let (mut name, mut required) = (None, false);
    for field in flag.node.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value, &name) {
            ("required", None, _) => required = true,
            ("required", Some(value), _) => {
                required = match value {
                    "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                    "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                    _ => return Err(fail(format!("`{value}` is not true or false"))),
                };
            }
            ("name", Some(value), None) => name = Some(value),
            // The name alone, of which the `=` is a part.
            (_, _, None) => name = Some(field),
            ("name", _, Some(name)) => {
                return Err(fail(format!(
                    "the device already is `{name}`; give each its own `--device`"
                )));
            }
            (key, _, Some(_)) => {
                return Err(fail(format!("a device has no option `{key}`")).suggest(key, &KEYS));
            }
        }
    }
    let name = name.filter(|name| is_device(name)).ok_or_else(|| {
        fail(format!("`{}` names no device", flag.node))
            .hint("write it as `vendor.com/class=name`, as `cdi list` shows it")
    })?;
    Ok(DeviceRequest { name: name.to_owned(), required })
}

/// Whether this is `vendor/class` or `vendor/class=name`.
fn is_device(text: &str) -> bool {
    let (kind, name) = match text.split_once('=') {
        Some((kind, name)) => (kind, Some(name)),
        None => (text, None),
    };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    text.len() <= MAX_NAME_BYTES
        && is_word(vendor, "_-.")
        && vendor.starts_with(|first: char| first.is_ascii_alphabetic())
        && is_word(class, "_-")
        && class.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.is_none_or(|name| name == "*" || is_word(name, "_-.:"))
}

/// Letters and digits, and between them some marks.
fn is_word(text: &str, marks: &str) -> bool {
    let edge = |ch: Option<char>| ch.is_some_and(|ch| ch.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|ch| ch.is_ascii_alphanumeric() || marks.contains(ch))
}

#[cfg(test)]
mod tests {
    use kiln_grammar::Span;

    use super::*;

    fn read(text: &str) -> Result<(String, bool), String> {
        let flag = Spanned { node: text.to_owned(), span: Span::default() };
        lower(&flag).map(|device| (device.name, device.required)).map_err(|error| error.message)
    }

    #[test]
    fn forms() {
        for (text, name, required) in [
            ("vendor.com/class=a", "vendor.com/class=a", false),
            ("vendor.com/class=a,required", "vendor.com/class=a", true),
            ("required=true,name=vendor.com/class=*", "vendor.com/class=*", true),
            ("vendor.com/class,required=false", "vendor.com/class", false),
            ("v/c=a.b:0", "v/c=a.b:0", false),
        ] {
            assert_eq!(read(text), Ok((name.to_owned(), required)), "{text}");
        }
    }

    #[test]
    fn errors() {
        for (text, message) in [
            ("", "`` names no device"),
            ("required", "`required` names no device"),
            ("/dev/null", "`/dev/null` names no device"),
            ("vendor/../class=a", "`vendor/../class=a` names no device"),
            ("v/c=a,v/c=b", "a device has no option `v/c`"),
            ("v/c=a,name=v/c=b", "the device already is `v/c=a`; give each its own `--device`"),
            ("v/c=a,required=maybe", "`maybe` is not true or false"),
            ("v/c=-", "`v/c=-` names no device"),
        ] {
            assert_eq!(read(text), Err(message.to_owned()), "{text}");
        }
    }
}
