//! Values of the form `name=value`.

use super::ValueError;

/// `--build-arg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildArg {
    /// The ARG's name.
    pub name: String,
    /// Its value; nothing takes the caller's environment variable of that name, if it is set.
    pub value: Option<String>,
}

/// `--label`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The label's name.
    pub key: String,
    /// Its value; empty where none was given.
    pub value: String,
}

/// `--build-context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedContext {
    /// What a Dockerfile calls it.
    pub name: String,
    /// A directory, `docker-image://…`, `oci-layout://…`, or an address of a repository or an archive.
    pub source: String,
}

impl BuildArg {
    /// Reads `NAME[=VALUE]`.
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        let (name, value) = split(text, "NAME[=VALUE]")?;
        Ok(Self { name, value })
    }
}

impl Label {
    /// Reads `KEY[=VALUE]`.
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        let (key, value) = split(text, "KEY=VALUE")?;
        Ok(Self { key, value: value.unwrap_or_default() })
    }
}

impl NamedContext {
    /// Reads `NAME=SOURCE`.
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        const FORM: &str = "NAME=SOURCE";
        let (name, source) = split(text, FORM)?;
        let source = source
            .filter(|source| !source.is_empty())
            .ok_or_else(|| ValueError::Form { text: text.to_owned(), form: FORM })?;
        Ok(Self { name, source })
    }
}

fn split(text: &str, form: &'static str) -> Result<(String, Option<String>), ValueError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(ValueError::Form { text: text.to_owned(), form });
    }
    Ok((name.to_owned(), value))
}
