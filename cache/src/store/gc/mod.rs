//! Collection: what the store holds, what it is worth, and taking away what is worth least.
//!
//! An [`Entry`] is what people see and what is taken: a step's record, a cache mount, what is remembered of
//! a context, an image without a name, or something left over. Entries *need* things: layers and blobs. A
//! thing goes when nothing needs it any more: no record, no image, and no process that claims it.
//!
//! A collection first looks at everything without any lock and chooses (`choose`). That choice is only a
//! wish: each batch of it is looked at again (`sweep`) in a transaction, which no record or image is
//! written beside, and with the gate closed, which no process claims anything beside
//! (`claims`). In that order, rows are deleted, the transaction is committed, files are
//! renamed into the collector's own staging directory, and the gate is opened. Deleting them takes long,
//! and is done last, under no lock. What can happen beside it:
//!
//! - *A build finds a record, then looks for its layer.* Its claim comes before the gate closes: the
//!   record and the layer stay. Or after: the layer is gone, and the build runs the step.
//! - *A commit finds its layer there and keeps the earlier one.* It claims first, so it is the same.
//! - *A layer or blob was just named, and no row points to it yet.* It was claimed before it was named.
//!   Once the process is gone it is left over, and the next collection's.
//! - *A record is put again while a collection has it in mind.* The row's time of use is another, so it
//!   is kept.
//! - *An image is put.* Its blobs are claimed by who puts it, and the images are read in the transaction.
//!   When an image's row goes, its blobs are looked at afterwards.
//! - *A cache mount is taken.* A slot is tried only with the gate open; a cache goes only when all its
//!   slots can be locked with the gate closed.
//! - *A repository is fetched into.* Its lock is held, and the collection passes it over.
//! - *What is remembered of a context is read.* It is one file, read whole or not at all.
//! - *The collector is killed.* Before the commit nothing has happened. After it, files without rows are
//!   left over. What was renamed lies in the staging directory, like any rubbish.
//! - *The machine loses power.* Rows may come back whose files are gone: a record without its layer is
//!   passed over, a blob is looked for before it is used. No row of an image goes with its blobs in one
//!   step that could come back in part: the image's row goes first.
//!
//! Memos without their layer or blob go with it. `selections` says nothing of layers: it is emptied when
//! it has far more rows than there are records. Absent: when to collect, and what limits are right.

mod choose;
mod inventory;
mod measure;
mod reach;
mod sweep;

use std::collections::BTreeSet;
use std::time::Duration;

use super::Store;
use super::lock::{FileLock, Sharing};
use crate::CacheError;
use inventory::Inventory;
pub(super) use measure::allocated_bytes;
pub(super) use reach::reach;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// The result of a step.
    Step,
    /// A cache mount with all its directories.
    CacheMount,
    /// What is remembered of the files of a build context.
    Context,
    /// What an address gave, or a repository that was fetched from.
    Remote,
    /// An image that has no name.
    Image,
    /// A layer or blob that nothing points to.
    Leftover,
}

/// Something that can be collected, or could if nobody used it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: digits of a digest.
    pub id: String,
    /// What it is.
    pub kind: EntryKind,
    /// What it takes on the disk, in bytes: allocated blocks, hard links counted once, without what a
    /// named image has too.
    pub size_bytes: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last used, in milliseconds since 1970.
    pub used_ms: i64,
    /// How long it took to make, in milliseconds.
    pub duration_ms: u64,
    /// What people call it.
    pub description: String,
    /// Whether a running process uses it.
    pub in_use: bool,
    /// Whether a named image has the same content.
    pub shared: bool,
}

/// How far a collection goes. Without any limit it takes all that it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// As many bytes may stay.
    pub max_used_bytes: Option<u64>,
    /// As many bytes stay in any case.
    pub reserved_bytes: Option<u64>,
    /// As many bytes of the filesystem should be free.
    pub min_free_bytes: Option<u64>,
}

/// What a collection may take, and how far it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Also what named images have the same content as, and images without a name.
    pub all: bool,
    /// Only what was not used for this long.
    pub unused_for: Option<Duration>,
    /// Only these kinds; all when empty.
    pub kinds: BTreeSet<EntryKind>,
    /// Only what has an id that begins so; all when empty.
    pub ids: Vec<String>,
    /// How far it goes.
    pub limits: Limits,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// What went, least valuable first.
    pub entries: Vec<Entry>,
    /// The bytes on the disk that went with it.
    pub reclaimed_bytes: u64,
}

/// The sums of one kind of thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many there are.
    pub count: usize,
    /// How many of them are used: by a name, an image or a running process.
    pub active: usize,
    /// What they take on the disk.
    pub size_bytes: u64,
    /// What would go if all went that is not used.
    pub reclaimable_bytes: u64,
}

/// What the store takes on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images, with and without a name.
    pub images: Sum,
    /// Results of steps, and what is left over.
    pub steps: Sum,
    /// Cache mounts.
    pub mounts: Sum,
    /// What is remembered of contexts.
    pub contexts: Sum,
    /// Downloads, commits and repositories.
    pub remotes: Sum,
    /// The last damaged database. Nothing uses it, and no collection takes it: it is for people.
    pub set_aside: Sum,
    /// All entries, by size, largest first.
    pub entries: Vec<Entry>,
}

impl Store {
    /// What the store holds, and what it takes on the disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn usage(&self) -> Result<Usage, CacheError> {
        let inventory = Inventory::take(self)?;
        let mut entries: Vec<Entry> =
            inventory.items.iter().map(|item| item.entry.clone()).collect();
        let sum = |kinds: &[EntryKind]| Sum::of(&entries, kinds);
        let usage = Usage {
            images: inventory.images_sum(),
            steps: inventory.steps_sum(),
            remotes: sum(&[EntryKind::Remote]),
            mounts: sum(&[EntryKind::CacheMount]),
            contexts: sum(&[EntryKind::Context]),
            set_aside: self.set_aside_sum(),
            entries: Vec::new(),
        };
        entries.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.id.cmp(&b.id)));
        Ok(Usage { entries, ..usage })
    }

    /// What [`Self::collect`] would take now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn would_collect(&self, wanted: &Wanted) -> Result<Collected, CacheError> {
        let inventory = Inventory::take(self)?;
        let chosen = choose::choose(&inventory, wanted, super::now_ms(), free_bytes(self)?);
        let entries = chosen.items.iter().map(|&at| inventory.items[at].entry.clone()).collect();
        Ok(Collected { entries, reclaimed_bytes: chosen.freed_bytes })
    }

    /// Takes away what is worth least, until the limits are kept or nothing is left that may go.
    ///
    /// # Errors
    /// When the store cannot be read or written. What went until then is gone.
    pub fn collect(&self, wanted: &Wanted) -> Result<Collected, CacheError> {
        let inventory = Inventory::take(self)?;
        let chosen = choose::choose(&inventory, wanted, super::now_ms(), free_bytes(self)?);
        if chosen.items.is_empty() {
            return Ok(Collected::default());
        }
        sweep::sweep(self, inventory, &chosen.items, wanted.all)
    }
}

impl Store {
    /// As [`Self::collect`], unless another process is just doing so by this method.
    ///
    /// # Errors
    /// As for [`Self::collect`].
    pub fn collect_alone(&self, wanted: &Wanted) -> Result<Collected, CacheError> {
        let path = self.locks_dir().join("collection");
        match FileLock::attempt(&path, Sharing::Exclusive)? {
            Some(_alone) => self.collect(wanted),
            None => Ok(Collected::default()),
        }
    }
}

impl Sum {
    fn of(entries: &[Entry], kinds: &[EntryKind]) -> Self {
        let mut sum = Self::default();
        for entry in entries.iter().filter(|entry| kinds.contains(&entry.kind)) {
            sum.count += 1;
            sum.size_bytes += entry.size_bytes;
            if entry.in_use || entry.shared {
                sum.active += 1;
            } else {
                sum.reclaimable_bytes += entry.size_bytes;
            }
        }
        sum
    }
}

/// The free bytes of the store's filesystem, for whoever is not root.
fn free_bytes(store: &Store) -> Result<u64, CacheError> {
    let root = store.root();
    let found = rustix::fs::statvfs(root).map_err(CacheError::io("look at the disk of", root))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests;
