//! Cache mounts: directories that commands fill and that outlive builds.
//!
//! `mounts/<name>/` is one cache; the name is a hash of its id, and the file `id` in it holds the id itself.
//! In it lie slots `0`, `1`, …, each a directory that a sandbox sees, and `0.lock`, `1.lock`, … beside them,
//! which no sandbox sees: a command that locks its cache directory must not meet Kiln's own locks. Slot 0
//! is the one that everybody wants; the others are for whoever may not share it and does not wait. The time
//! of its lock's file says when a slot was last taken. A slot
//! appears with its owner, mode and first contents, by rename. What commands leave in it is theirs.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use kiln_ir::{CacheSharing, Digest};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::claims::Closed;
use super::lock::{FileLock, Sharing, poll};
use super::{Store, create_directory};
use crate::CacheError;

/// Which cache is wanted, and how it starts out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMountSpec {
    /// The cache's name, any text.
    pub id: String,
    /// Who else may use it at the same time.
    pub sharing: CacheSharing,
    /// Owner of a newly made directory.
    pub uid: u32,
    /// Group of a newly made directory.
    pub gid: u32,
    /// Permission bits of a newly made directory.
    pub mode: u32,
}

/// The right to use a cache mount's directory, until this is dropped.
#[derive(Debug)]
#[must_use = "the directory is let go at once when this is dropped"]
pub struct CacheMountGuard {
    path: PathBuf,
    _lock: FileLock,
}

impl CacheMountGuard {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// Takes a directory of the cache, made if absent, as its sharing mode has it: `Shared` with all
    /// others who share, `Private` alone, both in a further directory when the usual one is taken;
    /// `Locked` waits for the usual one. Whoever needs several takes them in the order of their ids, each
    /// once, so that two who wait cannot wait for each other.
    ///
    /// `seed` fills a newly made directory before anyone sees it, and may give it another owner and mode; `cancelled` is asked every few
    /// milliseconds while waiting.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`]; what `seed` returns; failures to make or lock the directory.
    pub fn acquire_cache_mount(
        &self,
        spec: &CacheMountSpec,
        seed: &mut dyn FnMut(&Path) -> io::Result<()>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<CacheMountGuard, CacheError> {
        let cache = self.mounts_dir().join(mount_name(&spec.id));
        // A collection takes a cache only when all its slots are free, and meanwhile nobody tries one.
        let (slot, lock) = take_slot(spec.sharing, cancelled, &|slot, sharing| {
            self.claims.undisturbed(|| {
                self.make_cache(&cache, &spec.id)?;
                FileLock::attempt(&cache.join(format!("{slot}.lock")), sharing)
            })?
        })?;
        lock.touch();
        let path = cache.join(slot.to_string());
        if !path.is_dir() {
            self.make_slot(&path, spec, seed)?;
        }
        Ok(CacheMountGuard { path, _lock: lock })
    }

    /// Takes the usual directory of a cache to read it, beside others who share it; nothing where there is none, or
    /// somebody has it alone. That it was read is no use of it.
    ///
    /// # Errors
    /// When it cannot be locked.
    pub fn read_cache_mount(&self, id: &str) -> Result<Option<CacheMountGuard>, CacheError> {
        let cache = self.mounts_dir().join(mount_name(id));
        let path = cache.join("0");
        if !path.is_dir() {
            return Ok(None);
        }
        let lock = self
            .claims
            .undisturbed(|| FileLock::attempt(&cache.join("0.lock"), Sharing::Shared))??;
        Ok(lock.map(|lock| CacheMountGuard { path, _lock: lock }))
    }

    /// Whether the next who wants a cache would find it new. An empty directory that nobody has is taken away,
    /// so that it is.
    ///
    /// # Errors
    /// When it cannot be looked at or locked.
    pub fn make_cache_mount_new(&self, id: &str) -> Result<bool, CacheError> {
        let cache = self.mounts_dir().join(mount_name(id));
        let path = cache.join("0");
        if !path.is_dir() {
            return Ok(true);
        }
        self.claims.undisturbed(|| {
            let lock = FileLock::attempt(&cache.join("0.lock"), Sharing::Exclusive)?;
            // A directory with something in it stays.
            Ok::<_, CacheError>(lock.is_some() && std::fs::remove_dir(&path).is_ok())
        })?
    }

    /// Makes the cache's own directory, with its id written down, unless it is there.
    fn make_cache(&self, cache: &Path, id: &str) -> Result<(), CacheError> {
        if !cache.is_dir() {
            let staged = self.lease.fresh_path("cache");
            create_directory(&staged)?;
            let written = staged.join("id");
            std::fs::write(&written, id).map_err(CacheError::io("write", &written))?;
            put_in_place(&staged, cache)?;
        }
        Ok(())
    }

    fn make_slot(
        &self,
        path: &Path,
        spec: &CacheMountSpec,
        seed: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> Result<(), CacheError> {
        let staged = self.lease.fresh_path("mount");
        create_directory(&staged)?;
        own(&staged, spec.uid, spec.gid)?;
        std::fs::set_permissions(&staged, Permissions::from_mode(spec.mode & 0o7777))
            .map_err(CacheError::io("set the mode of", &staged))?;
        seed(&staged).map_err(CacheError::io("fill the cache mount", &staged))?;
        put_in_place(&staged, path)
    }
}

/// Gives a directory its name. Whoever shares it may have been first: theirs is as good.
fn put_in_place(staged: &Path, path: &Path) -> Result<(), CacheError> {
    match renameat_with(CWD, staged, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Ok(()),
        other => other.map_err(CacheError::io("put in place", path)),
    }
}

/// The id that a cache's directory has written down.
pub(super) fn read_mount_id(cache: &Path) -> String {
    std::fs::read_to_string(cache.join("id")).unwrap_or_default()
}

/// The locks of a cache's slots that exist.
fn slot_locks(cache: &Path) -> Vec<PathBuf> {
    let path = |slot: u32| cache.join(format!("{slot}.lock"));
    (0..).map(path).take_while(|path| path.exists()).collect()
}

/// When a slot of the cache was last taken, in milliseconds since 1970.
pub(super) fn taken_at_ms(cache: &Path) -> i64 {
    let locks = slot_locks(cache);
    locks.iter().map(|lock| modified_ms(lock)).max().unwrap_or_else(|| modified_ms(cache))
}

/// Whether anybody has a slot of the cache. Nobody takes one while the gate is closed.
pub(super) fn is_taken(cache: &Path, _closed: &Closed) -> Result<bool, CacheError> {
    for lock in slot_locks(cache) {
        if FileLock::attempt(&lock, Sharing::Exclusive)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When a file or directory changed, in milliseconds since 1970; 0 when that cannot be told.
pub(super) fn modified_ms(path: &Path) -> i64 {
    let modified = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

/// The name of a cache's directory.
pub(super) fn mount_name(id: &str) -> String {
    Digest::of(id.as_bytes()).to_string()[..32].to_owned()
}

/// Locks the first slot that the mode allows; `lock` tries to lock one.
fn take_slot(
    sharing: CacheSharing,
    cancelled: &dyn Fn() -> bool,
    lock: &dyn Fn(u32, Sharing) -> Result<Option<FileLock>, CacheError>,
) -> Result<(u32, FileLock), CacheError> {
    let attempt =
        |slot: u32, sharing| lock(slot, sharing).map(|held| held.map(|held| (slot, held)));
    let sharing = match sharing {
        CacheSharing::Locked => {
            return poll("a cache mount", cancelled, || attempt(0, Sharing::Exclusive));
        }
        CacheSharing::Shared => Sharing::Shared,
        CacheSharing::Private => Sharing::Exclusive,
    };
    // As many slots as there are users at once, at most.
    let mut slot = 0;
    loop {
        if let Some(taken) = attempt(slot, sharing)? {
            return Ok(taken);
        }
        slot += 1;
    }
}

/// Gives the directory its owner, where that is possible: without the ids of other users it stays ours.
fn own(path: &Path, uid: u32, gid: u32) -> Result<(), CacheError> {
    match chown(path, Some(uid), Some(gid)) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
            ) =>
        {
            tracing::debug!(path = %path.display(), uid, gid, "cache mount keeps its owner");
            Ok(())
        }
        other => other.map_err(CacheError::io("set the owner of", path)),
    }
}
