//! A directory in which one layer is made.
//!
//! `layer/fs/` becomes the layer's tree and `layer/` the layer itself; `work/`, and `scratch/` if anybody
//! makes it, are for an overlay mount and for whoever mounts it, and never become part of anything.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::remove::remove_tree;
use super::sweeper::Sweeper;
use crate::CacheError;

/// A staging directory. It is taken away with all that is left in it: at once by [`Staging::close`], and
/// soon after it is dropped.
#[derive(Debug)]
pub struct Staging {
    /// Empty once it is taken away.
    path: PathBuf,
    sweeper: Arc<Sweeper>,
}

impl Staging {
    /// Makes the directories; nothing when `path` exists.
    pub(super) fn create(
        path: PathBuf,
        sweeper: &Arc<Sweeper>,
    ) -> Result<Option<Self>, CacheError> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        match private.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made.map_err(CacheError::io("create the staging directory", &path))?,
        }
        let staging = Self { path, sweeper: Arc::clone(sweeper) };
        for dir in [staging.layer(), staging.upper(), staging.work()] {
            private.create(&dir).map_err(CacheError::io("create the directory", &dir))?;
        }
        let upper = staging.upper();
        // Not left to `create`, which heeds the umask.
        fs::set_permissions(&upper, Permissions::from_mode(0o755))
            .map_err(CacheError::io("set the mode of", &upper))?;
        Ok(Some(staging))
    }

    /// The layer's tree: an overlay's upper directory.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.path.join("layer/fs")
    }

    /// An overlay's work directory.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// Where whatever a sandbox needs besides may stand. Not made: most sandboxes need nothing.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// Takes the directory away, whatever is in it.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn close(mut self) -> Result<(), CacheError> {
        remove_tree(&std::mem::take(&mut self.path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn layer(&self) -> PathBuf {
        self.path.join("layer")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            self.sweeper.remove(std::mem::take(&mut self.path));
        }
    }
}
