//! Paths inside a guest's root filesystem.

use std::fmt;

use crate::{ContentHash, ContentHasher};

/// An absolute path inside a root: starts with `/`, holds no `.`, `..`, empty or NUL component,
/// and no trailing slash unless it is the root itself.
///
/// The path is lexical. Symbolic links are resolved by whoever opens it, inside the root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath(String);

/// A text that cannot be a path inside a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a path inside an image: it holds a NUL byte", .0.escape_debug())]
pub struct GuestPathError(String);

impl GuestPath {
    /// The root, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Cleans `text` as a path below `base`: `.` and empty components vanish, `..` climbs no higher
    /// than the root, an absolute `text` ignores `base`.
    ///
    /// # Errors
    /// When `text` holds a NUL byte.
    pub fn resolve(base: &Self, text: &str) -> Result<Self, GuestPathError> {
        if text.contains('\0') {
            return Err(GuestPathError(text.to_owned()));
        }
        let mut parts: Vec<&str> =
            if text.starts_with('/') { Vec::new() } else { base.components().collect() };
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                name => parts.push(name),
            }
        }
        Ok(Self(format!("/{}", parts.join("/"))))
    }

    /// Cleans `text` as a path below the root.
    ///
    /// # Errors
    /// When `text` holds a NUL byte.
    pub fn new(text: &str) -> Result<Self, GuestPathError> {
        Self::resolve(&Self::root(), text)
    }

    /// The path with its leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without its leading slash; empty for the root.
    #[must_use]
    pub fn relative(&self) -> &str {
        &self.0[1..]
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The components from the root down.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// The last component; nothing for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.components().last()
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl ContentHash for GuestPath {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.value(self.0.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans() {
        let base = GuestPath::new("/a/b").unwrap();
        for (text, expected) in [
            ("c", "/a/b/c"),
            ("../c", "/a/c"),
            ("../../../c", "/c"),
            ("/x//y/./z/", "/x/y/z"),
            ("", "/a/b"),
            ("/", "/"),
        ] {
            assert_eq!(GuestPath::resolve(&base, text).unwrap().as_str(), expected);
        }
        assert!(GuestPath::new("a\0b").is_err());
        assert_eq!(GuestPath::root().file_name(), None);
        assert_eq!(base.file_name(), Some("b"));
    }
}
