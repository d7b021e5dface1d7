//! Locks that hold between threads and between processes, and vanish with whoever held them.
//!
//! Each is held through an open file description of its own, so that two threads exclude each other as two
//! processes do: a `flock` of a whole file, or a lock of one byte in it. Waiting polls: the caller may
//! cancel.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kiln_ir::Digest;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

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

/// A held lock of one of the many names, such as keys, that share a file: of the byte that the name stands
/// for. So it costs no file of its own, made and removed each time.
#[derive(Debug)]
pub(super) struct NameLock {
    _file: File,
}

impl NameLock {
    /// Waits for the lock, for oneself alone. `what` names it when the wait is cancelled. Two names of
    /// which these digests begin with the same 62 bits would wait for each other.
    pub(super) fn wait(
        path: &Path,
        name: &Digest,
        what: &'static str,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, CacheError> {
        let file = open(path)?;
        let [a, b, c, d, e, f, g, h, ..] = *name.as_bytes();
        let lock = nix::libc::flock {
            l_type: nix::libc::F_WRLCK as i16,
            l_whence: nix::libc::SEEK_SET as i16,
            // The last byte that can be locked is below the greatest offset.
            l_start: i64::from_le_bytes([a, b, c, d, e, f, g, h & 0x3f]),
            l_len: 1,
            l_pid: 0,
        };
        let attempt = || match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(Some(())),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(CacheError::io("lock", path)(errno)),
        };
        poll(what, cancelled, attempt)?;
        Ok(Self { _file: file })
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
