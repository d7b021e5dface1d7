//! Space that is kept for the time when there is none.
//!
//! Whoever prunes often does so because the disk is full, and the database needs space of its own to note what
//! goes. A file that holds nothing stands for it, and is given up when a collection finds the disk full.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::Store;
use crate::CacheError;

/// What a few batches of a collection add to the database's log.
const BYTES: u64 = 256 << 10;

impl Store {
    /// Puts the ballast in its place, unless it is there. A disk without the space, or a filesystem that sets none
    /// aside, is no error: the store does without.
    pub(super) fn take_ballast(&self) {
        let path = self.ballast();
        if path.exists() {
            return;
        }
        let taken = File::create(&path)
            .and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, BYTES)?));
        if let Err(error) = taken {
            tracing::debug!(%error, "the store goes without ballast");
            // There was no space for it, or there was no file.
            drop(fs::remove_file(&path));
        }
    }

    /// Throws the ballast overboard; says whether there was any.
    pub(super) fn drop_ballast(&self) -> Result<bool, CacheError> {
        drop_from(&self.root)
    }

    fn ballast(&self) -> PathBuf {
        ballast_of(&self.root)
    }
}

/// As [`Store::drop_ballast`], of a store that cannot be opened.
pub(super) fn drop_from(root: &Path) -> Result<bool, CacheError> {
    let path = ballast_of(root);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CacheError::io("delete", path)(error)),
    }
}

fn ballast_of(root: &Path) -> PathBuf {
    root.join("ballast")
}
