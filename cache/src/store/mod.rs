//! The store on disk.
//!
//! One directory, which only its owner may enter (layers hold set-id programs of root):
//!
//! | part | what |
//! |---|---|
//! | `kiln.db` | records, images, memos; see [`schema`] |
//! | `git/<name>/` | bare repositories; see [`remotes`] |
//! | `oci/` | an OCI image layout: `oci-layout`, `index.json`, `blobs/sha256/` |
//! | `layers/<digest>/` | layers by content |
//! | `mounts/<name>/` | cache mounts; see [`mounts`] |
//! | `staging/<lease>/` | what a process is making, and `uses`: what it uses; see [`lease`], [`claims`] |
//! | `builds/<id>/` | what is kept of each build; see [`builds`] |
//! | `contexts/` | what is remembered of build contexts: of their files, and of their commits |
//! | `locks/` | files that are locked, and hold nothing |
//! | `ballast` | space for a collection on a full disk; see [`ballast`] |
//! | `rebuild/` | there while the database is known to be damaged; see [`damage`], [`rebuild`] |
//! | `set-aside/` | the last damaged database, for people |
//! | `seal` | a key for digests that must not be guessed; see [`sealing`] |
//!
//! Invariants: a file or directory outside `staging/`, `mounts/`, `git/` and `builds/` appears under its name
//! whole, by rename; a row is written after what it points to; no row of another boot is believed unless
//! it was marked durable ([`durable`]); rows from which results are taken prove themselves ([`proof`]).
//! Any number of processes and threads may use one store at once, on one machine and a local filesystem. Absent: when anything runs, and what any of it means.

mod accounts;
mod ballast;
mod blobs;
mod builds;
pub mod check;
mod claims;
mod damage;
mod db;
mod durable;
pub mod gc;
mod images;
mod lease;
mod lock;
mod memo;
mod mounts;
mod proof;
mod rebuild;
mod records;
mod recover;
mod remotes;
mod salvage;
mod schema;
mod sealing;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

pub use accounts::{AccountRow, Gone, Missed, Trace, made_now_ms};
pub use blobs::{BlobWriter, StoredBlob};
pub use builds::{
    BuildFile, BuildLimits, BuildRow, BuildState, BuildStatus, ListedBuild, is_build_id,
};
pub use images::ImageRow;
pub use mounts::{CacheMountGuard, CacheMountSpec};
pub use rebuild::Rebuilt;
pub use records::{ActionLock, DiskStore, MemStore};
pub use remotes::{RemoteRow, RepositoryGuard};
pub use sealing::Seal;

pub(crate) use blobs::is_blob_digest;
pub(crate) use claims::{Claims, Thing};

use crate::CacheError;
use crate::layer::LayerStore;
use db::Db;
use lease::Lease;

/// A database that is damaged again as soon as it was made anew is on a disk that does not work.
const REBUILDS_MAX: usize = 3;

/// A store, opened. Share one per process by reference; every method may be called from any thread.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    db: Db,
    lease: Lease,
    claims: Arc<Claims>,
    /// Deletes what dead processes left; joined when the store is closed.
    sweeper: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the store under `root`, made if absent. What dead processes were making is deleted, in
    /// the background; after a restart of the machine, what may not have reached the disk is dropped.
    ///
    /// # Errors
    /// When a part cannot be made or read, or a later Kiln wrote it.
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        let root = std::path::absolute(root).map_err(CacheError::io("find the path of", root))?;
        let at = |part: &str| root.join(part);
        for part in ["", "layers", "mounts", "staging", "builds", "locks", "oci"] {
            create_directory(&at(part))?;
        }
        let lease = Lease::take(&at("staging"))?;
        let db = schema::open(&root, &lease)?;
        let claims = Arc::new(Claims::open(&at("locks/gc"), lease.dir())?);
        let mut store = Self { root, db, lease, claims, sweeper: None };
        store.ensure_layout()?;
        store.take_ballast();
        let mut rubbish = lease::dead(&store.root.join("staging"))?;
        store.settle(&mut rubbish)?;
        store.sweeper = lease::delete_in_background(rubbish);
        Ok(store)
    }

    /// As [`Self::open`], after making a damaged database anew from what can be read of it and what the store's
    /// files say. The second answer says what was done, and is to be told to people: things may be lost.
    ///
    /// # Errors
    /// As for [`Self::open`]; [`CacheError::DamagedStoreInUse`] as long as others have the database open.
    pub fn open_or_rebuild(root: &Path) -> Result<(Self, Option<Rebuilt>), CacheError> {
        let mut rebuilt = None;
        for _ in 0..REBUILDS_MAX {
            match Self::open(root) {
                // Another process may make it anew first; what comes of that is looked at as well.
                Err(error) if error.is_damaged_store() => {
                    rebuilt = rebuild::rebuild(root)?.or(rebuilt)
                }
                opened => return Ok((opened?, rebuilt)),
            }
        }
        Ok((Self::open(root)?, rebuilt))
    }

    /// Brings what the last boot or a killed process left behind into a state that can be used.
    fn settle(&self, rubbish: &mut Vec<lease::Rubbish>) -> Result<(), CacheError> {
        let boot = durable::boot_id()?;
        // Looked at first: another process may write both in between, the state before the index.
        let written = images::generation_of(&self.root.join("oci/index.json"));
        let (last, stale, generation): (String, bool, i64) =
            self.db.read("read the store's state", |connection| {
                connection
                    .prepare_cached("SELECT boot, index_stale, generation FROM state")?
                    .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            })?;
        if written > generation {
            let found = "its latest changes are missing: `oci/index.json` is newer".to_owned();
            damage::note(&self.root, &found);
            return Err(CacheError::DamagedStore { path: self.db.path().to_owned(), found });
        }
        if last != boot {
            self.recover(&boot, rubbish)?;
        } else if stale {
            self.refresh_index()?;
        }
        Ok(())
    }

    /// The store's own directory, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where layers are, each in a directory named by its digest.
    #[must_use]
    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// This process's own directory for what is being made, on the filesystem of the rest. It vanishes
    /// with the store's handle, or is swept when the process was killed.
    #[must_use]
    pub fn staging_dir(&self) -> &Path {
        self.lease.dir()
    }

    /// Where cache mounts are.
    #[must_use]
    pub fn mounts_dir(&self) -> PathBuf {
        self.root.join("mounts")
    }

    /// Where what is kept of builds is.
    #[must_use]
    pub fn builds_dir(&self) -> PathBuf {
        self.root.join("builds")
    }

    /// Where what is remembered of build contexts is, a file or two for each; made when there is something.
    #[must_use]
    pub fn contexts_dir(&self) -> PathBuf {
        self.root.join("contexts")
    }

    /// The OCI image layout.
    #[must_use]
    pub fn oci_dir(&self) -> PathBuf {
        self.root.join("oci")
    }

    /// The results of actions.
    #[must_use]
    pub fn records(&self) -> DiskStore {
        DiskStore::new(self.db.clone(), &self.locks_dir())
    }

    /// The layers, as this process uses them: what it finds there stays until it lets go of the store.
    #[must_use]
    pub fn layers(&self) -> LayerStore {
        LayerStore::claiming(self.layers_dir(), self.staging_dir().to_owned(), &self.claims)
    }

    /// Lets go of the store: deletes what this process was making, and waits for the sweep of what
    /// dead ones left.
    ///
    /// # Errors
    /// When the process's own staging directory cannot be deleted.
    pub fn close(mut self) -> Result<(), CacheError> {
        self.join_sweeper();
        self.lease.release()
    }

    fn join_sweeper(&mut self) {
        if self.sweeper.take().is_some_and(|sweeper| sweeper.join().is_err()) {
            tracing::warn!("the sweep of the staging directory failed");
        }
    }

    fn locks_dir(&self) -> PathBuf {
        self.root.join("locks")
    }

    fn gate(&self) -> PathBuf {
        self.root.join("locks/gc")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.join_sweeper();
    }
}

fn create_directory(path: &Path) -> Result<(), CacheError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(CacheError::io("create the directory", path))
}

/// The time, in milliseconds since 1970.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// A number of bytes or milliseconds as SQLite keeps it.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number of bytes or milliseconds back from SQLite.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests;
