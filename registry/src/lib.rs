//! The distribution protocol: manifests and blobs from registries, verified, and to them. Beside it plain
//! downloads, over the same transport.
//!
//! The face of the crate is synchronous; what is async stays behind it. Everything that a registry says
//! is hostile until its digest matches: bodies are limited, credentials go to the host that they are for
//! and to no other, and nothing is unpacked here.

mod auth;
mod challenge;
mod client;
mod config;
mod credentials;
mod download;
mod endpoint;
mod error;
#[cfg(feature = "fake")]
mod fake;
mod fetch;
mod post;
mod push;
mod transport;

pub use challenge::{Challenge, parse_challenges};
pub use client::{Client, Resolved};
pub use config::{HostConfig, RegistryConfig};
pub use credentials::{Credential, Credentials};
pub use download::{DownloadRequest, Downloaded, Validators};
pub use error::{Attempt, RegistryError};
#[cfg(feature = "fake")]
pub use fake::{FakeRegistry, Fault, FaultKind, Login, SeenRequest};
pub use post::PostRequest;
pub use push::{Pushed, Upload};
