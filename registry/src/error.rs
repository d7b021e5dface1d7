//! What can go wrong between Kiln and a registry.

use std::fmt;
use std::io;
use std::path::PathBuf;

use kiln_image::{ImageError, OciDigest};

/// One host that was asked in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The host, as `scheme://host:port`.
    pub host: String,
    /// What came of it.
    pub reason: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.host, self.reason)
    }
}

/// A request to a registry that came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No host has it.
    #[error("`{what}` was not found ({})", list(attempts))]
    NotFound {
        /// The image or the blob.
        what: String,
        /// The hosts asked, in order.
        attempts: Vec<Attempt>,
    },
    /// A host wants a credential, another one than it got, or one that Kiln will not send.
    #[error("access to `{what}` was denied ({})", list(attempts))]
    Unauthorised {
        /// The image or the blob.
        what: String,
        /// The hosts asked, in order.
        attempts: Vec<Attempt>,
    },
    /// No host answered, or none in a way that could be used.
    #[error("`{what}` could not be fetched ({})", list(attempts))]
    Unreachable {
        /// The image or the blob.
        what: String,
        /// The hosts asked, in order.
        attempts: Vec<Attempt>,
    },
    /// A registry did not take what was to be sent to it.
    #[error("`{what}` could not be sent ({})", list(attempts))]
    Unsent {
        /// The image or the blob.
        what: String,
        /// The ways that were tried, in order.
        attempts: Vec<Attempt>,
    },
    /// What is to be sent cannot be read.
    #[error("cannot read what is to be sent of `{what}`")]
    Read {
        /// The blob.
        what: String,
        /// The failure.
        #[source]
        source: io::Error,
    },
    /// What came is not what was asked for.
    #[error("{host} sent {actual} where {expected} was asked for")]
    DigestMismatch {
        /// The host, as `scheme://host:port`.
        host: String,
        /// The digest asked for.
        expected: OciDigest,
        /// The digest of what came.
        actual: OciDigest,
    },
    /// What comes is larger than it may be, or than it was said to be.
    #[error("{host} sent more than {limit_bytes} bytes for `{what}`")]
    TooLarge {
        /// The host, as `scheme://host:port`.
        host: String,
        /// The image or the blob.
        what: String,
        /// How many bytes were expected at most.
        limit_bytes: u64,
    },
    /// The document that came cannot be used.
    #[error("what {host} sent for `{what}` cannot be used")]
    Document {
        /// The host, as `scheme://host:port`.
        host: String,
        /// The image.
        what: String,
        /// What is wrong with it.
        #[source]
        source: ImageError,
    },
    /// What was fetched cannot be written.
    #[error("cannot write what was fetched of `{what}`")]
    Write {
        /// The blob.
        what: String,
        /// The failure.
        #[source]
        source: io::Error,
    },
    /// A file of the configuration cannot be read.
    #[error("cannot read `{}`", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The failure.
        #[source]
        source: io::Error,
    },
    /// A file of credentials that is not what it should be.
    #[error("`{}` does not hold credentials in Docker's format", path.display())]
    CredentialFile {
        /// The file.
        path: PathBuf,
        /// Where reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// A program that keeps credentials failed.
    #[error("the credential helper `{program}` failed for {host}: {reason}")]
    CredentialHelper {
        /// The program.
        program: String,
        /// The registry that a credential was wanted for.
        host: String,
        /// What it said.
        reason: String,
    },
    /// A host in the configuration that is no host.
    #[error("`{host}` is not a registry's host")]
    Host {
        /// The text.
        host: String,
    },
    /// An address that nothing can be fetched from.
    #[error("`{address}` is not an address of http or https")]
    Address {
        /// The address, without a password.
        address: String,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the connection to {host}")]
    Setup {
        /// The host that it is for.
        host: String,
        /// The failure.
        #[source]
        source: reqwest::Error,
    },
    /// The runtime under the HTTP client cannot be started.
    #[error("cannot start the network's runtime")]
    Runtime {
        /// The failure.
        #[source]
        source: io::Error,
    },
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().map(Attempt::to_string).collect::<Vec<_>>().join("; ")
}
