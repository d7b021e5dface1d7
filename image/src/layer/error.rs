//! What can go wrong with an archive.

use std::io;

/// An archive that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The stream under the archive failed, or is not of the format that it began as.
    #[error("cannot read the archive")]
    Read {
        /// The failure.
        #[source]
        source: io::Error,
    },
    /// The packed archive cannot be written.
    #[error("cannot write the archive")]
    Write {
        /// The failure.
        #[source]
        source: io::Error,
    },
    /// The bytes of a file to pack cannot be read.
    #[error("cannot read `{path}` to pack it")]
    Content {
        /// The entry's path.
        path: String,
        /// The failure.
        #[source]
        source: io::Error,
    },
    /// A file had more or fewer bytes than was said: it changed while it was packed.
    #[error("`{path}` changed while it was packed: it does not have {size_bytes} bytes any more")]
    SizeChanged {
        /// The entry's path.
        path: String,
        /// The size given with the entry.
        size_bytes: u64,
    },
    /// An entry that an archive cannot hold.
    #[error("`{path}` cannot be packed: {reason}")]
    Unpackable {
        /// The entry's path.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The archive ends in the middle of an entry.
    #[error("the archive ends in the middle of an entry")]
    Truncated,
    /// A header that is not a tar header.
    #[error("the archive is damaged after {entries} entries: {reason}")]
    Header {
        /// How many entries were read before.
        entries: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry that leads out of the archive's root, or whose name cannot be a file's.
    #[error("the archive's entry `{path}` is refused: {reason}")]
    Refused {
        /// The entry's path, as the archive has it.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The archive asks for more than [`crate::layer::Limits`] allow.
    #[error("the archive is refused: more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// Why packing stopped: the source of entries failed, or the archive.
#[derive(Debug, thiserror::Error)]
pub enum PackError<E: std::error::Error + 'static> {
    /// The iterator of entries gave an error; it is passed on.
    #[error(transparent)]
    Entry(E),
    /// The archive could not be made.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// A path as messages show it.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
