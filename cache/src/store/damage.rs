//! The note that the database is damaged, and who has the database open.
//!
//! The note is the directory `rebuild/` with a file `why`. Whoever meets damage makes it; from then on nobody opens
//! the database before it is made anew ([`rebuild`](super::rebuild)). Every process holds a shared lock on
//! `locks/database` as long as it has the store open, and looks for the note once it has the lock; whoever makes the
//! database anew holds it alone.

use std::io;
use std::path::{Path, PathBuf};

use super::lock::{FileLock, Sharing, poll};
use crate::CacheError;

/// The database, in the store's directory.
pub(super) const DATABASE: &str = "kiln.db";
/// The directory that is there from the finding of damage to the end of its repair.
const NOTE: &str = "rebuild";
/// What was found, in the note's directory.
const WHY: &str = "why";

/// Where the note is.
pub(super) fn note_of(root: &Path) -> PathBuf {
    root.join(NOTE)
}

/// Notes that the database of a store is damaged; the first who finds something says what. Where the disk refuses, the
/// next who meets the damage notes it.
pub(super) fn note(root: &Path, found: &str) {
    let dir = note_of(root);
    let noted = match std::fs::create_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return,
        made => made.and_then(|()| std::fs::write(dir.join(WHY), found)),
    };
    if let Err(error) = noted {
        tracing::warn!(%error, "the damage to the database is not noted");
    }
}

/// What the note says.
pub(super) fn found(root: &Path) -> String {
    let text = std::fs::read(note_of(root).join(WHY)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { "it makes no sense".to_owned() } else { line.to_owned() }
}

/// The right to have the database open, until this is dropped.
#[derive(Debug)]
pub(super) struct Access {
    _lock: FileLock,
}

impl Access {
    /// Waits until nobody is making the database anew; it is not to be made anew now.
    pub(super) fn shared(root: &Path) -> Result<Self, CacheError> {
        let path = lock_of(root);
        let lock = poll("the database to be made anew", &|| false, || {
            FileLock::attempt(&path, Sharing::Shared)
        })?;
        if note_of(root).exists() {
            return Err(CacheError::DamagedStore { path: root.join(DATABASE), found: found(root) });
        }
        Ok(Self { _lock: lock })
    }

    /// Waits until nobody else has the database open; nothing when `given_up` says so first.
    pub(super) fn alone(
        root: &Path,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, CacheError> {
        let path = lock_of(root);
        let lock =
            poll("other processes", given_up, || FileLock::attempt(&path, Sharing::Exclusive));
        match lock {
            Ok(lock) => Ok(Some(Self { _lock: lock })),
            Err(CacheError::Cancelled { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn lock_of(root: &Path) -> PathBuf {
    root.join("locks/database")
}
