//! `--call`, in the form of buildx: a method, then fields.

use super::ValueError;
use super::fields::{Fields, parse_bool};

const METHODS: &[&str] = &["build", "check", "outline", "targets"];
const KEYS: &[&str] = &["format", "ignorestatus"];
const FORMATS: &[&str] = &["text", "json"];

/// What is to be done with a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What.
    pub method: CallMethod,
    /// How the answer is shown.
    pub format: CallFormat,
    /// Whether an answer that is not good is no failure.
    pub ignore_status: bool,
}

/// What can be done with a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallMethod {
    /// Build it.
    Build,
    /// Check it.
    Check,
    /// Tell what its target can be given.
    Outline,
    /// Tell its stages.
    Targets,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Call {
    /// What `--check` stands for.
    pub const CHECK: Self =
        Self { method: CallMethod::Check, format: CallFormat::Text, ignore_status: false };
    /// What is done without `--call`.
    pub const BUILD: Self = Self { method: CallMethod::Build, ..Self::CHECK };

    /// Reads `METHOD[,format=text|json][,ignorestatus=true|false]`.
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        let (method, fields) = text.split_once(',').unwrap_or((text, ""));
        let unknown = |what, name: &str, known| {
            Err(ValueError::Unknown { what, name: name.to_owned(), known })
        };
        let method = match method.to_lowercase().as_str() {
            "build" => CallMethod::Build,
            // Its older name is taken, too.
            "check" | "lint" => CallMethod::Check,
            "outline" => CallMethod::Outline,
            "targets" => CallMethod::Targets,
            "" => return Err(ValueError::Empty { what: "method" }),
            other => return unknown("method", other, METHODS),
        };
        let mut call = Self { method, ..Self::CHECK };
        if fields.is_empty() {
            return Ok(call);
        }
        let mut fields = Fields::parse(fields, KEYS)?;
        call.format = match fields.take("format").as_deref() {
            None | Some("text") => CallFormat::Text,
            Some("json") => CallFormat::Json,
            Some(other) => return unknown("format", other, FORMATS),
        };
        if let Some(value) = fields.take("ignorestatus") {
            call.ignore_status = parse_bool(&value)?;
        }
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_fields() {
        assert_eq!(Call::parse("check"), Ok(Call::CHECK));
        assert_eq!(Call::parse("build"), Ok(Call::BUILD));
        assert_eq!(
            Call::parse("outline,format=json,ignorestatus=true"),
            Ok(Call { method: CallMethod::Outline, format: CallFormat::Json, ignore_status: true })
        );
        assert_eq!(
            Call::parse("targets,format=text").map(|call| call.method),
            Ok(CallMethod::Targets)
        );
    }

    #[test]
    fn errors_name_what_is_near() {
        for (text, message) in [
            ("chek", "unknown method `chek`; did you mean `check`?"),
            ("check,format=xml", "unknown format `xml`; known are text, json"),
            ("check,formt=json", "unknown field `formt`; did you mean `format`?"),
            ("", "the method is empty"),
        ] {
            assert_eq!(Call::parse(text).unwrap_err().to_string(), message);
        }
    }
}
