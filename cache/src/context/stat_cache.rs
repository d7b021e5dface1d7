//! What files of one context held when they were last read, so that a file whose stat is the same is not
//! read again.
//!
//! An entry counts only for the very same path, device, inode, size, mode, modification and change time,
//! in nanoseconds. The change time cannot be set, so an edit is seen although it keeps size and
//! modification time. The exception is an edit within one tick of the filesystem's clock, so a file as
//! young as its reading is not remembered (git's racy rule).
//!
//! As bytes: the format's name; then each directory by path with its names in order, each list with its
//! length before it, all integers little endian; then BLAKE3 of everything before. What is not whole is an
//! empty cache: it costs time, never a wrong answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_ir::Digest;

use super::dir::Names;
use crate::select::Kind;
use crate::stat::StatKey;
use crate::tree::{Mtime, paths};
use codec::{KEY_BYTES, KnownDir, Remembered};

mod codec;

/// What is shorter is read in less time than it takes to start a thread.
pub(super) const LONG_BYTES: u64 = 64 * 1024;

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

/// What is to be written of one directory, by name.
type Listing<'a> = BTreeMap<&'a [u8], (StatKey, Known)>;

/// A file or directory as an earlier build read it, decoded as far as it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownFile<'a> {
    name: &'a [u8],
    key: &'a [u8; KEY_BYTES],
    digest: &'a [u8; 32],
    /// Encoded: few files have any.
    xattrs: &'a [u8],
}

impl KnownFile<'_> {
    /// What reading it would give, if it is the very same by its stat.
    pub(super) fn if_same(&self, key: &StatKey) -> Option<Known> {
        (*self.key == codec::key_bytes(key)).then(|| self.known())
    }

    pub(super) fn has_length(&self, size_bytes: u64) -> bool {
        self.key().is_some_and(|key| key.size_bytes == size_bytes)
    }

    fn is_dir(&self) -> bool {
        codec::mode_of(self.key) & 0o170_000 == 0o040_000
    }
}

/// The memory of one context, over builds.
#[derive(Debug)]
pub struct StatCache {
    remembered: Arc<Ahead>,
    learned: Mutex<Learned>,
    clock: fn() -> Mtime,
}

/// What is read by whoever has time first, before it is asked for if it can be.
type Ahead = LazyLock<Remembered, Box<dyn FnOnce() -> Remembered + Send>>;

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
        Self::of(Box::new(Remembered::default))
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
    pub fn decode(bytes: Vec<u8>) -> Self {
        Self::of(Box::new(|| Remembered::read(bytes).unwrap_or_default()))
    }

    /// As [`StatCache::decode`] of what `file` holds, which another thread reads meanwhile if there is much of it.
    /// Without the file, or when it cannot be read, the cache is empty.
    #[must_use]
    pub fn read_ahead(file: PathBuf) -> Self {
        let is_long = fs::metadata(&file).is_ok_and(|meta| meta.len() > LONG_BYTES);
        let cache = Self::of(Box::new(|| {
            let bytes = fs::read(file).unwrap_or_default();
            Remembered::read(bytes).unwrap_or_default()
        }));
        if !is_long {
            return cache;
        }
        let ahead = Arc::clone(&cache.remembered);
        rayon::spawn(move || {
            LazyLock::force(&ahead);
        });
        cache
    }

    fn of(remembered: Box<dyn FnOnce() -> Remembered + Send>) -> Self {
        let remembered = Arc::new(LazyLock::new(remembered));
        Self { remembered, learned: Mutex::default(), clock: system_now }
    }

    /// All that is worth remembering, as bytes; nothing when nothing changed since [`StatCache::decode`].
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let learned = self.learned();
        if learned.entries.is_empty() && learned.gone.is_empty() {
            return None;
        }
        let mut all: BTreeMap<&[u8], Listing<'_>> = BTreeMap::new();
        for (dir, known) in self.remembered.directories() {
            let entries = known.filter_map(|file| Some((file.name, (file.key()?, file.known()))));
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
            let entries = entries.iter();
            let entries =
                entries.map(|(name, (key, known))| (name.as_slice(), (*key, known.clone())));
            all.entry(dir).or_default().extend(entries);
        }
        Some(codec::encode(&all))
    }

    /// How many files and directories are remembered from earlier builds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.remembered.directories().map(|(_, known)| known.count()).sum()
    }

    /// Whether nothing is remembered from earlier builds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remembered.is_empty()
    }

    /// Whether what the file holds is there already.
    #[cfg(test)]
    pub(crate) fn is_read(&self) -> bool {
        LazyLock::get(&self.remembered).is_some()
    }

    /// The same memory with another clock, to test what depends on a file's age.
    #[cfg(test)]
    pub(crate) fn with_clock(self, clock: fn() -> Mtime) -> Self {
        Self { clock, ..self }
    }

    pub(super) fn now(&self) -> Mtime {
        (self.clock)()
    }

    fn directory(&self, path: &[u8]) -> KnownDir<'_> {
        self.remembered.directory(path)
    }

    /// What is remembered of one name in a directory.
    pub(super) fn entry(&self, dir: &[u8], name: &[u8]) -> Option<KnownFile<'_>> {
        self.directory(dir).find(|file| file.name == name)
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

    /// What is remembered of each name of a directory's whole list, which is in byte order. Takes note of
    /// what is not there any more, to forget it.
    pub(super) fn listed(&self, dir: &[u8], names: &Names) -> Vec<Option<KnownFile<'_>>> {
        let mut recalled = Vec::with_capacity(names.len());
        let mut gone = Vec::new();
        let mut known = self.directory(dir).peekable();
        for (name, kind) in names.iter() {
            while let Some(before) = known.next_if(|file| file.name < name) {
                gone.push(paths::join(dir, before.name));
            }
            let same = known.next_if(|file| file.name == name);
            // A directory that is none any more takes all below with it.
            if same.is_some_and(|file| file.is_dir() != (kind == Kind::Dir)) {
                gone.push(paths::join(dir, name));
            }
            recalled.push(same);
        }
        gone.extend(known.map(|file| paths::join(dir, file.name)));
        if !gone.is_empty() {
            self.learned().gone.append(&mut gone);
        }
        recalled
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, Learned> {
        // Each insertion is whole: what a panicking thread left is sound.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
