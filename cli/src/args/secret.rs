//! `--secret`, in the form of buildx.

use std::path::PathBuf;

use super::ValueError;
use super::fields::Fields;

const KEYS: &[&str] = &["id", "type", "src", "source", "env", "cache"];
const TYPES: &[&str] = &["file", "env"];
const CACHE: &[&str] = &["none", "hmac"];

/// A secret's name and where its value is. Never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSpec {
    /// The name that `RUN --mount=type=secret,id=…` uses.
    pub id: String,
    /// Where the value is.
    pub from: SecretFrom,
    /// Whether it counts in cache keys.
    pub in_key: SecretInKey,
}

/// What of a secret's value is part of the cache keys of the steps that mount it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretInKey {
    /// Nothing: another value makes no step run again.
    Nothing,
    /// A digest under a key that the store keeps to itself.
    Digest,
}

/// Where a secret's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
    /// In the environment variable of the secret's name, or if there is none in the file of that name.
    SameName,
}

impl SecretSpec {
    /// Reads `id=NAME[,type=file|env][,src=FILE][,env=VARIABLE][,cache=none|hmac]`.
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        let mut fields = Fields::parse(text, KEYS)?;
        let kind = fields.take("type");
        let src = match (fields.take("src"), fields.take("source")) {
            (Some(_), Some(_)) => return Err(ValueError::Twice { key: "src".to_owned() }),
            (src, source) => src.or(source),
        };
        let env = fields.take("env");
        if let (Some(_), Some(_)) = (&src, &env) {
            return Err(ValueError::Conflict { one: "src", other: "env" });
        }
        let from = match (kind.as_deref(), src, env) {
            (Some("file"), _, Some(_)) => {
                return Err(ValueError::Conflict { one: "type=file", other: "env" });
            }
            (None | Some("file"), Some(src), _) => SecretFrom::File(PathBuf::from(src)),
            // As in buildx, `src` is a variable's name when the type says so.
            (None | Some("env"), _, Some(name)) | (Some("env"), Some(name), _) => {
                SecretFrom::Env(name)
            }
            (None, None, None) => SecretFrom::SameName,
            (Some("file"), None, None) => {
                return Err(ValueError::Missing { key: "src", why: "; it names a file" });
            }
            (Some("env"), None, None) => {
                return Err(ValueError::Missing { key: "env", why: "; it names a variable" });
            }
            (Some(other), ..) => {
                let name = other.to_owned();
                return Err(ValueError::Unknown { what: "secret type", name, known: TYPES });
            }
        };
        let in_key = match fields.take("cache").as_deref() {
            None | Some("none") => SecretInKey::Nothing,
            Some("hmac") => SecretInKey::Digest,
            Some(other) => {
                let name = other.to_owned();
                return Err(ValueError::Unknown { what: "cache mode", name, known: CACHE });
            }
        };
        let id = fields.take("id").filter(|id| !id.is_empty());
        Ok(Self { id: id.ok_or(ValueError::Missing { key: "id", why: "" })?, from, in_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, from) in [
            ("id=a,src=/x y", SecretFrom::File(PathBuf::from("/x y"))),
            ("id=a,source=x,type=file", SecretFrom::File(PathBuf::from("x"))),
            ("id=a,env=TOKEN", SecretFrom::Env("TOKEN".to_owned())),
            ("type=env,id=a,src=TOKEN", SecretFrom::Env("TOKEN".to_owned())),
            ("id=a", SecretFrom::SameName),
        ] {
            let in_key = SecretInKey::Nothing;
            let spec = SecretSpec { id: "a".to_owned(), from, in_key };
            assert_eq!(SecretSpec::parse(text), Ok(spec), "{text}");
        }
        let spec = SecretSpec::parse("id=a,src=x,cache=hmac").unwrap();
        assert_eq!(spec.in_key, SecretInKey::Digest);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, message) in [
            ("src=x", "the field `id` is missing"),
            ("id=,src=x", "the field `id` is missing"),
            ("id=a,scr=x", "unknown field `scr`; did you mean `src`?"),
            ("id=a,src=x,env=Y", "the fields `src` and `env` exclude each other"),
            ("id=a,type=fiel,src=x", "unknown secret type `fiel`; did you mean `file`?"),
            ("id=a,type=env", "the field `env` is missing; it names a variable"),
            ("id=a,cache=hamc", "unknown cache mode `hamc`; did you mean `hmac`?"),
            ("a", "the field `a` is not of the form key=value"),
        ] {
            let error = SecretSpec::parse(text).unwrap_err().to_string();
            assert_eq!(error, message, "{text}");
        }
    }
}
