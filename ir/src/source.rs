//! The sources of a build graph: where content comes in from outside.
//!
//! An image, a download with a checksum and a commit say by themselves what they are; a directory, a bare
//! address and a branch do not: they are looked at in every build, and what they gave is what keys the ops
//! that read them. Absent: credentials, which are looked up by the host when they are needed and are no part
//! of any identity.

use crate::GuestPath;

/// Content from outside the graph.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceOp {
    /// The empty filesystem.
    Scratch,
    /// An image's layers.
    Image(ImageSource),
    /// A directory on this machine: a build context.
    Local(LocalSource),
    /// A file fetched by HTTP.
    Http(HttpSource),
    /// The files of a commit.
    Git(GitSource),
}

/// An image, already resolved to one manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageSource {
    /// The name as a person wrote it, for messages and to find the registry. Not part of the identity.
    pub reference: String,
    /// `sha256:…` of the manifest of one platform. This alone is the identity.
    pub manifest: String,
    /// Where to fetch from, opaque to everyone but the engine (a registry name, or an OCI layout's
    /// directory). Not part of the identity.
    pub locator: String,
}

/// A build context's directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocalSource {
    /// The context's name: `context` for the main one, else that of a `--build-context`.
    pub name: String,
}

/// A file fetched by HTTP, alone in a filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpSource {
    /// `http://…` or `https://…`, as written. Part of the identity only without a checksum.
    pub url: String,
    /// `ALGORITHM:HEX` of the body, with the algorithm sha256, sha384 or sha512.
    pub checksum: Option<String>,
    /// The file's name: one component of a path.
    pub filename: String,
    /// The file's permission bits.
    pub mode: u32,
    /// The file's owner.
    pub uid: u32,
    /// The file's group.
    pub gid: u32,
}

/// A directory of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GitSource {
    /// The repository, in a form that git takes: `https://…`, `ssh://…`, `git://…` or `user@host:path`.
    pub remote: String,
    /// A branch, a tag, a full reference or a commit; nothing for the remote's `HEAD`.
    pub reference: Option<String>,
    /// What the commit's name must begin with, in lower-case hexadecimal digits.
    pub checksum: Option<String>,
    /// The directory that is taken.
    pub subdir: GuestPath,
    /// Whether the repository itself is kept as `.git`.
    pub keep_git_dir: bool,
    /// Whether submodules are checked out.
    pub submodules: bool,
}

impl SourceOp {
    /// Whether the op says what the result is, so that a result may be recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        match self {
            Self::Image(_) => true,
            Self::Http(http) => http.checksum.is_some(),
            Self::Git(git) => git.commit().is_some(),
            Self::Local(_) | Self::Scratch => false,
        }
    }
}

impl GitSource {
    /// The commit's full name, where the source gives it.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        self.reference.as_deref().filter(|name| is_commit(name))
    }
}

/// Whether a text is the full name of a commit: of SHA-1 or of SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContentHash as _;

    fn git(reference: Option<&str>) -> GitSource {
        GitSource {
            remote: "https://example.com/r.git".to_owned(),
            reference: reference.map(str::to_owned),
            checksum: None,
            subdir: GuestPath::root(),
            keep_git_dir: false,
            submodules: true,
        }
    }

    #[test]
    fn only_what_says_what_it_is_is_recorded() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert!(SourceOp::Git(git(Some(commit))).is_recorded());
        for reference in [None, Some("main"), Some(&commit[1..]), Some(&commit.to_uppercase())] {
            assert!(!SourceOp::Git(git(reference)).is_recorded(), "{reference:?}");
        }
    }

    #[test]
    fn a_checksum_stands_for_the_address() {
        let http = |url: &str, checksum: Option<&str>| HttpSource {
            url: url.to_owned(),
            checksum: checksum.map(str::to_owned),
            filename: "f".to_owned(),
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        let of = |source: HttpSource| SourceOp::Http(source).digest("t");
        assert_ne!(of(http("http://a/f", None)), of(http("http://b/f", None)));
        let sum = Some("sha256:00");
        assert_eq!(of(http("http://a/f", sum)), of(http("http://b/f", sum)));
        assert_ne!(of(http("http://a/f", sum)), of(http("http://a/f", None)));
    }
}
