//! Layers on disk: immutable directories named by the digest of what is in them.
//!
//! `layers/<digest>/fs/` is the tree, ready to be the lower directory of an overlay mounted with
//! `userxattr`: a whiteout is a character device 0:0, an opaque directory has `user.overlay.opaque=y`.
//! `layers/<digest>/manifest` is its [`Manifest`]. What is being made stands in the staging directory and
//! is renamed when whole, so whatever has a digest for a name is whole, or was so when written: nothing is
//! flushed here.
//!
//! The manifest is the truth. The directory lacks what the machine refuses to make: device nodes, foreign
//! owners and some attributes, when Kiln is not root. The root directory has no entry: it is always root's,
//! with mode 0755. No function here follows a symbolic link inside a layer.

mod ahead;
mod commit;
mod content;
mod digest;
mod disk;
mod remove;
mod scan;
mod staging;
mod sweeper;
mod verify;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;
use std::{fs, io};

use kiln_ir::Digest;
use rustix::fd::OwnedFd;
use rustix::fs::{Access, AtFlags, accessat};

pub(crate) use ahead::AHEAD_MIN_BYTES;
pub use ahead::AheadCopy;
pub use commit::manifest_of;
pub(crate) use content::KERNEL_COPY_MIN_BYTES;
pub use content::{Content, Known};
pub(crate) use digest::{digest_file, digest_file_showing};
use disk::Creator;
pub(crate) use disk::open_below;
pub(crate) use remove::remove_tree;
use staging::Making;
pub use staging::Staging;
use sweeper::Sweeper;
pub use writer::{LayerWriter, NewFile};

use crate::CacheError;
use crate::store::Claims;
use crate::tree::Manifest;

/// The layers of a store. Clones share one cache of manifests.
#[derive(Debug, Clone)]
pub struct LayerStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    layers: PathBuf,
    /// The same directory; nothing if it could not be opened.
    opened: OnceLock<Option<OwnedFd>>,
    staging: PathBuf,
    manifests: Mutex<HashMap<Digest, Arc<Manifest>>>,
    next_staging: AtomicU64,
    /// One for a mount, made before it is asked for.
    ahead: Mutex<Option<Staging>>,
    sweeper: Arc<Sweeper>,
    creator: OnceLock<Creator>,
    /// How many copies made ahead are held.
    held: Arc<AtomicUsize>,
    /// Where what is used is written down; nothing where nobody collects.
    claims: Option<Arc<Claims>>,
}

/// The tree of one layer, opened once for all that is read in it.
#[derive(Debug)]
pub struct LayerFiles(OwnedFd);

impl LayerFiles {
    /// Opens the file at `path`; no link is followed.
    ///
    /// # Errors
    /// When there is none, or it may not be read.
    pub fn open(&self, path: &[u8]) -> Result<File, CacheError> {
        disk::open_below(&self.0, path).map(File::from)
    }
}

impl LayerStore {
    /// Uses two existing directories of one filesystem: one for layers, one for what is being made.
    /// Nobody collects them.
    #[must_use]
    pub fn new(layers: PathBuf, staging: PathBuf) -> Self {
        Self::with(layers, staging, None)
    }

    /// As [`Self::new`], for directories that are collected.
    pub(crate) fn claiming(layers: PathBuf, staging: PathBuf, claims: &Arc<Claims>) -> Self {
        Self::with(layers, staging, Some(Arc::clone(claims)))
    }

    fn with(layers: PathBuf, staging: PathBuf, claims: Option<Arc<Claims>>) -> Self {
        Self(Arc::new(Inner {
            layers,
            opened: OnceLock::new(),
            staging,
            manifests: Mutex::default(),
            next_staging: AtomicU64::new(0),
            ahead: Mutex::default(),
            sweeper: Arc::default(),
            creator: OnceLock::new(),
            held: Arc::default(),
            claims,
        }))
    }

    /// Where the tree of a layer is, whether it is there or not.
    #[must_use]
    pub fn path(&self, layer: &Digest) -> PathBuf {
        self.dir(layer).join("fs")
    }

    /// Whether the layer is there. If it is, no collection takes it as long as this process has the
    /// store open.
    ///
    /// # Errors
    /// When the use of the layer cannot be written down.
    pub fn contains(&self, layer: &Digest) -> Result<bool, CacheError> {
        let look = || self.has_manifest(layer);
        match &self.0.claims {
            Some(claims) => claims.claim(layer.as_bytes(), look),
            None => Ok(look()),
        }
    }

    /// The layer's manifest, from memory if it was read or written before.
    ///
    /// # Errors
    /// [`CacheError::MissingLayer`], [`CacheError::DamagedLayer`], or the failure of reading it.
    pub fn manifest(&self, layer: &Digest) -> Result<Arc<Manifest>, CacheError> {
        if let Some(manifest) = self.remembered(layer) {
            return Ok(manifest);
        }
        let path = self.dir(layer).join("manifest");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CacheError::MissingLayer { digest: *layer });
            }
            Err(error) => return Err(CacheError::io("read the manifest", &path)(error)),
        };
        let manifest = Manifest::decode(&bytes).map_err(|error| CacheError::DamagedLayer {
            digest: *layer,
            source: Box::new(error),
        })?;
        let manifest = Arc::new(manifest);
        self.remember(*layer, &manifest);
        Ok(manifest)
    }

    /// Takes a layer's manifest from elsewhere, so that the layer can be looked into before it is here.
    ///
    /// # Errors
    /// When the bytes are not the manifest of this layer.
    pub fn adopt_manifest(
        &self,
        layer: &Digest,
        bytes: &[u8],
    ) -> Result<Arc<Manifest>, CacheError> {
        let manifest = Manifest::decode(bytes)?;
        if manifest.digest() != *layer {
            return Err(CacheError::BadManifest { what: "it is that of another layer" });
        }
        let manifest = Arc::new(manifest);
        self.remember(*layer, &manifest);
        Ok(manifest)
    }

    /// Says when a layer was made, which is when its manifest was written.
    ///
    /// # Errors
    /// When the layer is not here, or the time cannot be set.
    pub fn set_made_at(&self, layer: &Digest, time: SystemTime) -> Result<(), CacheError> {
        let path = self.dir(layer).join("manifest");
        let set = fs::File::open(&path).and_then(|file| file.set_modified(time));
        set.map_err(CacheError::io("set the time of", &path))
    }

    /// Makes a fresh directory for a layer to come.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn stage(&self) -> Result<Staging, CacheError> {
        let ahead = self.ahead().take();
        let mut staging = ahead.map_or_else(|| self.stage_for(Making::Overlay), Ok)?;
        staging.holds_little(false);
        Ok(staging)
    }

    /// Makes the directory that [`LayerStore::stage`] will give next, and lets what is done with be removed. For a moment
    /// in which the caller has nothing better to do.
    pub fn stage_ahead(&self) {
        // Should it fail, whoever wants one will hear of it.
        if self.ahead().is_none()
            && let Ok(mut staging) = self.stage_for(Making::Overlay)
        {
            staging.holds_little(true);
            drop(self.ahead().replace(staging));
        }
        // Not before: the two would wait for each other, being in one directory.
        self.0.sweeper.go();
    }

    fn ahead(&self) -> MutexGuard<'_, Option<Staging>> {
        self.0.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage_for(&self, making: Making) -> Result<Staging, CacheError> {
        loop {
            let number = self.0.next_staging.fetch_add(1, Ordering::Relaxed);
            let path = self.0.staging.join(format!("{}-{number}", std::process::id()));
            if let Some(staging) = Staging::create(&path, making, &self.0.sweeper)? {
                return Ok(staging);
            }
        }
    }

    /// What files that this process makes here are like before anything is set.
    fn creator(&self) -> Result<Creator, CacheError> {
        if let Some(creator) = self.0.creator.get() {
            return Ok(*creator);
        }
        let staging = self.stage_for(Making::Writer)?;
        let probe = staging.upper().join("probe");
        let creator = Creator::probe(&probe).map_err(CacheError::io("create", &probe))?;
        Ok(*self.0.creator.get_or_init(|| creator))
    }

    /// Makes a layer of what an overlay mount over `lowers`, lowest first, left in the staging's upper
    /// directory, and has the staging taken away. Of two layers of the same content the earlier is kept.
    ///
    /// Whatever was mounted must be unmounted. In the layer there are neither sockets, nor overlayfs's own
    /// attributes, nor opaque directories (they become the whiteouts of what is below them), nor
    /// whiteouts that hide nothing.
    ///
    /// # Errors
    /// When a file cannot be read, a lower layer is not in the store, or the disk is full.
    pub fn commit_upper(&self, staging: Staging, lowers: &[Digest]) -> Result<Digest, CacheError> {
        commit::commit_upper(self, staging, lowers)
    }

    /// Starts a layer that is written entry by entry and is to lie on `lowers`, lowest first: missing
    /// parent directories take after theirs.
    ///
    /// # Errors
    /// When a lower layer is not in the store, or a directory cannot be made.
    pub fn writer(&self, lowers: &[Digest]) -> Result<LayerWriter, CacheError> {
        LayerWriter::new(self, lowers)
    }

    /// Waits until the staging directories that are done with are removed, which otherwise happens
    /// beside the build, and at the latest when the last clone of the store and of its stagings goes.
    pub fn settle(&self) {
        drop(self.ahead().take());
        self.0.sweeper.settle();
    }

    /// Opens a layer's tree, to read its files.
    ///
    /// # Errors
    /// When the layer is not in the store.
    pub fn files(&self, layer: &Digest) -> Result<LayerFiles, CacheError> {
        disk::open_dir(&self.path(layer)).map(LayerFiles)
    }

    /// Looks from the directory of all layers, which is opened once: a build may look for thousands.
    fn has_manifest(&self, layer: &Digest) -> bool {
        let Inner { layers, opened, .. } = &*self.0;
        match opened.get_or_init(|| disk::open_dir(layers).ok()) {
            Some(dir) => {
                let path = format!("{layer}/manifest");
                accessat(dir, path, Access::EXISTS, AtFlags::empty()).is_ok()
            }
            None => self.dir(layer).join("manifest").exists(),
        }
    }

    fn dir(&self, layer: &Digest) -> PathBuf {
        self.0.layers.join(layer.to_string())
    }

    fn remembered(&self, layer: &Digest) -> Option<Arc<Manifest>> {
        let manifests = self.0.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.get(layer).cloned()
    }

    fn remember(&self, layer: Digest, manifest: &Arc<Manifest>) {
        let mut manifests = self.0.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.insert(layer, Arc::clone(manifest));
    }

    /// Gives a whole layer its name. When the name is taken the earlier layer is kept, unless it is
    /// damaged, as after a loss of power.
    fn publish(&self, mut staging: Staging, manifest: Manifest) -> Result<Digest, CacheError> {
        let digest = manifest.digest();
        // Claimed before it has its name: nobody takes it between the two.
        if self.has_whole(&digest)? {
            return Ok(digest);
        }
        let path = staging.layer().join("manifest");
        fs::write(&path, manifest.encode()).map_err(CacheError::io("write the manifest", &path))?;
        let name = self.dir(&digest);
        let renamed = fs::rename(staging.layer(), &name);
        match renamed {
            Ok(()) => staging.renamed(),
            Err(error) if is_taken(&error) => {
                if !self.has_whole(&digest)? {
                    self.replace_damaged(&mut staging, &digest)?;
                }
            }
            Err(error) => return Err(CacheError::io("name the layer", &name)(error)),
        }
        self.remember(digest, &Arc::new(manifest));
        Ok(digest)
    }

    fn replace_damaged(&self, staging: &mut Staging, digest: &Digest) -> Result<(), CacheError> {
        let (name, aside) = (self.dir(digest), self.stage_for(Making::Writer)?);
        fs::rename(&name, aside.upper())
            .map_err(CacheError::io("move the damaged layer", &name))?;
        fs::rename(staging.layer(), &name).map_err(CacheError::io("name the layer", &name))?;
        staging.renamed();
        Ok(())
    }

    /// Whether the layer is there with a manifest that can be read; its files are not looked at.
    fn has_whole(&self, layer: &Digest) -> Result<bool, CacheError> {
        Ok(self.contains(layer)? && self.manifest(layer).is_ok())
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

#[cfg(test)]
pub(crate) mod tests;
