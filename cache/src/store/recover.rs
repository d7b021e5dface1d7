//! The first opening after a restart of the machine.
//!
//! What was not marked durable may be torn: a file whose name reached the disk and whose bytes did not.
//! Records and layers of that kind are dropped. Blobs carry their own proof, so they are hashed, and images
//! are kept whose blobs are all there. Nobody else uses the store meanwhile: every process of the new boot
//! comes through here first, one at a time.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use kiln_ir::Digest;
use rusqlite::{Transaction, params};
use serde::Deserialize;

use super::accounts::Gone;
use super::blobs::{digest_of, digest_of_name};
use super::images::note_stale_index;
use super::lease::Rubbish;
use super::lock::FileLock;
use super::{Store, signed};
use crate::CacheError;

/// The largest manifest that is read.
const MANIFEST_LIMIT_BYTES: u64 = 4 << 20;

impl Store {
    /// Drops what may be torn and notes that the store is in use by `boot`.
    pub(super) fn recover(&self, boot: &str, rubbish: &mut Vec<Rubbish>) -> Result<(), CacheError> {
        let path = self.locks_dir().join("recovery");
        let _lock = FileLock::wait(&path, "the store to be checked", &|| false)?;
        let last: String = self.db.read("read the last boot", |connection| {
            connection.query_row("SELECT boot FROM state", [], |row| row.get(0))
        })?;
        if last == boot {
            return Ok(());
        }
        tracing::info!("checking the store after a restart of the machine");
        let (layers, blobs) = self.db.write("drop results that may be torn", drop_rows)?;
        self.drop_layers(&layers, rubbish)?;
        self.check_blobs(&blobs)?;
        self.check_images()?;
        self.refresh_index()?;
        self.db.write("note the boot", |transaction| {
            transaction.execute("UPDATE state SET boot = ?1", [boot])
        })?;
        Ok(())
    }

    /// Moves away the layers that no durable row names.
    fn drop_layers(
        &self,
        durable: &BTreeSet<Digest>,
        rubbish: &mut Vec<Rubbish>,
    ) -> Result<(), CacheError> {
        let layers = self.layers_dir();
        for name in names(&layers)? {
            let Ok(digest) = name.parse::<Digest>() else { continue };
            if !durable.contains(&digest) {
                let bin = self.lease.fresh_path("torn");
                let layer = layers.join(name);
                std::fs::rename(&layer, &bin).map_err(CacheError::io("move away", &layer))?;
                rubbish.push(Rubbish::own(bin));
            }
        }
        Ok(())
    }

    /// Hashes the blobs that no durable row names; deletes those that are torn.
    fn check_blobs(&self, durable: &BTreeSet<String>) -> Result<(), CacheError> {
        for name in names(&self.blobs_dir())? {
            let Some(digest) = digest_of_name(&name).filter(|digest| !durable.contains(digest))
            else {
                continue;
            };
            let path = self.blobs_dir().join(name);
            let read = CacheError::io("read the blob", &path);
            let (found, size_bytes) = File::open(&path)
                .and_then(|file| Ok((digest_of(&file)?, file.metadata()?.len())))
                .map_err(read)?;
            if found != digest {
                std::fs::remove_file(&path).map_err(CacheError::io("delete", &path))?;
                continue;
            }
            // Its bytes were just read from the disk: it needs no mark.
            self.db.write("note a blob", |transaction| {
                transaction.execute(
                    "INSERT OR REPLACE INTO blobs VALUES (?1, ?2, 0)",
                    params![digest, signed(size_bytes)],
                )
            })?;
        }
        Ok(())
    }

    /// Drops images that are not whole.
    fn check_images(&self) -> Result<(), CacheError> {
        for (name, image) in self.images()? {
            if !self.is_whole(&image.manifest)? {
                tracing::warn!(name, "dropping an image that did not reach the disk");
                self.db.write("drop an image", |transaction| {
                    transaction.execute("DELETE FROM images WHERE name = ?1", [&name])
                })?;
            }
        }
        self.db.write("note that the index is stale", |transaction| note_stale_index(transaction))
    }

    /// Whether a manifest and everything that it names directly is here.
    pub(super) fn is_whole(&self, manifest: &str) -> Result<bool, CacheError> {
        let bytes = match self.read_blob(manifest, MANIFEST_LIMIT_BYTES) {
            Ok(bytes) => bytes,
            Err(CacheError::MissingBlob { .. } | CacheError::BlobSize { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Ok(document) = serde_json::from_slice::<Document>(&bytes) else { return Ok(false) };
        for part in document.config.iter().chain(&document.layers) {
            if !self.has_blob(&part.digest).unwrap_or(false) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// As much of a manifest as says which blobs it needs. An index names manifests that need not be here.
#[derive(Deserialize)]
struct Document {
    config: Option<Part>,
    #[serde(default)]
    layers: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    digest: String,
}

/// Deletes rows of epochs that were not marked, and lists the layers and blobs that stay.
fn drop_rows(
    transaction: &Transaction<'_>,
) -> rusqlite::Result<(BTreeSet<Digest>, BTreeSet<String>)> {
    transaction.execute(
        "UPDATE accounts SET gone = ?1, account = '' WHERE key IN (
            SELECT key FROM records WHERE epoch > (SELECT durable_epoch FROM state))",
        [Gone::Restart.word()],
    )?;
    for table in ["records", "layers", "blobs"] {
        transaction.execute(
            &format!("DELETE FROM {table} WHERE epoch > (SELECT durable_epoch FROM state)"),
            [],
        )?;
    }
    transaction.execute("DELETE FROM needs WHERE key NOT IN (SELECT key FROM records)", [])?;
    let mut layers = transaction.prepare("SELECT digest FROM layers")?;
    let layers = layers.query_map([], |row| row.get(0).map(Digest::from_bytes))?;
    let mut blobs = transaction.prepare("SELECT digest FROM blobs")?;
    let blobs = blobs.query_map([], |row| row.get(0))?;
    Ok((layers.collect::<Result<_, _>>()?, blobs.collect::<Result<_, _>>()?))
}

/// The names in a directory that are text; others are not ours.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, CacheError> {
    let entries = std::fs::read_dir(dir).map_err(CacheError::io("list the directory", dir))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(CacheError::io("list the directory", dir))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}
