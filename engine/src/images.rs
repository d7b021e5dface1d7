//! Images in the store: naming, listing, looking at them.

use kiln_cache::ImageRow;
use kiln_image::{
    Descriptor, ImageConfig, ImageRef, Index, MAX_DOCUMENT_BYTES, Manifest, OciDigest,
    parse_config, parse_manifest,
};

use crate::origin::{image_error, parse_reference};
use crate::{Engine, EngineError};

/// One name of an image in the store.
#[derive(Debug, Clone)]
pub struct ListedImage {
    /// The name; nothing for an image that has none.
    pub name: Option<ImageRef>,
    /// The manifest or index.
    pub manifest: OciDigest,
    /// The config's digest, which Docker calls the image's id; nothing for an index.
    pub id: Option<OciDigest>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// The size of all its blobs.
    pub size_bytes: u64,
}

/// An image with its documents. Of an image for several platforms that of this machine's, or the first.
#[derive(Debug, Clone)]
pub struct InspectedImage {
    /// All names of the image.
    pub names: Vec<ImageRef>,
    /// The digest of the manifest, or of the index.
    pub digest: OciDigest,
    /// The index of an image for several platforms.
    pub index: Option<Index>,
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
    /// The size of all its blobs.
    pub size_bytes: u64,
}

impl Engine {
    /// All images, in the order of their names.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn images(&self) -> Result<Vec<ListedImage>, EngineError> {
        let list = |(name, row): (String, ImageRow)| {
            let manifest = row.manifest.parse().map_err(image_error(&row.manifest))?;
            Ok(ListedImage {
                name: if is_nameless(&name) { None } else { Some(parse_reference(&name)?) },
                manifest,
                id: self.id_of(&row),
                created_ms: row.created_ms,
                size_bytes: row.size_bytes,
            })
        };
        self.store.images()?.into_iter().map(list).collect()
    }

    /// An image by its name, its digest, or the first digits of its digest or id.
    ///
    /// # Errors
    /// When there is no such image, or several, or it cannot be read.
    pub fn inspect(&self, reference: &str) -> Result<InspectedImage, EngineError> {
        let (_, row) = self.find_row(reference)?;
        let digest = row.manifest.parse().map_err(image_error(&row.manifest))?;
        let index = self.stored_index(&row)?;
        let (_, manifest) = self.stored_manifest(&row)?;
        let config =
            self.store.read_blob(&manifest.config.digest.to_string(), MAX_DOCUMENT_BYTES)?;
        let config = parse_config(&config).map_err(image_error(reference))?;
        let names = self.names_of(&row.manifest)?;
        Ok(InspectedImage { names, digest, index, manifest, config, size_bytes: row.size_bytes })
    }

    /// Lists an image under its names, or without one.
    pub(crate) fn keep(
        &self,
        manifest: &Descriptor,
        size_bytes: u64,
        created_ms: i64,
        names: &[ImageRef],
    ) -> Result<(), EngineError> {
        let row = ImageRow {
            manifest: manifest.digest.to_string(),
            media_type: manifest.media_type.clone(),
            manifest_size_bytes: manifest.size_bytes,
            size_bytes,
            created_ms,
        };
        self.keep_row(&row, names)
    }

    pub(crate) fn keep_row(&self, row: &ImageRow, names: &[ImageRef]) -> Result<(), EngineError> {
        if names.is_empty() {
            self.put_if_new(&row.manifest, row)?;
        }
        for name in names {
            self.put_if_new(&name.to_string(), row)?;
        }
        Ok(())
    }

    /// A build that changed nothing leaves the list, and the layout's index, alone.
    fn put_if_new(&self, name: &str, row: &ImageRow) -> Result<(), EngineError> {
        if self.store.image(name)?.as_ref() != Some(row) {
            self.store.put_image(name, row)?;
        }
        Ok(())
    }

    /// All names of an image.
    pub(crate) fn names_of(&self, manifest: &str) -> Result<Vec<ImageRef>, EngineError> {
        let rows = self.store.images()?.into_iter();
        let names = rows.filter(|(name, row)| row.manifest == manifest && !is_nameless(name));
        names.map(|(name, _)| parse_reference(&name)).collect()
    }

    /// An image by what a person calls it, with the name it was found under.
    pub(crate) fn find_row(&self, reference: &str) -> Result<(String, ImageRow), EngineError> {
        if let Ok(name) = reference.parse::<ImageRef>()
            && let Some(row) = self.store.image(&name.to_string())?
        {
            return Ok((name.to_string(), row));
        }
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
        let mut meant = Vec::new();
        if digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            for (name, row) in self.store.images()? {
                let manifest = row.manifest.trim_start_matches("sha256:").starts_with(digits);
                if manifest || self.id_of(&row).is_some_and(|id| id.hex().starts_with(digits)) {
                    meant.push((name, row));
                }
            }
        }
        meant.dedup_by(|a, b| a.1.manifest == b.1.manifest);
        let none = |looked| EngineError::NoImage { reference: reference.to_owned(), looked };
        match meant.len() {
            0 => {
                Err(none("the store does not have it; `kiln images` lists what it has".to_owned()))
            }
            1 => Ok(meant.remove(0)),
            several => Err(none(format!("{several} images begin so; give more digits"))),
        }
    }

    /// The config's digest of an image that is one image.
    fn id_of(&self, row: &ImageRow) -> Option<OciDigest> {
        let bytes = self.store.read_blob(&row.manifest, MAX_DOCUMENT_BYTES).ok()?;
        Some(parse_manifest(&bytes).ok()?.config.digest)
    }
}

/// An image without a name is listed under its digest.
fn is_nameless(name: &str) -> bool {
    name.starts_with("sha256:")
}
