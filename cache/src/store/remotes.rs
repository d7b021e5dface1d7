//! What was fetched from networks in earlier builds, and where repositories are kept.
//!
//! A row says what one address gave when it was last asked, and the layer that holds it; the layer may be gone
//! by now. Like a memo it carries no epoch: whoever uses it asks the server whether it still holds.
//!
//! `git/<name>/` is a bare repository of everything that was fetched from one remote; the name is a hash of the
//! remote. Whoever uses it holds its lock, so that two processes do not write to it at once. Objects
//! that nothing needs stay; a repository that was not used for long is collected whole.

use std::path::{Path, PathBuf};

use kiln_ir::Digest;
use rusqlite::{OptionalExtension, params};

use super::lock::{FileLock, Sharing, poll};
use super::{Store, create_directory, proof};
use crate::CacheError;

/// What an address gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRow {
    /// The server's name for the version: an `ETag`, or a commit.
    pub version: Option<String>,
    /// When the server says that it was last changed, in the server's own words.
    pub last_modified: Option<String>,
    /// The layer that holds it.
    pub layer: Digest,
}

/// The right to use a remote's repository, until this is dropped.
#[derive(Debug)]
#[must_use = "the repository is let go at once when this is dropped"]
pub struct RepositoryGuard {
    path: PathBuf,
    _lock: FileLock,
}

impl RepositoryGuard {
    /// The bare repository; an empty directory at first.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// What was fetched before. `wanted` is a digest of the address and of all that decides what is made
    /// of it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn remote(&self, wanted: &Digest) -> Result<Option<RemoteRow>, CacheError> {
        self.db.read("read what was fetched", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT version, last_modified, layer FROM remotes
                     WHERE wanted = ?1 AND proof = {}",
                    proof::REMOTES
                ))?
                .query_row([wanted.as_bytes()], |row| {
                    Ok(RemoteRow {
                        version: row.get(0)?,
                        last_modified: row.get(1)?,
                        layer: Digest::from_bytes(row.get(2)?),
                    })
                })
                .optional()
        })
    }

    /// Remembers what was fetched; see [`Self::remote`].
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn put_remote(&self, wanted: &Digest, row: &RemoteRow) -> Result<(), CacheError> {
        self.db.write("write what was fetched", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO remotes VALUES (?1, ?2, ?3, ?4,
                        proof('remotes', ?1, ?2, ?3, ?4))",
                )?
                .execute(params![
                    wanted.as_bytes(),
                    row.version,
                    row.last_modified,
                    row.layer.as_bytes()
                ])
        })?;
        Ok(())
    }

    /// Takes the repository of a remote, made if absent, for oneself alone. `cancelled` is asked every few
    /// milliseconds while waiting.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`]; failures to make or lock the directory.
    pub fn acquire_repository(
        &self,
        remote: &str,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<RepositoryGuard, CacheError> {
        let name = &Digest::of(remote.as_bytes()).to_string()[..32];
        let lock = self.repository_lock(name);
        // With the gate open: a collection that found the lock free renames before anyone takes it.
        let lock = poll("a repository that another build uses", cancelled, || {
            self.claims.undisturbed(|| FileLock::attempt(&lock, Sharing::Exclusive))?
        })?;
        let path = self.repositories_dir().join(name);
        create_directory(&path)?;
        Ok(RepositoryGuard { path, _lock: lock })
    }

    /// Where repositories are, one directory for each remote; made when there is one.
    pub(super) fn repositories_dir(&self) -> PathBuf {
        self.root().join("git")
    }

    /// Whether nobody has the repository of this name just now.
    pub(super) fn is_repository_free(&self, name: &str) -> Result<bool, CacheError> {
        Ok(FileLock::attempt(&self.repository_lock(name), Sharing::Exclusive)?.is_some())
    }

    fn repository_lock(&self, name: &str) -> PathBuf {
        self.locks_dir().join(format!("git-{name}"))
    }
}
