//! OCI image documents and layer archives, over bytes and streams.
//!
//! Everything here is a value or a stream: no sockets, no mounts, no host paths, no clocks. What comes
//! from outside (a manifest, a config, an archive) is parsed under limits and never trusted.

mod config;
mod digest;
mod error;
mod manifest;
mod platform;
mod reference;

pub mod docker_archive;
pub mod layer;
pub mod layout;
pub mod media_type;

pub use config::{
    DockerFields, Healthcheck, HistoryEntry, ImageConfig, RootFs, RunConfig, parse_config,
};
pub use digest::{DigestWriter, OciDigest};
pub use error::ImageError;
pub use manifest::{
    Descriptor, Document, Index, MAX_DOCUMENT_BYTES, Manifest, parse_document, parse_index,
    parse_manifest,
};
pub use platform::Platform;
pub use reference::ImageRef;
