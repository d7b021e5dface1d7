//! What an action gave: layers, and where they are packed.
//!
//! Values only. [`RecordStore`] is the seam between whoever schedules actions and where their results
//! are kept; [`MemStore`](crate::MemStore) and [`DiskStore`](crate::DiskStore) stand behind it.

use std::sync::LazyLock;

use kiln_ir::{ContentHash, ContentHasher, Digest};
use serde::{Deserialize, Serialize};

use crate::{ActionLock, CacheError, CacheKey};

/// A layer packed as a blob of an OCI image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// `sha256:…` of the blob as it is stored.
    pub digest: String,
    /// The blob's size as it is stored.
    pub size_bytes: u64,
    /// The blob's OCI media type.
    pub media_type: String,
    /// `sha256:…` of the archive inside.
    pub diff_id: String,
}

/// A layer by its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerRef {
    /// The content's digest.
    pub digest: Digest,
    /// A blob it came from or was packed as. No part of the layer's identity.
    pub blob: Option<BlobRef>,
}

impl LayerRef {
    /// A layer that no blob is known of.
    #[must_use]
    pub const fn new(digest: Digest) -> Self {
        Self { digest, blob: None }
    }
}

/// A root filesystem: layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    layers: Vec<LayerRef>,
    /// Of all layers.
    digest: Digest,
}

/// The identity of the empty root filesystem, where every chain begins.
static NO_LAYERS: LazyLock<Digest> =
    LazyLock::new(|| ContentHasher::new("kiln snapshot 1").finish());

impl Default for Snapshot {
    fn default() -> Self {
        Self { layers: Vec::new(), digest: *NO_LAYERS }
    }
}

impl Snapshot {
    /// The filesystem of these layers, lowest first.
    #[must_use]
    pub fn of(layers: impl IntoIterator<Item = LayerRef>) -> Self {
        Self::default().with(layers)
    }

    /// The same with more layers on top, lowest first.
    #[must_use]
    pub fn with(&self, layers: impl IntoIterator<Item = LayerRef>) -> Self {
        let below = self.layers.len();
        let layers: Vec<LayerRef> = self.layers.iter().cloned().chain(layers).collect();
        let digest = (layers[below..].iter())
            .fold(self.digest, |below, layer| (below, layer.digest).digest("kiln snapshot 1"));
        Self { layers, digest }
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[LayerRef] {
        &self.layers
    }

    /// The identity of the snapshot's content: a chain over the digests of its layers.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// The result of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// For a command or a change of files the one layer added on top of input 0; for an image all its
    /// layers, lowest first.
    pub layers: Vec<LayerRef>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// How long it took.
    pub duration_ms: u64,
    /// The content of the layers, in bytes.
    pub size_bytes: u64,
    /// What people call the action: `RUN make`.
    pub name: String,
}

/// Where the results of actions are kept. Every implementation passes one contract suite.
pub trait RecordStore: Send + Sync {
    /// The result of an action, if one is known.
    ///
    /// # Errors
    /// When the store cannot be read. A row that makes no sense is no error: it is not found.
    fn get(&self, key: &CacheKey) -> Result<Option<Record>, CacheError>;

    /// As [`Self::get`], for many lookups one after another, by somebody who must not wait. What it does not find may
    /// be there all the same: it may look at the records as they were when this was first called since
    /// [`Self::end_peeking`], and finds nothing rather than wait for another thread.
    ///
    /// # Errors
    /// As for [`Self::get`].
    fn peek(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        let _ = key;
        Ok(None)
    }

    /// Lets go of what [`Self::peek`] looks at. To be called before whoever peeks waits for anything.
    fn end_peeking(&self) {}

    /// Remembers a result, in place of an earlier one.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn put(&self, key: &CacheKey, record: &Record) -> Result<(), CacheError>;

    /// Waits until nobody else, thread or process, holds the action, then holds it. Whoever waited
    /// looks the record up again afterwards: it is likely to be there.
    ///
    /// `cancelled` is asked every few milliseconds while waiting. A thread that asks for an action
    /// that it holds waits for itself.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`], or a failure of the lock's file.
    fn lock(&self, key: &CacheKey, cancelled: &dyn Fn() -> bool) -> Result<ActionLock, CacheError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_what_its_layers_are_however_they_came_together() {
        let layer = |text: &str| LayerRef::new(Digest::of(text.as_bytes()));
        let whole = Snapshot::of([layer("a"), layer("b"), layer("c")]);
        let grown = Snapshot::of([layer("a")]).with([]).with([layer("b"), layer("c")]);
        assert_eq!(whole, grown);
        assert_eq!(whole.layers(), [layer("a"), layer("b"), layer("c")]);
        let others = [Snapshot::default(), Snapshot::of([layer("a"), layer("c"), layer("b")])];
        assert!(others.iter().all(|other| other.digest() != whole.digest()));
    }
}
