//! Tests of the store, by part. What happens when processes are killed is in `tests/crash.rs`.

mod accounts;
mod blobs;
mod builds;
mod check;
mod contract;
mod damage;
mod disk_full;
mod images;
mod mounts;
mod opening;
mod remotes;
mod restart;

use std::time::{Duration, Instant};

use kiln_ir::Digest;
use tempfile::TempDir;

use super::*;
use crate::{BlobRef, CacheKey, LayerRef, Record};

/// A store in a directory that goes away with it.
fn store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&dir.path().join("root")).unwrap();
    (dir, store)
}

fn key(text: &str) -> CacheKey {
    CacheKey::from_digest(Digest::of(text.as_bytes()))
}

fn blob_ref(text: &str) -> BlobRef {
    BlobRef {
        digest: format!("sha256:{}", Digest::of(text.as_bytes())),
        size_bytes: 77,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        diff_id: format!("sha256:{}", Digest::of(b"diff")),
    }
}

fn record(layers: &[&str]) -> Record {
    Record {
        layers: layers.iter().map(|text| LayerRef::new(Digest::of(text.as_bytes()))).collect(),
        created_ms: 1_700_000_000_123,
        duration_ms: 4_500,
        size_bytes: 10_000_000_000,
        name: "RUN echo 'ä' && make".to_owned(),
    }
}

/// Gives a wait up after a while: what is never let go fails a test, and does not hold it up for ever.
fn patience() -> impl Fn() -> bool {
    let begun = Instant::now();
    move || begun.elapsed() > Duration::from_secs(60)
}

/// The names in a directory, sorted.
fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
