//! Copies of large files that are made while the files are hashed, so that each byte is read once for both.
//!
//! Such a copy is a file without a name in the staging directory: nothing is left of it when it turns out not to be
//! needed, or when the process dies. It holds the very bytes that were hashed. A layer takes it by giving it a name,
//! unless its source has changed since. There is none where the filesystem lets files share their blocks, since a copy
//! takes no time there, none of a sparse file, and none where files cannot be made without a name; and whatever goes
//! wrong with one is no failure: the file is then copied when a layer wants it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_ir::Digest;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

use super::LayerStore;
use super::content::{Copied, is_sparse, write_all_at};
use super::digest::LARGE_BYTES;
use crate::stat::StatKey;

/// Smaller files are hashed and copied by one thread each, several at a time.
pub(crate) const AHEAD_MIN_BYTES: u64 = LARGE_BYTES;
/// How many copies are held at a time: each is an open file.
const MAX_HELD: usize = 64;

/// A copy of a file as it was at one stat, until somebody takes it.
#[derive(Debug)]
pub struct AheadCopy {
    of: StatKey,
    digest: Digest,
    file: Mutex<Option<Unnamed>>,
}

/// A copy that is being made.
#[derive(Debug)]
pub(crate) struct Copying(Mutex<Option<Unnamed>>);

/// An open file without a name.
#[derive(Debug)]
pub(super) struct Unnamed {
    file: OwnedFd,
    _place: Place,
}

/// One of the [`MAX_HELD`] of a store.
#[derive(Debug)]
struct Place {
    held: Arc<AtomicUsize>,
}

impl LayerStore {
    /// Begins the copy of an open file, if it is one to be copied ahead.
    pub(crate) fn copy_ahead(&self, source: BorrowedFd<'_>) -> Option<Copying> {
        if is_sparse(&rustix::fs::fstat(source).ok()?) {
            return None;
        }
        let place = Place::take(&self.0.held)?;
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.0.staging, flags, Mode::RUSR | Mode::WUSR).ok()?;
        if rustix::fs::ioctl_ficlone(&file, source).is_ok() {
            return None;
        }
        tracing::debug!("a large file is copied while it is hashed");
        Some(Copying(Mutex::new(Some(Unnamed { file, _place: place }))))
    }
}

impl Copying {
    /// Takes a piece of the source; by several threads, in any order. They write one after the other: the kernel
    /// would have them wait too, but spinning.
    pub(crate) fn put(&self, offset: u64, bytes: &[u8]) {
        let mut unnamed = enter(&self.0);
        if let Some(Unnamed { file, .. }) = &*unnamed
            && let Err(error) = write_all_at(file.as_fd(), bytes, offset)
        {
            tracing::debug!(%error, "a large file is not copied ahead");
            *unnamed = None;
        }
    }

    /// The copy, now that all was put that has the digest. The source had the stat `of` before and has it now.
    pub(crate) fn finish(self, of: StatKey, digest: Digest) -> Option<AheadCopy> {
        let unnamed = self.0.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        Some(AheadCopy { of, digest, file: Mutex::new(Some(unnamed)) })
    }
}

impl AheadCopy {
    /// Hands the copy out, once, if it is still one of what `source` is.
    pub(super) fn take_for(&self, source: BorrowedFd<'_>) -> Option<(Unnamed, Copied)> {
        if StatKey::now(source).ok()? != self.of {
            return None;
        }
        Some((enter(&self.file).take()?, (self.digest, self.of.size_bytes)))
    }

    #[cfg(test)]
    pub(crate) fn is_taken(&self) -> bool {
        enter(&self.file).is_none()
    }
}

/// Copies of the same file.
impl PartialEq for AheadCopy {
    fn eq(&self, other: &Self) -> bool {
        (self.of, self.digest) == (other.of, other.digest)
    }
}

impl Eq for AheadCopy {}

impl Unnamed {
    /// Gives the file a name in an open directory.
    pub(super) fn name(&self, dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<&OwnedFd> {
        super::disk::link_open_file(self.file.as_fd(), dir, name)?;
        Ok(&self.file)
    }
}

impl Place {
    fn take(held: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |held: usize| (held < MAX_HELD).then_some(held + 1);
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self { held: Arc::clone(held) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Nothing is left half done inside.
fn enter<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
