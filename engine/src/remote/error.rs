//! Why something could not be fetched.

use std::io;

use kiln_registry::RegistryError;

use crate::error::{ErrorKind, registry_kind};

/// A source on a network that cannot be had. Addresses are shown without what may be secret in them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// A download failed.
    #[error("the download failed")]
    Download {
        /// The host without its port, as secrets are named for it.
        host: String,
        /// Why.
        source: Box<RegistryError>,
    },
    /// What was downloaded is something else.
    #[error("`{url}` has the checksum {actual}, not {expected}")]
    Checksum {
        /// The address.
        url: String,
        /// The checksum asked for.
        expected: String,
        /// That of what came.
        actual: String,
    },
    /// There is no git to run.
    #[error("cannot run `git`")]
    NoGit {
        /// Why.
        source: io::Error,
    },
    /// A call of git failed.
    #[error("cannot {doing} `{remote}`: {said}")]
    Git {
        /// What git was to do.
        doing: &'static str,
        /// The repository.
        remote: String,
        /// The last of what git said.
        said: String,
    },
    /// A repository has no such branch, tag or commit.
    #[error("`{remote}` has no branch or tag `{name}`")]
    Reference {
        /// The repository.
        remote: String,
        /// The name.
        name: String,
        /// What the repository has that is most like it.
        near: Option<String>,
    },
    /// A name leads to another commit than it should.
    #[error("`{name}` of `{remote}` is the commit {actual}, not {expected}")]
    Commit {
        /// The repository.
        remote: String,
        /// The name.
        name: String,
        /// How the commit was to begin.
        expected: String,
        /// The commit.
        actual: String,
    },
    /// A repository has no such directory.
    #[error("`{remote}` has no directory `{subdir}` at this commit")]
    Subdir {
        /// The repository.
        remote: String,
        /// The directory.
        subdir: String,
    },
    /// A submodule cannot be fetched, or must not be.
    #[error("the submodule `{path}` of `{remote}` cannot be used: {reason}")]
    Submodule {
        /// The repository that has it.
        remote: String,
        /// Where it is.
        path: String,
        /// Why.
        reason: String,
    },
}

impl RemoteError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Download { source, .. } => registry_kind(source),
            Self::Git { .. } => ErrorKind::Network,
            Self::Reference { .. } | Self::NoGit { .. } => ErrorKind::NotFound,
            Self::Checksum { .. }
            | Self::Commit { .. }
            | Self::Subdir { .. }
            | Self::Submodule { .. } => ErrorKind::Step,
        }
    }

    pub(crate) fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Download { host, source } => match download_hint(host, source) {
                Some(hint) => hint,
                None => return Vec::new(),
            },
            Self::Checksum { actual, .. } => {
                format!("if the file was meant to change, write `--checksum={actual}`")
            }
            Self::NoGit { .. } => "install git: it fetches repositories".to_owned(),
            Self::Git { said, .. } if wants_credential(said) => {
                "is the repository private? give a token with \
                 `--secret id=GIT_AUTH_TOKEN,env=VARIABLE`"
                    .to_owned()
            }
            Self::Git { said, .. } if said.contains("Host key verification failed") => {
                "the host's key must be in `~/.ssh/known_hosts`".to_owned()
            }
            Self::Git { said, .. } if said.contains("Permission denied (publickey") => {
                "keys come from an ssh agent alone: give `ADD` one with `--ssh default`, a context one in \
                 `SSH_AUTH_SOCK`; `ssh-add -l` lists its keys"
                    .to_owned()
            }
            Self::Reference { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::Reference { name, .. } if looks_like_a_commit(name) => {
                "a commit is named by all of its digits".to_owned()
            }
            Self::Submodule { .. } => "leave submodules out with `?submodules=false`".to_owned(),
            Self::Git { .. }
            | Self::Reference { .. }
            | Self::Commit { .. }
            | Self::Subdir { .. } => return Vec::new(),
        };
        vec![hint]
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most messages say it all")]
fn download_hint(host: &str, error: &RegistryError) -> Option<String> {
    match error {
        RegistryError::Unauthorised { .. } => {
            Some(format!("give a token with `--secret id=HTTP_AUTH_TOKEN_{host},env=VARIABLE`"))
        }
        RegistryError::Unreachable { .. } => {
            Some("is the host right, and the network up?".to_owned())
        }
        _ => None,
    }
}

fn wants_credential(said: &str) -> bool {
    let signs = ["could not read Username", "Authentication failed", "error: 403", "error: 401"];
    signs.iter().any(|sign| said.contains(sign))
}

fn looks_like_a_commit(name: &str) -> bool {
    name.len() >= 7 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
