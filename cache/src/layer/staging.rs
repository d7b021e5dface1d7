//! The directories in which one layer is made.
//!
//! One becomes the layer when it gets the layer's name, and its `fs/` the layer's tree. An overlay mount needs others
//! beside it, which never become part of anything: its work directory, which serves one mount after the other,
//! and a scratch directory, if anybody makes it, for whoever mounts it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::remove::remove_tree;
use super::sweeper::Sweeper;
use crate::CacheError;

/// The directories of a layer to come. They are taken away with all that is left in them: at once by
/// [`Staging::close`], and some time after this is dropped.
#[derive(Debug)]
pub struct Staging {
    /// What becomes the layer; empty once it is one, or is taken away.
    layer: PathBuf,
    /// Empty for a writer.
    work: PathBuf,
    scratch: PathBuf,
    /// Whether next to nothing is left in what is not the work directory.
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
        path: &Path,
        making: Making,
        sweeper: &Arc<Sweeper>,
    ) -> Result<Option<Self>, CacheError> {
        match make_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made.map_err(CacheError::io("create the staging directory", path))?,
        }
        let mut staging = Self {
            layer: path.to_owned(),
            work: PathBuf::new(),
            scratch: PathBuf::new(),
            little: false,
            sweeper: Arc::clone(sweeper),
        };
        let upper = staging.upper();
        make_dir(&upper).map_err(CacheError::io("create the directory", &upper))?;
        // Not left to the umask.
        fs::set_permissions(&upper, Permissions::from_mode(0o755))
            .map_err(CacheError::io("set the mode of", &upper))?;
        if making == Making::Overlay {
            staging.scratch = path.with_extension("scratch");
            staging.work = match sweeper.clean_work() {
                Some(work) => work,
                None => {
                    let work = path.with_extension("work");
                    make_dir(&work).map_err(CacheError::io("create the directory", &work))?;
                    work
                }
            };
        }
        Ok(Some(staging))
    }

    /// The layer's tree: an overlay's upper directory.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.layer.join("fs")
    }

    /// An overlay's work directory; an empty path for a writer, which has none.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.work.clone()
    }

    /// Where whatever a sandbox needs besides may stand. Not made: most sandboxes need nothing.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.scratch.clone()
    }

    /// Takes the directories away, whatever is in them.
    ///
    /// # Errors
    /// When something in them cannot be removed.
    pub fn close(mut self) -> Result<(), CacheError> {
        self.dirs().iter().try_for_each(|dir| remove_tree(dir))
    }

    /// What becomes the layer when it is renamed.
    pub(super) fn layer(&self) -> &Path {
        &self.layer
    }

    /// Tells that the layer has its name.
    pub(super) fn renamed(&mut self) {
        self.layer = PathBuf::new();
    }

    /// Tells whether next to nothing is left in it, so that its removal may wait for a good moment.
    pub(super) fn holds_little(&mut self, little: bool) {
        self.little = little;
    }

    /// What there is to take away, which from now on is not this value's any more.
    fn dirs(&mut self) -> Vec<PathBuf> {
        let dirs = [&mut self.layer, &mut self.scratch, &mut self.work].map(std::mem::take);
        dirs.into_iter().filter(|dir| !dir.as_os_str().is_empty()).collect()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let work = std::mem::take(&mut self.work);
        let scratch = std::mem::take(&mut self.scratch);
        if scratch.exists() {
            self.sweeper.remove(scratch);
        }
        for dir in self.dirs() {
            if self.little {
                self.sweeper.remove_little(dir);
            } else {
                self.sweeper.remove(dir);
            }
        }
        if !work.as_os_str().is_empty() {
            self.sweeper.clean(work);
        }
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}
