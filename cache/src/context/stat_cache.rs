//! What files of one context held when they were last read, so that a file whose stat is the same is not
//! read again.
//!
//! An entry counts only for the very same path, device, inode, size, mode, modification and change time,
//! in nanoseconds. The change time cannot be set, so an edit is seen although it keeps size and
//! modification time. The exception is an edit within one tick of the filesystem's clock, so a file as
//! young as its reading is not remembered (git's racy rule).
//!
//! As bytes: the format's name; then each directory by path with its names in order, all integers little
//! endian; then BLAKE3 of everything before. What does not decode whole is an empty cache: it costs time,
//! never a wrong answer.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_ir::Digest;

use super::dir::Name;
use crate::CacheError;
use crate::select::Kind;
use crate::tree::{Mtime, paths};

mod codec;

/// Ticks of clocks are shorter than this.
const TICK_NANOS: i128 = 50_000_000;
/// Filesystems without parts of a second have ticks of up to two.
const COARSE_TICK_NANOS: i128 = 2_000_000_000;

/// What must be equal for a file to be the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatKey {
    /// The filesystem's device.
    pub device: u64,
    /// The file's number there.
    pub inode: u64,
    /// Its length.
    pub size_bytes: u64,
    /// When its content changed; anyone can set this.
    pub mtime: Mtime,
    /// When anything of it changed; nobody can set this.
    pub ctime: Mtime,
    /// Its type and permissions.
    pub mode: u32,
}

impl StatKey {
    /// Whether the file, read at `now`, could change after and look the same.
    pub(super) fn is_racy(&self, now: Mtime) -> bool {
        let coarse = self.mtime.nanos == 0 && self.ctime.nanos == 0;
        let tick = if coarse { COARSE_TICK_NANOS } else { TICK_NANOS };
        nanos(self.ctime) + tick >= nanos(now)
    }
}

fn nanos(time: Mtime) -> i128 {
    i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos)
}

/// What reading gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Of a file's bytes; zeros for a directory.
    pub(super) digest: Digest,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { digest: super::NO_CONTENT, xattrs: BTreeMap::new() }
    }
}

type Entries = Vec<(Vec<u8>, StatKey, Known)>;
/// What is to be written of one directory, by name.
type Listing<'a> = BTreeMap<&'a [u8], (&'a StatKey, &'a Known)>;

/// The remembered entries of one directory, in byte order of their names.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownDir(Arc<Entries>);

impl KnownDir {
    pub(super) fn get(&self, name: &[u8], key: &StatKey) -> Option<&Known> {
        let index = self.0.binary_search_by(|(other, _, _)| other.as_slice().cmp(name)).ok()?;
        let (_, remembered, known) = &self.0[index];
        (remembered == key).then_some(known)
    }
}

/// The memory of one context, over builds.
#[derive(Debug)]
pub struct StatCache {
    remembered: BTreeMap<Vec<u8>, KnownDir>,
    learned: Mutex<Learned>,
    clock: fn() -> Mtime,
}

/// By name.
type LearnedDir = BTreeMap<Vec<u8>, (StatKey, Known)>;

#[derive(Debug, Default)]
struct Learned {
    /// By directory.
    entries: BTreeMap<Vec<u8>, LearnedDir>,
    /// Remembered names that are gone, and subdirectories that are none any more, by their whole path.
    gone: Vec<Vec<u8>>,
}

impl Default for StatCache {
    fn default() -> Self {
        Self { remembered: BTreeMap::new(), learned: Mutex::default(), clock: system_now }
    }
}

fn system_now() -> Mtime {
    // Before 1970 every file counts as too young: nothing is remembered.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Mtime { secs: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nanos: now.subsec_nanos() }
}

impl StatCache {
    /// Reads what [`StatCache::encode`] wrote; anything else is an empty cache.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        Self { remembered: codec::decode(bytes).unwrap_or_default(), ..Self::default() }
    }

    /// All that is worth remembering, as bytes; nothing when nothing changed since [`StatCache::decode`].
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let learned = self.learned();
        if learned.entries.is_empty() && learned.gone.is_empty() {
            return None;
        }
        let mut all: BTreeMap<&[u8], Listing<'_>> = BTreeMap::new();
        for (dir, known) in &self.remembered {
            let entries = known.0.iter().map(|(name, key, known)| (name.as_slice(), (key, known)));
            all.insert(dir, entries.collect());
        }
        for gone in &learned.gone {
            let (dir, name) = paths::split(gone);
            if let Some(entries) = all.get_mut(dir) {
                entries.remove(name);
            }
            let below = [gone.as_slice(), b"/"].concat();
            all.retain(|dir, _| *dir != gone.as_slice() && !dir.starts_with(&below));
        }
        for (dir, entries) in &learned.entries {
            let entries =
                entries.iter().map(|(name, (key, known))| (name.as_slice(), (key, known)));
            all.entry(dir).or_default().extend(entries);
        }
        Some(codec::encode(&all))
    }

    /// The name of the file that remembers the context at `context`: one for each real path.
    ///
    /// # Errors
    /// When `context` does not lead anywhere.
    pub fn file_name(context: &Path) -> Result<String, CacheError> {
        let real = fs::canonicalize(context).map_err(CacheError::io("resolve", context))?;
        Ok(Digest::of(real.as_os_str().as_bytes()).to_string())
    }

    /// Reads a file that [`StatCache::save`] wrote. Without one, or with one that is damaged, nothing is
    /// remembered.
    #[must_use]
    pub fn load(file: &Path) -> Self {
        fs::read(file).map(|bytes| Self::decode(&bytes)).unwrap_or_default()
    }

    /// Puts all that is worth remembering in place of `file`, by way of the directory `staging` on the same
    /// filesystem. Without news nothing is written.
    ///
    /// # Errors
    /// When writing fails; `file` is as it was then.
    pub fn save(&self, file: &Path, staging: &Path) -> Result<(), CacheError> {
        static SAVED: AtomicU64 = AtomicU64::new(0);
        let Some(bytes) = self.encode() else { return Ok(()) };
        let number = SAVED.fetch_add(1, Ordering::Relaxed);
        let temporary = staging.join(format!("{}-stat-cache-{number}", std::process::id()));
        let written = fs::write(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, file))
            .map_err(CacheError::io("save the stat cache", file));
        if written.is_err() {
            // What failed is told already, and staging is swept anyway.
            let _removed = fs::remove_file(&temporary);
        }
        written
    }

    /// How many files and directories are remembered from earlier builds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.remembered.values().map(|dir| dir.0.len()).sum()
    }

    /// Whether nothing is remembered from earlier builds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remembered.is_empty()
    }

    /// The same memory with another clock, to test what depends on a file's age.
    #[cfg(test)]
    pub(crate) fn with_clock(self, clock: fn() -> Mtime) -> Self {
        Self { clock, ..self }
    }

    pub(super) fn now(&self) -> Mtime {
        (self.clock)()
    }

    pub(super) fn directory(&self, path: &[u8]) -> Option<KnownDir> {
        self.remembered.get(path).cloned()
    }

    pub(super) fn learn(&self, dir: &[u8], name: &[u8], key: StatKey, known: Known) {
        let mut learned = self.learned();
        match learned.entries.get_mut(dir) {
            Some(entries) => {
                entries.insert(name.to_vec(), (key, known));
            }
            None => {
                let entries = BTreeMap::from([(name.to_vec(), (key, known))]);
                learned.entries.insert(dir.to_vec(), entries);
            }
        }
    }

    /// Takes note of a directory's whole list of names, in byte order, to forget what is gone.
    pub(super) fn listed(&self, dir: &[u8], names: &[Name]) {
        let Some(known) = self.remembered.get(dir) else { return };
        let mut names = names.iter().peekable();
        let mut gone = Vec::new();
        for (remembered, key, _) in known.0.iter() {
            while names.next_if(|name| name.bytes() < remembered.as_slice()).is_some() {}
            let was_dir = key.mode & 0o170_000 == 0o040_000;
            let is_there = names.peek().is_some_and(|name| {
                name.bytes() == remembered.as_slice() && was_dir == (name.kind() == Kind::Dir)
            });
            if !is_there {
                gone.push(paths::join(dir, remembered));
            }
        }
        if !gone.is_empty() {
            self.learned().gone.append(&mut gone);
        }
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, Learned> {
        // Each insertion is whole: what a panicking thread left is sound.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
