//! What files of one context held when they were last read, so that a file whose stat is the same is not
//! read again.
//!
//! An entry counts only for the very same path, device, inode, size, mode, modification and change time,
//! in nanoseconds. The change time cannot be set, so an edit is seen although it keeps size and
//! modification time. The exception is an edit within one tick of the filesystem's clock, so a file as
//! young as its reading is not remembered (git's racy rule).
//!
//! A directory's names are remembered likewise, whether or not anything was read for them: while its own stat is
//! the same, none was added, taken away or replaced. So they are not asked for again, but their stats are.
//!
//! As bytes: the format's name; then each directory by path with its stat, if its names are all there, and with
//! its names in order, each list with its length before it, all integers little endian; then BLAKE3 of everything
//! before. What is not whole is an empty cache: it costs time, never a wrong answer.

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

/// One in so many directories is not many.
const FEW: usize = 8;

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

/// What is to be written of one directory.
#[derive(Debug, Default)]
struct Listing<'a> {
    /// Its stat when these were all its names.
    whole: Option<[u8; KEY_BYTES]>,
    entries: BTreeMap<&'a [u8], What<(StatKey, Known)>>,
}

/// A name in a directory.
#[derive(Debug)]
struct Entry<'a> {
    name: &'a [u8],
    what: What<KnownFile<'a>>,
}

/// What is known of a name.
#[derive(Debug)]
enum What<T> {
    /// What reading it gave.
    Read(T),
    /// No more than this.
    Named(Kind),
}

/// The names in a directory, in byte order, and what is remembered of each.
pub(super) struct Recalled<'a> {
    pub(super) names: Names,
    pub(super) known: Vec<Option<KnownFile<'a>>>,
}

/// A file or directory as an earlier build read it, decoded as far as it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownFile<'a> {
    key: &'a [u8; KEY_BYTES],
    digest: &'a [u8; 32],
    /// Encoded: few files have any.
    xattrs: &'a [u8],
}

impl KnownFile<'_> {
    /// What reading it would give, if it is the very same by its stat.
    pub(super) fn if_same(&self, key: &StatKey) -> Option<Known> {
        self.is_same(key).then(|| self.known())
    }

    pub(super) fn is_same(&self, key: &StatKey) -> bool {
        *self.key == codec::key_bytes(key)
    }

    /// Whether it is a file without attributes.
    pub(super) fn is_plain(&self) -> bool {
        !self.is_dir() && self.xattrs.is_empty()
    }

    /// Of the file's bytes.
    pub(super) fn digest(&self) -> Digest {
        Digest::from_bytes(*self.digest)
    }

    pub(super) fn has_length(&self, size_bytes: u64) -> bool {
        self.key().is_some_and(|key| key.size_bytes == size_bytes)
    }

    fn is_dir(&self) -> bool {
        codec::mode_of(self.key) & 0o170_000 == 0o040_000
    }
}

impl<'a> Entry<'a> {
    fn read(&self) -> Option<KnownFile<'a>> {
        if let What::Read(file) = self.what { Some(file) } else { None }
    }

    /// Of links and devices nothing is ever read.
    fn kind(&self) -> Kind {
        match &self.what {
            What::Read(file) if file.is_dir() => Kind::Dir,
            What::Read(_) => Kind::Other,
            What::Named(kind) => *kind,
        }
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
    /// All names of a directory, and its stat when they were; nothing where it may change without a trace.
    names: BTreeMap<Vec<u8>, Option<(StatKey, Names)>>,
    /// Remembered names that are gone, and subdirectories that are none any more, by their whole path.
    gone: Vec<Vec<u8>>,
}

impl Learned {
    /// Names alone are worth it when they are those of many directories: one that changes before every build must not
    /// have all written each time.
    fn is_worthwhile(&self, remembered: &Ahead) -> bool {
        if !self.entries.is_empty() || !self.gone.is_empty() {
            return true;
        }
        let named = self.names.values().flatten().count();
        // What nobody asked for is not read for this.
        named > 0 && named * FEW > remembered.len()
    }
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

    /// Whether [`StatCache::encode`] would give anything.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.learned().is_worthwhile(&self.remembered)
    }

    /// All that is worth remembering, as bytes; nothing when what was learned since [`StatCache::decode`] is not
    /// worth writing all of it again.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let learned = self.learned();
        if !learned.is_worthwhile(&self.remembered) {
            return None;
        }
        let mut all: BTreeMap<&[u8], Listing<'_>> = BTreeMap::new();
        for (dir, known) in self.remembered.directories() {
            let whole = known.whole.copied();
            let entries = known.filter_map(|entry| {
                let what = match entry.what {
                    What::Read(file) => What::Read((file.key()?, file.known())),
                    What::Named(kind) => What::Named(kind),
                };
                Some((entry.name, what))
            });
            all.insert(dir, Listing { whole, entries: entries.collect() });
        }
        for gone in &learned.gone {
            let (dir, name) = paths::split(gone);
            if let Some(listing) = all.get_mut(dir) {
                listing.entries.remove(name);
            }
            let below = [gone.as_slice(), b"/"].concat();
            all.retain(|dir, _| *dir != gone.as_slice() && !dir.starts_with(&below));
        }
        for (dir, names) in &learned.names {
            let listing = all.entry(dir).or_default();
            listing.whole = names.as_ref().map(|(key, _)| codec::key_bytes(key));
            for (name, kind) in names.iter().flat_map(|(_, names)| names.iter()) {
                listing.entries.entry(name).or_insert(What::Named(kind));
            }
        }
        for (dir, entries) in &learned.entries {
            let entries =
                entries.iter().map(|(name, read)| (name.as_slice(), What::Read(read.clone())));
            all.entry(dir).or_default().entries.extend(entries);
        }
        Some(codec::encode(&all))
    }

    /// How many files and directories are remembered from earlier builds, as far as they were read.
    #[must_use]
    pub fn len(&self) -> usize {
        let entries = self.remembered.directories().flat_map(|(_, known)| known);
        entries.filter(|entry| entry.read().is_some()).count()
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

    /// The directories whose names this build learned.
    #[cfg(test)]
    pub(crate) fn learned_names(&self) -> Vec<Vec<u8>> {
        let learned = self.learned();
        let names = learned.names.iter().filter(|(_, names)| names.is_some());
        names.map(|(dir, _)| dir.clone()).collect()
    }

    pub(super) fn now(&self) -> Mtime {
        (self.clock)()
    }

    fn directory(&self, path: &[u8]) -> KnownDir<'_> {
        self.remembered.directory(path)
    }

    /// What is remembered of one name in a directory.
    pub(super) fn entry(&self, dir: &[u8], name: &[u8]) -> Option<KnownFile<'_>> {
        self.directory(dir).find(|entry| entry.name == name)?.read()
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

    /// A directory's names, if its stat is that of when they were learned.
    pub(super) fn recall(&self, dir: &[u8], key: &StatKey) -> Option<Recalled<'_>> {
        let mut entries = self.directory(dir);
        if *entries.whole? != codec::key_bytes(key) {
            return None;
        }
        let (mut names, mut known) = (Names::default(), Vec::new());
        for entry in entries.by_ref() {
            if !paths::is_name(entry.name) {
                return None;
            }
            names.push(entry.name, entry.kind());
            known.push(entry.read());
        }
        entries.is_spent().then_some(Recalled { names, known })
    }

    /// What is remembered of each name of a directory's whole list, which is in byte order. `key` is the directory's
    /// stat, taken before they were read, where every later change shows in it. Takes note of the names, and of what
    /// is not there any more, to forget it.
    pub(super) fn listed(&self, dir: &[u8], key: Option<StatKey>, names: Names) -> Recalled<'_> {
        let mut recalled = Vec::with_capacity(names.len());
        let mut gone = Vec::new();
        let mut known = self.directory(dir).peekable();
        for (name, kind) in names.iter() {
            while let Some(before) = known.next_if(|entry| entry.name < name) {
                gone.push(paths::join(dir, before.name));
            }
            let same = known.next_if(|entry| entry.name == name);
            // A directory that is none any more takes all below with it.
            if same.as_ref().is_some_and(|entry| (entry.kind() == Kind::Dir) != (kind == Kind::Dir))
            {
                gone.push(paths::join(dir, name));
            }
            recalled.push(same.and_then(|entry| entry.read()));
        }
        gone.extend(known.map(|entry| paths::join(dir, entry.name)));
        let mut learned = self.learned();
        learned.gone.append(&mut gone);
        learned.names.insert(dir.to_vec(), key.map(|key| (key, names.clone())));
        Recalled { names, known: recalled }
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, Learned> {
        // Each insertion is whole: what a panicking thread left is sound.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
