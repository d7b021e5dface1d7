//! File trees as values: entries, and the sorted list of them that describes a layer.
//!
//! Nothing here touches a filesystem.

mod codec;
mod entry;
mod manifest;
pub(crate) mod paths;
mod resolve;

pub(crate) use codec::{Input, put_bytes, put_number};
pub use entry::{Entry, Meta, Mtime, Node};
pub use manifest::Manifest;
pub(crate) use manifest::lossy;
pub use resolve::LastLink;
pub(crate) use resolve::resolve;

#[cfg(test)]
mod tests;
