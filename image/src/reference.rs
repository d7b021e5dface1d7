//! Names of images, normalised as Docker does: `busybox` is `docker.io/library/busybox:latest`.

use std::fmt;
use std::str::FromStr;

use crate::{ImageError, OciDigest};

/// The registry meant by a name without one.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag meant by a name with neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// The longest repository path accepted, registry included; Docker's limit.
const MAX_NAME_BYTES: usize = 255;
/// The longest tag accepted; the specification's limit.
const MAX_TAG_BYTES: usize = 128;

/// The name of an image: registry, repository, and a tag or a digest or both.
///
/// Always normal: the registry and `library/` are present, and a name with neither tag nor digest has the
/// tag `latest`. [`fmt::Display`] writes the whole of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<OciDigest>,
}

impl ImageRef {
    /// The registry as a name writes it: `docker.io`, `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry: `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if the name has one; beside a digest it only informs.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the name has one; it decides.
    #[must_use]
    pub const fn digest(&self) -> Option<OciDigest> {
        self.digest
    }

    /// The same repository at one digest, without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: OciDigest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The name as a person would write it: without `docker.io/` and `library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(rest) = full.strip_prefix("docker.io/") else { return full };
        rest.strip_prefix("library/").filter(|name| !name.contains('/')).unwrap_or(rest).to_owned()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageRef {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let fail = |reason| ImageError::Reference { reference: text.to_owned(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<OciDigest>()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(fail("the tag is not valid"));
        }
        let (registry, path) = split_registry(name);
        if registry.is_some_and(|registry| !is_registry(registry)) {
            return Err(fail("the registry's name is not valid"));
        }
        if path.is_empty() {
            return Err(fail("it names no repository"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(fail("a repository is written in lower-case letters"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(fail("the repository's name is not valid"));
        }
        let registry = match registry {
            None | Some("index.docker.io" | "registry-1.docker.io") => DEFAULT_REGISTRY,
            Some(registry) => registry,
        };
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if registry.len() + 1 + repository.len() > MAX_NAME_BYTES {
            return Err(fail("it is longer than 255 bytes"));
        }
        let tag = match (tag, digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

/// Splits a name at the colon of its tag; a colon before the last slash belongs to a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Splits off the registry: the first component, if it looks like a host and not like a user.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

/// Whether a text is a host with an optional port: a name, an IPv4 address, or an IPv6 one in brackets.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, after)) = rest.split_once(']') else { return false };
            if !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') || address.is_empty() {
                return false;
            }
            ("", after.strip_prefix(':').or(if after.is_empty() { None } else { Some("!") }))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let host_is_valid = text.starts_with('[') || host.split('.').all(label);
    host_is_valid && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Whether a text is `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
fn is_tag(text: &str) -> bool {
    text.len() <= MAX_TAG_BYTES
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Whether a text is runs of `[a-z0-9]` joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_are_words =
        text.bytes().next().is_some_and(word) && text.bytes().last().is_some_and(word);
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends_are_words
        && separators
            .filter(|run| !run.is_empty())
            .all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_come_to_their_normal_form() {
        for (text, normal, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            (
                "ghcr.io/o/p__q.r-s--t",
                "ghcr.io/o/p__q.r-s--t:latest",
                "ghcr.io/o/p__q.r-s--t:latest",
            ),
            ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
        ] {
            let parsed: ImageRef = text.parse().unwrap();
            assert_eq!(parsed.to_string(), normal, "{text}");
            assert_eq!(parsed.familiar(), familiar, "{text}");
            assert_eq!(normal.parse::<ImageRef>().unwrap(), parsed, "{text}");
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_default_tag() {
        let parsed: ImageRef = format!("busybox@{DIGEST}").parse().unwrap();
        assert_eq!((parsed.tag(), parsed.digest()), (None, Some(OciDigest::of(b""))));
        let both: ImageRef = format!("h:1/x:t@{DIGEST}").parse().unwrap();
        assert_eq!(both.to_string(), format!("h:1/x:t@{DIGEST}"));
        assert_eq!(both.with_digest(OciDigest::of(b"")).to_string(), format!("h:1/x@{DIGEST}"));
    }

    #[test]
    fn refuses_what_is_not_a_name() {
        let long = "a/".repeat(130) + "a";
        let long_tag = format!("x:{}", "t".repeat(129));
        for text in [
            "",
            ":",
            "/",
            "@",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "Busybox",
            "a:b:c",
            "a/B",
            "x:",
            "x:é",
            "x@sha256:00",
            "http://x/y",
            "a.b:99999/x",
            "a.b:/x",
            "[::1/x",
            "[::1]5/x",
            "-a.b/x",
            "localhost/",
            "../x",
            "a/../b",
            "x y",
            "x\n",
            &long,
            &long_tag,
        ] {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
    }
}
