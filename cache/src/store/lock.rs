//! Locks that hold between threads and between processes, and vanish with whoever held them.
//!
//! Each is a `flock` on a file of its own, through a description of its own, so that two threads exclude
//! each other as two processes do. Waiting polls: the caller may cancel.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::CacheError;

/// The first pause between two tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Who else may hold a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Others who share it.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A held lock; the file stays when it is let go.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock if nobody is in the way.
    pub(super) fn attempt(path: &Path, sharing: Sharing) -> Result<Option<Self>, CacheError> {
        let file = open(path)?;
        Ok(attempt(&file, path, sharing)?.then_some(Self { file }))
    }

    /// Notes in the time of the lock's file that it was taken now.
    pub(super) fn touch(&self) {
        if let Err(error) = self.file.set_modified(SystemTime::now()) {
            // It counts as unused for longer than it is.
            tracing::debug!(%error, "the time of a lock is not noted");
        }
    }

    /// Waits for the lock, for oneself alone. `what` names it when the wait is cancelled.
    pub(super) fn wait(
        path: &Path,
        what: &'static str,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, CacheError> {
        poll(what, cancelled, || Self::attempt(path, Sharing::Exclusive))
    }
}

/// A held lock whose file goes away with it: for names without number, such as keys.
#[derive(Debug)]
pub(super) struct PassingLock {
    path: PathBuf,
    /// Held while the file is removed, so that nobody else locks a file without a name.
    _file: File,
}

impl PassingLock {
    /// Waits for the lock, for oneself alone. `what` names it when the wait is cancelled.
    pub(super) fn wait(
        path: &Path,
        what: &'static str,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, CacheError> {
        poll(what, cancelled, || {
            let file = open(path)?;
            let held = attempt(&file, path, Sharing::Exclusive)? && is_at(&file, path)?;
            Ok(held.then(|| Self { path: path.to_owned(), _file: file }))
        })
    }
}

impl Drop for PassingLock {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            // It stays behind as an unlocked file, which does no harm.
            tracing::debug!(path = %self.path.display(), %error, "lock file not removed");
        }
    }
}

/// Whether the open file is the one that has the name now.
pub(super) fn is_at(file: &File, path: &Path) -> Result<bool, CacheError> {
    let held = file.metadata().map_err(CacheError::io("read the state of", path))?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CacheError::io("read the state of", path)(error)),
    }
}

/// Tries to lock an open file.
pub(super) fn attempt(file: &File, path: &Path, sharing: Sharing) -> Result<bool, CacheError> {
    let tried = match sharing {
        Sharing::Shared => file.try_lock_shared(),
        Sharing::Exclusive => file.try_lock(),
    };
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(CacheError::io("lock", path)(error)),
    }
}

/// Tries until it succeeds, fails or is cancelled.
pub(super) fn poll<T>(
    what: &'static str,
    cancelled: &dyn Fn() -> bool,
    mut attempt: impl FnMut() -> Result<Option<T>, CacheError>,
) -> Result<T, CacheError> {
    let (mut pause, longest) = PAUSES;
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        if cancelled() {
            return Err(CacheError::Cancelled { what });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
}

fn open(path: &Path) -> Result<File, CacheError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(CacheError::io("open the lock", path))
}
