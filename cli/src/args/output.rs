//! `--output`, in the form of buildx.

use std::path::PathBuf;

use super::ValueError;
use super::fields::{Fields, parse_bool};

const KEYS: &[&str] = &["type", "dest", "tar", "platform-split"];
const TYPES: &[&str] = &["oci", "docker", "tar", "local", "cacheonly"];
/// Types of buildx that are not there yet.
const LATER_TYPES: [&str; 2] = ["image", "registry"];

/// Where a result goes besides the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSpec {
    /// An archive of an OCI layout.
    Oci(Destination),
    /// An OCI layout as a directory.
    OciDirectory(PathBuf),
    /// An archive that `docker load` takes.
    Docker(Destination),
    /// An archive of the image's files; with whether each platform has a directory, if that was said.
    Tar(Destination, Option<bool>),
    /// The image's files as a directory; as above.
    Local(PathBuf, Option<bool>),
    /// Nowhere: no image is made, only steps are run and recorded.
    CacheOnly,
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To a file.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

impl OutputSpec {
    /// Reads `type=TYPE[,dest=PATH][,tar=BOOL]`, a path alone (`type=local`) or `-` (`type=tar`).
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        match text {
            "" => return Err(ValueError::Empty { what: "output" }),
            "-" => return Ok(Self::Tar(Destination::Stdout, None)),
            path if !path.contains(['=', ',']) => {
                return Ok(Self::Local(PathBuf::from(path), None));
            }
            _ => {}
        }
        let mut fields = Fields::parse(text, KEYS)?;
        let kind = fields.take("type").ok_or(ValueError::Missing {
            key: "type",
            why: "; it is oci, docker, tar, local or cacheonly",
        })?;
        let dest = fields.take("dest");
        let output = match kind.to_lowercase().as_str() {
            "oci" => match fields.take("tar").as_deref().map(parse_bool).transpose()? {
                None | Some(true) => Self::Oci(Destination::new(dest)),
                Some(false) => Self::OciDirectory(directory(dest)?),
            },
            "docker" => Self::Docker(Destination::new(dest)),
            "tar" => Self::Tar(Destination::new(dest), split(&mut fields)?),
            "local" => Self::Local(directory(dest)?, split(&mut fields)?),
            "cacheonly" if dest.is_some() => {
                return Err(ValueError::Conflict { one: "type=cacheonly", other: "dest" });
            }
            "cacheonly" => Self::CacheOnly,
            later if LATER_TYPES.contains(&later) => {
                return Err(ValueError::Unsupported { what: format!("the output type `{later}`") });
            }
            _ => {
                return Err(ValueError::Unknown { what: "output type", name: kind, known: TYPES });
            }
        };
        match fields.left() {
            Some("tar") => Err(ValueError::Elsewhere { key: "tar", owner: "type=oci" }),
            Some(_) => Err(ValueError::Elsewhere {
                key: "platform-split",
                owner: "type=local and type=tar",
            }),
            None => Ok(output),
        }
    }

    /// Whether it goes to standard output.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        match self {
            Self::Oci(dest) | Self::Docker(dest) | Self::Tar(dest, _) => {
                *dest == Destination::Stdout
            }
            Self::OciDirectory(_) | Self::Local(..) | Self::CacheOnly => false,
        }
    }
}

impl Destination {
    fn new(dest: Option<String>) -> Self {
        match dest.as_deref() {
            None | Some("" | "-") => Self::Stdout,
            Some(path) => Self::File(PathBuf::from(path)),
        }
    }
}

fn split(fields: &mut Fields) -> Result<Option<bool>, ValueError> {
    fields.take("platform-split").as_deref().map(parse_bool).transpose()
}

fn directory(dest: Option<String>) -> Result<PathBuf, ValueError> {
    match dest.as_deref() {
        None | Some("") => Err(ValueError::Missing { key: "dest", why: "; it names a directory" }),
        Some("-") => Err(ValueError::Form { text: "dest=-".to_owned(), form: "dest=DIRECTORY" }),
        Some(path) => Ok(PathBuf::from(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OutputSpec, String> {
        OutputSpec::parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn forms() {
        let file = |path: &str| Destination::File(PathBuf::from(path));
        for (text, expected) in [
            ("type=oci,dest=a.tar", OutputSpec::Oci(file("a.tar"))),
            ("dest=a.tar,type=oci,tar=true", OutputSpec::Oci(file("a.tar"))),
            ("type=oci,dest=out,tar=false", OutputSpec::OciDirectory(PathBuf::from("out"))),
            ("type=docker", OutputSpec::Docker(Destination::Stdout)),
            ("type=tar,dest=-", OutputSpec::Tar(Destination::Stdout, None)),
            ("type=local,dest=out", OutputSpec::Local(PathBuf::from("out"), None)),
            (
                "type=local,dest=out,platform-split=false",
                OutputSpec::Local(PathBuf::from("out"), Some(false)),
            ),
            ("type=cacheonly", OutputSpec::CacheOnly),
            ("out/dir", OutputSpec::Local(PathBuf::from("out/dir"), None)),
            ("-", OutputSpec::Tar(Destination::Stdout, None)),
            (r#"type=oci,"dest=a,b.tar""#, OutputSpec::Oci(file("a,b.tar"))),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, message) in [
            ("", "the output is empty"),
            ("type=ocy", "unknown output type `ocy`; did you mean `oci`?"),
            (
                "type=squashfs",
                "unknown output type `squashfs`; known are oci, docker, tar, local, cacheonly",
            ),
            ("type=registry", "the output type `registry` is not supported yet"),
            ("dest=x", "the field `type` is missing; it is oci, docker, tar, local or cacheonly"),
            ("type=local", "the field `dest` is missing; it names a directory"),
            ("type=local,dest=-", "`dest=-` is not of the form dest=DIRECTORY"),
            ("type=oci,dst=x", "unknown field `dst`; did you mean `dest`?"),
            ("type=oci,tar=maybe", "`maybe` is not true or false"),
            (
                "type=oci,platform-split=true",
                "the field `platform-split` goes with type=local and type=tar alone",
            ),
            ("type=tar,tar=true", "the field `tar` goes with type=oci alone"),
            ("type=cacheonly,dest=x", "the fields `type=cacheonly` and `dest` exclude each other"),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }
}
