//! A directory in which one layer is made.
//!
//! For an overlay mount, `layer/fs/` becomes the layer's tree and `layer/` the layer itself; `work/`, and
//! `scratch/` if anybody makes it, are for the mount and for whoever mounts it, and never become part of
//! anything. A layer that is written entry by entry needs none of that: there the directory itself becomes
//! the layer and `fs/` its tree, so that nothing is made only to be removed.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::remove::remove_tree;
use super::sweeper::Sweeper;
use crate::CacheError;

/// A staging directory. It is taken away with all that is left in it: at once by [`Staging::close`], and
/// some time after it is dropped.
#[derive(Debug)]
pub struct Staging {
    /// Empty once it is taken away.
    path: PathBuf,
    /// What becomes the layer: a directory in it, or itself.
    layer: PathBuf,
    /// Whether next to nothing is left in it.
    little: bool,
    sweeper: Arc<Sweeper>,
}

/// What a layer is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Making {
    /// A mount that has the layer's tree as its upper directory.
    Overlay,
    /// A writer, entry by entry.
    Writer,
}

impl Staging {
    /// Makes the directories; nothing when `path` exists.
    pub(super) fn create(
        path: PathBuf,
        making: Making,
        sweeper: &Arc<Sweeper>,
    ) -> Result<Option<Self>, CacheError> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        match private.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made.map_err(CacheError::io("create the staging directory", &path))?,
        }
        let layer = match making {
            Making::Overlay => path.join("layer"),
            Making::Writer => path.clone(),
        };
        let staging = Self { path, layer, little: false, sweeper: Arc::clone(sweeper) };
        let dirs = match making {
            Making::Overlay => vec![staging.layer.clone(), staging.upper(), staging.work()],
            Making::Writer => vec![staging.upper()],
        };
        for dir in dirs {
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
        self.layer.join("fs")
    }

    /// An overlay's work directory; there is none for a writer.
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

    /// What becomes the layer when it is renamed.
    pub(super) fn layer(&self) -> &Path {
        &self.layer
    }

    /// Tells that the layer has its name: if it was the whole directory, there is nothing to take away.
    pub(super) fn renamed(&mut self) {
        if self.layer == self.path {
            self.path = PathBuf::new();
        }
        self.little = true;
    }

    /// Tells whether next to nothing is left in it, so that its removal may wait for a good moment.
    pub(super) fn holds_little(&mut self, little: bool) {
        self.little = little;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        if path.as_os_str().is_empty() {
            return;
        }
        if self.little {
            self.sweeper.remove_little(path);
        } else {
            self.sweeper.remove(path);
        }
    }
}
