//! What an image reaches: its blobs, and the archives in them.
//!
//! Documents are read from the layout as plain files: whoever looks must claim nothing. A document that
//! is not there or makes no sense reaches nothing further; what is known of it is kept all the same.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::store::Thing;
use crate::store::blobs::digits;
use crate::store::claims::blob_thing;

/// The largest document that is read.
const DOCUMENT_LIMIT_BYTES: u64 = 4 << 20;
/// Indexes of indexes are followed this far.
const DEPTH_MAX: usize = 4;

/// What an image reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct Reach {
    /// Its blobs, the manifest among them.
    pub(in crate::store) blobs: BTreeSet<Thing>,
    /// The digests of its layers' plain archives, `sha256:…`.
    pub(in crate::store) diff_ids: BTreeSet<String>,
}

/// As much of a manifest or index as says what it needs.
#[derive(Deserialize)]
struct Document {
    config: Option<Part>,
    #[serde(default)]
    layers: Vec<Part>,
    #[serde(default)]
    manifests: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    digest: String,
}

/// As much of an image's config.
#[derive(Deserialize)]
struct Config {
    rootfs: Option<RootFs>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// What the image with this manifest or index reaches; `blobs` is the layout's directory of blobs.
pub(in crate::store) fn reach(blobs: &Path, manifest: &str) -> Reach {
    let mut found = Reach::default();
    follow(blobs, manifest, 0, &mut found);
    found
}

fn follow(blobs: &Path, digest: &str, depth: usize, found: &mut Reach) {
    let Ok(thing) = blob_thing(digest) else { return };
    if !found.blobs.insert(thing) || depth > DEPTH_MAX {
        return;
    }
    let Some(document) = read::<Document>(blobs, digest) else { return };
    for part in &document.manifests {
        follow(blobs, &part.digest, depth + 1, found);
    }
    let named = document.layers.iter().chain(&document.config);
    found.blobs.extend(named.filter_map(|part| blob_thing(&part.digest).ok()));
    let config = document.config.and_then(|part| read::<Config>(blobs, &part.digest));
    let rootfs = config.and_then(|config| config.rootfs);
    found.diff_ids.extend(rootfs.into_iter().flat_map(|rootfs| rootfs.diff_ids));
}

fn read<T: DeserializeOwned>(blobs: &Path, digest: &str) -> Option<T> {
    let file = File::open(blobs.join(digits(digest).ok()?)).ok()?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT_LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}
