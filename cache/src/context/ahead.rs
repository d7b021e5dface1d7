//! A context's tree, selected from for a copy that is nearly sure to be made.

use std::fmt;
use std::fs::File;

use super::stat_cache::KnownFile;
use super::{LocalTree, StatKey};
use crate::layer::{AHEAD_MIN_BYTES, LayerStore};
use crate::select::{Found, Kind, Listed, Peek, SelectError, SourceTree};

/// The same tree; large files that have to be read for it are copied in the same go.
pub struct AheadTree<'a> {
    tree: &'a LocalTree,
    layers: &'a LayerStore,
    is_new: &'a (dyn Fn(u64) -> bool + Sync),
}

impl fmt::Debug for AheadTree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AheadTree").field(self.tree).finish()
    }
}

impl LocalTree {
    /// The tree for a copy into one of `layers` that is made unless a result of it is known. `is_new` is asked
    /// whether none of those can hold a file of so many bytes, by several threads.
    #[must_use]
    pub fn copying_ahead<'a>(
        &'a self,
        layers: &'a LayerStore,
        is_new: &'a (dyn Fn(u64) -> bool + Sync),
    ) -> AheadTree<'a> {
        AheadTree { tree: self, layers, is_new }
    }
}

impl AheadTree<'_> {
    /// Where a file that has to be read is copied to, if it is.
    pub(super) fn copy_to(
        &self,
        key: &StatKey,
        known: Option<&KnownFile<'_>>,
    ) -> Option<&LayerStore> {
        let size_bytes = key.size_bytes;
        let copies = size_bytes >= AHEAD_MIN_BYTES
            // What had another length has another content.
            && (known.is_some_and(|file| !file.has_length(size_bytes)) || (self.is_new)(size_bytes));
        copies.then_some(self.layers)
    }
}

impl SourceTree for AheadTree<'_> {
    fn peek(&self, path: &[u8]) -> Result<Option<Peek>, SelectError> {
        self.tree.peek(path)
    }

    fn entry(&self, path: &[u8]) -> Result<Option<Found>, SelectError> {
        self.tree.entry_of(path, Some(self))
    }

    fn list(
        &self,
        dir: &[u8],
        want: &mut dyn FnMut(&[u8], Kind) -> bool,
    ) -> Result<Listed, SelectError> {
        self.tree.list_of(dir, want, Some(self))
    }

    fn open(&self, path: &[u8]) -> Result<File, SelectError> {
        self.tree.open(path)
    }

    fn is_mutable(&self) -> bool {
        self.tree.is_mutable()
    }
}
