//! What can go wrong in the store, in layers and in selections.
//!
//! Each variant says what was attempted, on which path, and why it failed. Nothing here prints.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A file operation failed.
    #[error("could not {op} `{}`", path.display())]
    Io {
        /// What was attempted, as a verb phrase: `create the directory`.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The database refused a step.
    #[error("could not {step} in the database `{}`", path.display())]
    Sql {
        /// What was attempted, as a verb phrase: `read a record`.
        step: &'static str,
        /// The database file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// The store was written by a later version of Kiln.
    #[error(
        "the store `{}` has format {found}, and this kiln knows formats up to {known}",
        path.display()
    )]
    NewerStore {
        /// The database file.
        path: PathBuf,
        /// The store's format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// The database is damaged, and to be made anew before anybody uses it.
    #[error("the database `{}` is damaged: {found}", path.display())]
    DamagedStore {
        /// The database file.
        path: PathBuf,
        /// What was found, on one line.
        found: String,
    },
    /// The database is damaged, and cannot be made anew as long as others have it open.
    #[error(
        "the database `{}` is damaged and cannot be made anew: other processes are using the store",
        path.display()
    )]
    DamagedStoreInUse {
        /// The database file.
        path: PathBuf,
    },
    /// A text that should be a blob's digest is not one.
    #[error("`{}` is not a digest of the form `sha256:` and 64 lower-case hexadecimal digits", text.escape_debug())]
    BlobDigest {
        /// The text.
        text: String,
    },
    /// Bytes arrived that are not the blob that was promised.
    #[error("expected the blob `{expected}`, and its bytes are `{found}`")]
    BlobMismatch {
        /// The promised digest.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// A blob is shorter or longer than promised.
    #[error("the blob `{digest}` should have {expected_bytes} bytes, and has {found_bytes}")]
    BlobSize {
        /// The promised digest.
        digest: String,
        /// The promised size.
        expected_bytes: u64,
        /// What came, counted up to the first byte too many.
        found_bytes: u64,
    },
    /// A blob that is needed is not in the store.
    #[error("the blob `{digest}` is not in the store")]
    MissingBlob {
        /// Its digest.
        digest: String,
    },
    /// The bytes of a layer's manifest make no sense.
    #[error("a layer's manifest is damaged: {what}")]
    BadManifest {
        /// What is wrong with them.
        what: &'static str,
    },
    /// A tree holds an entry that no layer can hold.
    #[error("`{path}` {what}")]
    BadEntry {
        /// The entry's path, escaped.
        path: String,
        /// What is wrong with it, as a verb phrase.
        what: &'static str,
    },
    /// A layer that is needed is not in the store, or not whole.
    #[error("the layer {} is not in the store", digest.short())]
    MissingLayer {
        /// Its digest.
        digest: kiln_ir::Digest,
    },
    /// A layer in the store cannot be used.
    #[error("the layer {} is damaged", digest.short())]
    DamagedLayer {
        /// Its digest.
        digest: kiln_ir::Digest,
        /// What was found.
        source: Box<CacheError>,
    },
    /// A cache from elsewhere is not in JSON, or not of the shape that is read.
    #[error("the cache's document cannot be read")]
    PortableJson {
        /// Where reading stopped.
        source: serde_json::Error,
    },
    /// A cache from elsewhere makes no sense.
    #[error("the cache's document cannot be used: {what}")]
    BadPortable {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Something inside an image was not found.
    #[error("there is no file `{path}` in the image")]
    NoSuchFile {
        /// The path, escaped.
        path: String,
    },
    /// Symbolic links led to symbolic links too often.
    #[error("too many symbolic links on the way to `{path}`")]
    TooManyLinks {
        /// The path, escaped.
        path: String,
    },
    /// A file was not the same from one look to the next.
    #[error("`{path}` changed while it was read")]
    Changed {
        /// The path, escaped.
        path: String,
    },
    /// A file that should be small is not.
    #[error("`{path}` has more than {limit_bytes} bytes")]
    TooLarge {
        /// The path, escaped.
        path: String,
        /// The most that was allowed.
        limit_bytes: u64,
    },
    /// The caller cancelled while this waited for another process or thread.
    #[error("cancelled while waiting for {what}")]
    Cancelled {
        /// What was waited for.
        what: &'static str,
    },
}

impl CacheError {
    /// Makes the adapter for `map_err` on file operations.
    pub(crate) fn io<E: Into<io::Error>>(
        op: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { op, path, source: source.into() }
    }

    /// Whether the cause is a damaged database. Whoever opens the store next may make it anew.
    #[must_use]
    pub fn is_damaged_store(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if matches!(error.downcast_ref(), Some(Self::DamagedStore { .. }))
                || error.downcast_ref::<rusqlite::Error>().is_some_and(sql_is_damaged)
            {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Whether the cause is a full disk or an exhausted quota, anywhere down the chain of causes.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let full = error.downcast_ref::<io::Error>().is_some_and(io_is_full)
                || error.downcast_ref::<rusqlite::Error>().is_some_and(sql_is_full);
            if full {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

fn io_is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.get_ref().is_some_and(|inner| {
            inner.downcast_ref::<CacheError>().is_some_and(CacheError::is_disk_full)
        })
}

fn sql_is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|failure| {
        failure.code == rusqlite::ErrorCode::DiskFull
            // SQLite could not grow the index of its log, which is a file beside the database.
            || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    })
}

/// Whether SQLite finds the file damaged, or there is in it what was never written: statements and types are fixed,
/// so that a statement that cannot be compiled, or a value of another type, is a fault of the file.
#[expect(clippy::wildcard_enum_match_arm, reason = "most failures are of other kinds")]
fn sql_is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, TooBig, TypeMismatch, Unknown};
    use rusqlite::ffi::{SQLITE_IOERR_SHORT_READ, SQLITE_READONLY};
    match error {
        rusqlite::Error::SqliteFailure(failure, _)
        | rusqlite::Error::SqlInputError { error: failure, .. } => {
            let (code, extended) = (failure.code, failure.extended_code);
            matches!(code, DatabaseCorrupt | NotADatabase | TooBig | TypeMismatch | Unknown)
                // Of a file that may be written: its header says that it may not.
                || matches!(extended, SQLITE_IOERR_SHORT_READ | SQLITE_READONLY)
        }
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let io = |kind: io::ErrorKind| CacheError::io("write", "/x")(io::Error::from(kind));
        assert!(io(io::ErrorKind::StorageFull).is_disk_full());
        assert!(io(io::ErrorKind::QuotaExceeded).is_disk_full());
        assert!(!io(io::ErrorKind::NotFound).is_disk_full());
        let wrapped = io::Error::other(io(io::ErrorKind::StorageFull));
        assert!(CacheError::io("copy", "/y")(wrapped).is_disk_full());
        let sql = |code| CacheError::Sql {
            step: "write a record",
            path: PathBuf::from("kiln.db"),
            source: rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None),
        };
        assert!(sql(rusqlite::ffi::SQLITE_FULL).is_disk_full());
        assert!(sql(rusqlite::ffi::SQLITE_IOERR_SHMSIZE).is_disk_full());
        assert!(!sql(rusqlite::ffi::SQLITE_CORRUPT).is_disk_full());
        assert!(sql(rusqlite::ffi::SQLITE_CORRUPT).is_damaged_store());
        assert!(sql(rusqlite::ffi::SQLITE_NOTADB).is_damaged_store());
        assert!(!sql(rusqlite::ffi::SQLITE_FULL).is_damaged_store());
        assert!(!sql(rusqlite::ffi::SQLITE_BUSY).is_damaged_store());
    }
}
