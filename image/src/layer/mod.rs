//! Layer archives: packing entries to a blob, and reading entries from one.
//!
//! [`pack`] and [`entries`] are inverse to each other over [`PackEntry`]. A layer archive is a tar file
//! whose `.wh.` names stand for removals; nobody outside this module sees those names.

mod compress;
mod decompress;
mod entry;
mod error;
mod extension;
mod header;
mod input;
mod limits;
mod number;
mod pack;
mod pax;
mod read;
mod sparse;

pub use compress::Compression;
pub use decompress::{ArchiveFormat, SNIFF_BYTES, sniff_archive};
pub use entry::{EntryKind, EntryMeta, PackEntry};
pub use error::{LayerError, PackError};
pub use limits::Limits;
pub use pack::{PackOptions, PackedLayer, pack};
pub use read::{ArchiveSummary, Entries, Purpose, entries};
