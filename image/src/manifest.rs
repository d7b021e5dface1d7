//! Descriptors, manifests and indexes.
//!
//! Docker's and OCI's documents differ in their media types alone, so one type serves both. Fields
//! unknown to Kiln are not kept: manifests are passed on as bytes, never re-encoded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ImageError, OciDigest, Platform, media_type};

/// The largest manifest, index or config that is read: 4 MiB, as registries themselves limit it.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// The most layers or manifests that one document may list.
const MAX_DESCRIPTORS: usize = 10_000;

/// A blob, by its digest, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is; see [`media_type`].
    pub media_type: String,
    /// The blob's digest.
    pub digest: OciDigest,
    /// The blob's size in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// For a manifest in an index: the platform of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Remarks, sorted by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor with neither platform nor annotations.
    #[must_use]
    pub fn new(media_type: &str, digest: OciDigest, size_bytes: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size_bytes, platform: None, annotations: BTreeMap::new() }
    }

    /// A descriptor of bytes at hand.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, OciDigest::of(bytes), bytes.len() as u64)
    }
}

/// The manifest of one image: its config and its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// OCI's or Docker's manifest type; OCI's where the document does not say.
    #[serde(default = "oci_manifest")]
    pub media_type: String,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Remarks, sorted by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// An OCI manifest without annotations; `layers` lowest first.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        let media_type = oci_manifest();
        Self { schema_version: 2, media_type, config, layers, annotations: BTreeMap::new() }
    }

    /// The document's bytes: compact JSON, the same for the same value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("every field and every map key is representable in JSON")
    }
}

/// A list of manifests, one for each platform; or of images, in a layout's `index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// OCI's or Docker's index type; OCI's where the document does not say.
    #[serde(default = "oci_index")]
    pub media_type: String,
    /// The manifests, in order.
    pub manifests: Vec<Descriptor>,
    /// Remarks, sorted by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// An OCI index without annotations.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        let media_type = oci_index();
        Self { schema_version: 2, media_type, manifests, annotations: BTreeMap::new() }
    }

    /// The document's bytes: compact JSON, the same for the same value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("every field and every map key is representable in JSON")
    }

    /// The manifest that serves a platform best; the first of equals, as containerd takes it.
    ///
    /// A manifest without a platform serves when it is the only one.
    ///
    /// # Errors
    ///
    /// Fails with the platforms that there are when none serves.
    pub fn select(&self, wanted: &Platform) -> Result<&Descriptor, ImageError> {
        if let [only] = self.manifests.as_slice()
            && only.platform.is_none()
        {
            return Ok(only);
        }
        let distance = |d: &Descriptor| d.platform.as_ref().and_then(|p| p.distance_to(wanted));
        let candidates = self.manifests.iter().filter_map(|d| Some((distance(d)?, d)));
        match candidates.min_by_key(|(distance, _)| *distance) {
            Some((_, descriptor)) => Ok(descriptor),
            None => Err(ImageError::NoPlatform {
                wanted: wanted.to_string(),
                available: self.platforms(),
            }),
        }
    }

    /// The platforms as messages list them; attestations say `unknown/unknown` and are left out.
    fn platforms(&self) -> Vec<String> {
        let known = self.manifests.iter().filter_map(|d| d.platform.as_ref());
        known.filter(|p| p.os() != "unknown").map(Platform::to_string).collect()
    }
}

/// What a name in a registry leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images for several platforms.
    Index(Index),
}

/// Reads a document that is a manifest or an index.
///
/// The document's own `mediaType` decides, then what the sender said of it (`declared`, perhaps empty),
/// then its shape. A document that has both `layers` and `manifests` is refused: readers that disagree on
/// what it is could be shown two images under one digest.
///
/// # Errors
///
/// As [`parse_manifest`] and [`parse_index`]; also when the document is of another kind.
pub fn parse_document(bytes: &[u8], declared: &str) -> Result<Document, ImageError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        #[serde(default)]
        media_type: String,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
    }
    let shape: Shape = parse("manifest", bytes)?;
    let named = if shape.media_type.is_empty() { declared } else { &shape.media_type };
    if media_type::is_index(named) {
        parse_index(bytes).map(Document::Index)
    } else if media_type::is_manifest(named) {
        parse_manifest(bytes).map(Document::Manifest)
    } else if !shape.media_type.is_empty() {
        Err(ImageError::MediaType { media_type: shape.media_type, expected: "an image" })
    } else if shape.manifests.is_some() {
        parse_index(bytes).map(Document::Index)
    } else {
        parse_manifest(bytes).map(Document::Manifest)
    }
}

/// Reads an image manifest, OCI's or Docker's (schema 2).
///
/// # Errors
///
/// Fails on more than [`MAX_DOCUMENT_BYTES`], on JSON of another shape, and on a document that says that
/// it is something else.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, ImageError> {
    const DOCUMENT: &str = "manifest";
    refuse_both(DOCUMENT, bytes)?;
    let manifest: Manifest = parse(DOCUMENT, bytes)?;
    check_kind(DOCUMENT, manifest.schema_version, manifest.layers.len())?;
    if !media_type::is_manifest(&manifest.media_type) {
        let media_type = manifest.media_type;
        return Err(ImageError::MediaType { media_type, expected: "an image manifest" });
    }
    Ok(manifest)
}

/// Reads an image index, OCI's or Docker's.
///
/// # Errors
///
/// Fails on more than [`MAX_DOCUMENT_BYTES`], on JSON of another shape, and on a document that says that
/// it is something else.
pub fn parse_index(bytes: &[u8]) -> Result<Index, ImageError> {
    const DOCUMENT: &str = "index";
    refuse_both(DOCUMENT, bytes)?;
    let index: Index = parse(DOCUMENT, bytes)?;
    check_kind(DOCUMENT, index.schema_version, index.manifests.len())?;
    if !media_type::is_index(&index.media_type) {
        let media_type = index.media_type;
        return Err(ImageError::MediaType { media_type, expected: "an image index" });
    }
    Ok(index)
}

/// Refuses a document of more than [`MAX_DOCUMENT_BYTES`].
pub(crate) fn check_size(document: &'static str, bytes: &[u8]) -> Result<(), ImageError> {
    let size_bytes = bytes.len() as u64;
    if size_bytes > MAX_DOCUMENT_BYTES {
        return Err(ImageError::TooLarge { document, size_bytes, limit_bytes: MAX_DOCUMENT_BYTES });
    }
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(document: &'static str, bytes: &'a [u8]) -> Result<T, ImageError> {
    check_size(document, bytes)?;
    serde_json::from_slice(bytes).map_err(|source| ImageError::Json { document, source })
}

/// Refuses a document that could be read both as a manifest and as an index.
fn refuse_both(document: &'static str, bytes: &[u8]) -> Result<(), ImageError> {
    #[derive(Deserialize)]
    struct Both {
        layers: Option<serde::de::IgnoredAny>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let both: Both = parse(document, bytes)?;
    if both.layers.is_some() && both.manifests.is_some() {
        let reason = "it has both `layers` and `manifests`".to_owned();
        return Err(ImageError::Invalid { document, reason });
    }
    Ok(())
}

fn check_kind(document: &'static str, version: u32, listed: usize) -> Result<(), ImageError> {
    let reason = if version != 2 {
        format!("its schema version is {version}, not 2")
    } else if listed > MAX_DESCRIPTORS {
        format!("it lists {listed} parts; at most {MAX_DESCRIPTORS} are accepted")
    } else {
        return Ok(());
    };
    Err(ImageError::Invalid { document, reason })
}

fn oci_manifest() -> String {
    media_type::OCI_MANIFEST.to_owned()
}

fn oci_index() -> String {
    media_type::OCI_INDEX.to_owned()
}

#[cfg(test)]
mod tests;
