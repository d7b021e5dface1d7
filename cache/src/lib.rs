//! Kiln's cache: keys, content-addressed layers and records.
//!
//! An action's [`CacheKey`] is derived from what it does and the digests of exactly what it reads; a
//! [`Record`] holds what it gave. Nothing here schedules anything or starts a process.

pub mod account;
pub mod context;
pub mod copy;
mod error;
pub mod key;
pub mod layer;
pub mod pack;
mod portable;
mod record;
pub mod select;
mod stat;
mod store;
pub mod tree;
pub mod view;

pub use error::CacheError;
pub use key::CacheKey;
pub use portable::{
    MAX_PORTABLE_BYTES, Portable, PortableLayer, PortableMount, PortablePack, PortableRecord,
    PortableSelection,
};
pub use record::{BlobRef, LayerRef, Record, RecordStore, Snapshot};
pub use store::{
    AccountRow, ActionLock, BlobWriter, BuildFile, BuildLimits, BuildRow, BuildState, BuildStatus,
    CacheMountGuard, CacheMountSpec, DiskStore, Gone, ImageRow, ListedBuild, MemStore, Missed,
    Rebuilt, RemoteRow, RepositoryGuard, Seal, Store, StoredBlob, Trace, check, gc, is_build_id,
    made_now_ms,
};
