//! Named images, and the layout's `index.json`.
//!
//! The table is the truth; the index is written from all of it whenever it changes, under a lock, so that
//! it is always whole. A note in the database says that it lags behind, for whoever finds it so after a
//! process was killed between the two. The index says after how many changes it was written, so that a database that
//! lost its latest changes, with a damaged log for example, is not taken for the truth.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::blobs::is_blob_digest;
use super::lock::FileLock;
use super::{Store, proof, signed, unsigned};
use crate::CacheError;

/// A number that no count of changes reaches.
const GENERATIONS_MAX: i64 = 1 << 50;
/// As much of an index as holds what comes before its images.
const INDEX_START: u64 = 256;

/// A named image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// `sha256:…` of the manifest or index, which is a blob of the store.
    pub manifest: String,
    /// The manifest's media type.
    pub media_type: String,
    /// The manifest's own size.
    pub manifest_size_bytes: u64,
    /// The size of all the image's blobs.
    pub size_bytes: u64,
    /// When the image was made, in milliseconds since 1970.
    pub created_ms: i64,
}

impl Store {
    /// Gives an image a name, taking it from any other. An image without a name of its own is stored
    /// under its manifest's digest.
    ///
    /// # Errors
    /// [`CacheError::MissingBlob`] when the manifest is not in the store; failures to write.
    pub fn put_image(&self, name: &str, image: &ImageRow) -> Result<(), CacheError> {
        if !self.has_blob(&image.manifest)? {
            return Err(CacheError::MissingBlob { digest: image.manifest.clone() });
        }
        if self.image(name)?.as_ref() == Some(image) {
            return Ok(());
        }
        self.change_images(|| {
            self.db.publish("write an image", |transaction, epoch| {
                transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO images VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
                            proof('images', ?1, ?2, ?3, ?4, ?5, ?6))",
                    )?
                    .execute(params![
                        name,
                        image.manifest,
                        image.media_type,
                        signed(image.manifest_size_bytes),
                        signed(image.size_bytes),
                        image.created_ms,
                        epoch
                    ])?;
                note_stale_index(transaction)
            })
        })
    }

    /// Takes a name away; says whether there was one. The blobs stay until they are collected.
    ///
    /// # Errors
    /// When the database or the index cannot be written.
    pub fn remove_image(&self, name: &str) -> Result<bool, CacheError> {
        self.change_images(|| {
            self.db.write("remove an image", |transaction| {
                let removed = transaction.execute("DELETE FROM images WHERE name = ?1", [name])?;
                note_stale_index(transaction)?;
                Ok(removed > 0)
            })
        })
    }

    /// The image with this name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn image(&self, name: &str) -> Result<Option<ImageRow>, CacheError> {
        self.db.read("read an image", |connection| {
            connection
                .prepare_cached(&format!("{} WHERE name = ?1", select()))?
                .query_row([name], |row| decode(row).map(|(_, image)| image))
                .optional()
        })
    }

    /// All images with their names, in the names' order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn images(&self) -> Result<Vec<(String, ImageRow)>, CacheError> {
        self.db.read("list the images", list)
    }

    /// Whether the index lists the images, as far as nobody is just changing it.
    pub(super) fn index_is_right(&self) -> Result<bool, CacheError> {
        let path = self.locks_dir().join("index");
        let _lock = FileLock::wait(&path, "the index of images", &|| false)?;
        let found = std::fs::read(self.root.join("oci/index.json")).unwrap_or_default();
        Ok(found == self.encoded_index()?.as_bytes())
    }

    fn encoded_index(&self) -> Result<String, CacheError> {
        let (generation, images) = self.db.read("list the images", |connection| {
            // Counted before they are listed: the index is at least as new as it says.
            let generation =
                connection.query_row("SELECT generation FROM state", [], |row| row.get(0))?;
            Ok((generation, list(connection)?))
        })?;
        Ok(encode_index(generation, &images))
    }

    /// Writes the index if it lags behind.
    pub(super) fn refresh_index(&self) -> Result<(), CacheError> {
        self.change_images(|| Ok(()))
    }

    /// Makes a change to the table and brings the index after it, both under the index's lock.
    fn change_images<T>(
        &self,
        change: impl FnOnce() -> Result<T, CacheError>,
    ) -> Result<T, CacheError> {
        let path = self.locks_dir().join("index");
        let _lock = FileLock::wait(&path, "the index of images", &|| false)?;
        let value = change()?;
        let index = self.encoded_index()?;
        self.replace(&self.root.join("oci/index.json"), index.as_bytes())?;
        self.db.write("note that the index is up to date", |transaction| {
            transaction.execute("UPDATE state SET index_stale = 0", [])
        })?;
        Ok(value)
    }
}

/// Says that the index lags behind the table.
pub(super) fn note_stale_index(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute("UPDATE state SET index_stale = 1, generation = generation + 1", [])
        .map(drop)
}

fn list(connection: &Connection) -> rusqlite::Result<Vec<(String, ImageRow)>> {
    connection
        .prepare_cached(&format!("{} ORDER BY name", select()))?
        .query_map([], decode)?
        .collect()
}

/// A query for rows as [`decode`] takes them.
fn select() -> String {
    format!(
        "SELECT name, manifest, media_type, manifest_size_bytes, size_bytes, created_ms,
            proof = {} FROM images",
        proof::IMAGES
    )
}

/// A row. One that does not prove itself is no absent image, but damage: its name would be looked for elsewhere.
fn decode(row: &Row<'_>) -> rusqlite::Result<(String, ImageRow)> {
    if !row.get(6)? {
        return Err(rusqlite::Error::InvalidColumnType(6, "proof".to_owned(), Type::Integer));
    }
    let image = ImageRow {
        manifest: row.get(1)?,
        media_type: row.get(2)?,
        manifest_size_bytes: unsigned(row.get(3)?),
        size_bytes: unsigned(row.get(4)?),
        created_ms: row.get(5)?,
    };
    Ok((row.get(0)?, image))
}

/// An image as the index lists it.
#[derive(Debug)]
pub(super) struct IndexedImage {
    pub(super) manifest: String,
    pub(super) media_type: String,
    pub(super) manifest_size_bytes: u64,
}

/// The images that an index lists, with their names; nothing when it is none.
pub(super) fn listed(index: &[u8]) -> Option<Vec<(String, IndexedImage)>> {
    let index: ListedIndex = serde_json::from_slice(index).ok()?;
    let image = |entry: ListedEntry| {
        let ListedEntry { media_type, digest: manifest, size, annotations } = entry;
        let name = annotations.and_then(|given| given.name).unwrap_or_else(|| manifest.clone());
        (name, IndexedImage { manifest, media_type, manifest_size_bytes: size })
    };
    let sound = |entry: &ListedEntry| is_blob_digest(&entry.digest);
    Some(index.manifests.into_iter().filter(sound).map(image).collect())
}

/// After how many changes of the images an index was written; 0 when it does not say so. It stands at the front, so
/// that not all of it is read.
pub(super) fn generation_of(index: &Path) -> i64 {
    let mut start = Vec::new();
    let read = File::open(index).and_then(|file| file.take(INDEX_START).read_to_end(&mut start));
    let text = String::from_utf8_lossy(&start);
    let number = read.ok().and_then(|_| {
        let (_, rest) = text.split_once("\"kiln.generation\":\"")?;
        rest.split_once('"')?.0.parse().ok().filter(|number| *number < GENERATIONS_MAX)
    });
    number.unwrap_or(0)
}

#[derive(Deserialize)]
struct ListedIndex {
    manifests: Vec<ListedEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedEntry {
    media_type: String,
    digest: String,
    size: u64,
    annotations: Option<ListedName>,
}

#[derive(Deserialize)]
struct ListedName {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    name: Option<String>,
}

/// The index of an OCI image layout.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'static str,
    annotations: Generation,
    manifests: Vec<IndexEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexEntry<'a> {
    media_type: &'a str,
    digest: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Name<'a>>,
}

#[derive(Serialize)]
struct Generation {
    #[serde(rename = "kiln.generation")]
    generation: String,
}

#[derive(Serialize)]
struct Name<'a> {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    name: &'a str,
}

fn encode_index(generation: i64, images: &[(String, ImageRow)]) -> String {
    let manifests = images
        .iter()
        .map(|(name, image)| IndexEntry {
            media_type: &image.media_type,
            digest: &image.manifest,
            size: image.manifest_size_bytes,
            annotations: (*name != image.manifest).then_some(Name { name }),
        })
        .collect();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let annotations = Generation { generation: generation.to_string() };
    let index = Index { schema_version: 2, media_type, annotations, manifests };
    // Texts and numbers under fixed names: there is nothing in it that JSON cannot say.
    serde_json::to_string(&index).unwrap_or_default()
}
