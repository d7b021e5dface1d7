//! Where an image comes from: the store, a registry, or an OCI layout on this machine.
//!
//! An origin is found by name once ([`Engine::find_image`]) and written into the graph as a locator,
//! from which it is read back when the image's layers are needed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use kiln_cache::ImageRow;
use kiln_frontend::ResolvedImage;
use kiln_image::ImageRef;
use kiln_image::{
    Descriptor, Document, Index, MAX_DOCUMENT_BYTES, Manifest, OciDigest, Platform, layout,
    parse_config, parse_document, parse_index, parse_manifest,
};

use crate::{Engine, EngineError};

/// What a reference to a layout starts with.
const LAYOUT: &str = "oci-layout://";
/// What an explicit reference to an image starts with.
const DOCKER_IMAGE: &str = "docker-image://";

/// Where an image's blobs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the store, and nowhere else that is known of.
    Store,
    /// In a registry.
    Registry(ImageRef),
    /// In a layout's directory.
    Layout(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("store:"),
            Self::Registry(reference) => write!(f, "registry:{reference}"),
            Self::Layout(path) => write!(f, "layout:{}", path.display()),
        }
    }
}

impl Origin {
    /// Reads a locator back.
    pub(crate) fn parse(locator: &str) -> Result<Self, EngineError> {
        if let Some(path) = locator.strip_prefix("layout:") {
            return Ok(Self::Layout(path.into()));
        }
        if let Some(name) = locator.strip_prefix("registry:") {
            return Ok(Self::Registry(parse_reference(name)?));
        }
        Ok(Self::Store)
    }
}

/// A manifest or index with the bytes that its digest is of.
struct Raw {
    bytes: Vec<u8>,
    media_type: String,
}

impl Engine {
    /// Finds an image by name and platform, and keeps its manifest and config in the store.
    ///
    /// A registry is asked only when the store does not know the name, or `pull` is set.
    pub(crate) fn find_image(
        &self,
        reference: &str,
        platform: &Platform,
        pull: bool,
    ) -> Result<ResolvedImage, EngineError> {
        let (origin, document) = self.find_document(reference, pull)?;
        let (digest, manifest) = self.of_platform(&origin, reference, &document, platform)?;
        let config = self.document(&origin, reference, &manifest.config)?;
        let config = parse_config(&config).map_err(image_error(reference))?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(EngineError::NoImage {
                reference: reference.to_owned(),
                looked: format!(
                    "its manifest has {} layers and its config {}",
                    manifest.layers.len(),
                    config.rootfs.diff_ids.len()
                ),
            });
        }
        Ok(ResolvedImage {
            manifest: digest.to_string(),
            locator: origin.to_string(),
            reference: reference.to_owned(),
            config,
        })
    }

    fn find_document(&self, reference: &str, pull: bool) -> Result<(Origin, Raw), EngineError> {
        if let Some(rest) = reference.strip_prefix(LAYOUT) {
            let (path, document) = find_in_layout(reference, rest)?;
            return Ok((Origin::Layout(path), document));
        }
        let name = parse_reference(reference.strip_prefix(DOCKER_IMAGE).unwrap_or(reference))?;
        if !pull && let Some(row) = self.store.image(&name.to_string())? {
            let bytes = self.store.read_blob(&row.manifest, MAX_DOCUMENT_BYTES)?;
            return Ok((Origin::Registry(name), Raw { bytes, media_type: row.media_type }));
        }
        let found = self.registry()?.resolve(&name)?;
        let raw = Raw { bytes: found.bytes, media_type: found.media_type };
        self.store.put_blob(&raw.bytes)?;
        Ok((Origin::Registry(name), raw))
    }

    /// The manifest of an image in the store; when there are several, that for this machine's platform, else
    /// the first.
    pub(crate) fn stored_manifest(
        &self,
        row: &ImageRow,
    ) -> Result<(OciDigest, Manifest), EngineError> {
        let bytes = self.store.read_blob(&row.manifest, MAX_DOCUMENT_BYTES)?;
        let document =
            parse_document(&bytes, &row.media_type).map_err(image_error(&row.manifest))?;
        let first = match &document {
            Document::Index(index) => {
                let images = index.manifests.iter().filter_map(|image| image.platform.clone());
                images.into_iter().next()
            }
            Document::Manifest(_) => None,
        };
        let raw = Raw { bytes, media_type: row.media_type.clone() };
        let of = |platform| self.of_platform(&Origin::Store, &row.manifest, &raw, platform);
        match (of(&Platform::host()), first) {
            (Err(_), Some(first)) => of(&first),
            (result, _) => result,
        }
    }

    /// The index of an image in the store; nothing for an image that is one image.
    pub(crate) fn stored_index(&self, row: &ImageRow) -> Result<Option<Index>, EngineError> {
        let bytes = self.store.read_blob(&row.manifest, MAX_DOCUMENT_BYTES)?;
        match parse_document(&bytes, &row.media_type).map_err(image_error(&row.manifest))? {
            Document::Index(index) => Ok(Some(index)),
            Document::Manifest(_) => Ok(None),
        }
    }

    /// The manifest for a platform: the document itself, or what an index has for the platform.
    fn of_platform(
        &self,
        origin: &Origin,
        reference: &str,
        document: &Raw,
        platform: &Platform,
    ) -> Result<(OciDigest, Manifest), EngineError> {
        let parsed = parse_document(&document.bytes, &document.media_type)
            .map_err(image_error(reference))?;
        match parsed {
            Document::Manifest(manifest) => {
                self.store.put_blob(&document.bytes)?;
                Ok((OciDigest::of(&document.bytes), manifest))
            }
            Document::Index(index) => {
                let chosen = index.select(platform).map_err(image_error(reference))?;
                let bytes = self.manifest(origin, reference, chosen)?;
                let manifest = parse_manifest(&bytes).map_err(image_error(reference))?;
                Ok((chosen.digest, manifest))
            }
        }
    }

    /// A manifest that an index names, from the store or fetched into it.
    fn manifest(
        &self,
        origin: &Origin,
        reference: &str,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, EngineError> {
        if let Origin::Registry(name) = origin
            && !self.store.has_blob(&descriptor.digest.to_string())?
        {
            // Registries keep manifests apart from blobs.
            let found = self.registry()?.manifest(name, &descriptor.digest)?;
            self.store.put_blob(&found.bytes)?;
        }
        self.document(origin, reference, descriptor)
    }

    /// A small blob, from the store or fetched into it.
    fn document(
        &self,
        origin: &Origin,
        reference: &str,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, EngineError> {
        if descriptor.size_bytes > MAX_DOCUMENT_BYTES {
            return Err(EngineError::NoImage {
                reference: reference.to_owned(),
                looked: format!(
                    "{} has {} bytes; at most {MAX_DOCUMENT_BYTES} are accepted",
                    descriptor.digest, descriptor.size_bytes
                ),
            });
        }
        self.fetch_blob(origin, descriptor, &|_| {})?;
        Ok(self.store.read_blob(&descriptor.digest.to_string(), MAX_DOCUMENT_BYTES)?)
    }

    /// Brings a blob into the store, if it is not there. `progress` is told the bytes that came so far.
    pub(crate) fn fetch_blob(
        &self,
        origin: &Origin,
        descriptor: &Descriptor,
        progress: &dyn Fn(u64),
    ) -> Result<(), EngineError> {
        let digest = descriptor.digest.to_string();
        if self.store.has_blob(&digest)? {
            return Ok(());
        }
        let mut writer = self.store.blob_writer_for(&digest, descriptor.size_bytes)?;
        match origin {
            Origin::Store => {
                return Err(EngineError::NoImage {
                    reference: digest,
                    looked: "a blob of it is no longer in the store".to_owned(),
                });
            }
            Origin::Registry(name) => {
                self.registry()?.fetch_blob(name, descriptor, &mut writer, progress)?;
            }
            Origin::Layout(path) => copy_blob(path, descriptor, &mut writer)?,
        }
        writer.finish()?;
        Ok(())
    }
}

/// Parses an image's name.
pub(crate) fn parse_reference(name: &str) -> Result<ImageRef, EngineError> {
    name.parse().map_err(image_error(name))
}

pub(crate) fn image_error(
    reference: &str,
) -> impl Fn(kiln_image::ImageError) -> EngineError + use<'_> {
    |source| EngineError::Image { reference: reference.to_owned(), source }
}

/// The blob's file in a layout.
pub(crate) fn blob_path(dir: &Path, digest: &OciDigest) -> PathBuf {
    dir.join(layout::blob_path(digest))
}

fn copy_blob(layout: &Path, blob: &Descriptor, out: &mut dyn Write) -> Result<(), EngineError> {
    let path = blob_path(layout, &blob.digest);
    let failed = |source| EngineError::ReadFile { what: "blob", path: path.clone(), source };
    let mut file = File::open(&path).map_err(failed)?.take(blob.size_bytes.saturating_add(1));
    io::copy(&mut file, out)
        .map_err(|source| EngineError::CopyBlob { digest: blob.digest.to_string(), source })?;
    Ok(())
}

/// Finds `PATH`, `PATH:TAG` or `PATH@DIGEST`; without either, the layout must hold one image.
fn find_in_layout(reference: &str, rest: &str) -> Result<(PathBuf, Raw), EngineError> {
    let (path, wanted) = split_layout(rest);
    let index = read_document(&path.join("index.json"))?;
    let index = parse_index(&index).map_err(image_error(reference))?;
    let chosen = match wanted {
        Wanted::Digest(digest) => {
            let digest: OciDigest = digest.parse().map_err(image_error(reference))?;
            Descriptor::new("", digest, 0)
        }
        Wanted::Tag(tag) => chosen(&index, Some(tag), reference)?,
        Wanted::Any => chosen(&index, None, reference)?,
    };
    let bytes = read_document(&blob_path(&path, &chosen.digest))?;
    if OciDigest::of(&bytes) != chosen.digest {
        let looked = format!("the blob {} of its layout is damaged", chosen.digest);
        return Err(EngineError::NoImage { reference: reference.to_owned(), looked });
    }
    Ok((path, Raw { bytes, media_type: chosen.media_type }))
}

/// The image of a layout that a tag means; without one its only image, else the one tagged `latest`.
fn chosen(index: &Index, tag: Option<&str>, reference: &str) -> Result<Descriptor, EngineError> {
    let found = match tag {
        Some(_) => layout::select(index, tag),
        None => layout::select(index, None).or_else(|_| layout::select(index, Some("latest"))),
    };
    found.cloned().map_err(image_error(reference))
}

enum Wanted<'a> {
    Digest(&'a str),
    Tag(&'a str),
    Any,
}

fn split_layout(rest: &str) -> (PathBuf, Wanted<'_>) {
    if let Some((path, digest)) = rest.split_once('@') {
        return (strip_tag(path).0.into(), Wanted::Digest(digest));
    }
    match strip_tag(rest) {
        (path, Some(tag)) => (path.into(), Wanted::Tag(tag)),
        (path, None) => (path.into(), Wanted::Any),
    }
}

/// A colon in the last component ends the path.
fn strip_tag(path: &str) -> (&str, Option<&str>) {
    match path.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => (before, Some(tag)),
        _ => (path, None),
    }
}

fn read_document(path: &Path) -> Result<Vec<u8>, EngineError> {
    let failed =
        |source| EngineError::ReadFile { what: "image document", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?.take(MAX_DOCUMENT_BYTES + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locators_are_read_back() {
        let name = parse_reference("registry.example:5000/a/b:1").unwrap();
        for origin in [Origin::Store, Origin::Registry(name), Origin::Layout("/a b/c:d".into())] {
            assert_eq!(Origin::parse(&origin.to_string()).unwrap(), origin);
        }
    }

    #[test]
    fn a_layout_is_split_from_its_tag_and_digest() {
        let split = |text| match split_layout(text) {
            (path, Wanted::Digest(digest)) => format!("{} digest {digest}", path.display()),
            (path, Wanted::Tag(tag)) => format!("{} tag {tag}", path.display()),
            (path, Wanted::Any) => format!("{} any", path.display()),
        };
        assert_eq!(split("/a/b"), "/a/b any");
        assert_eq!(split("/a/b:c"), "/a/b tag c");
        assert_eq!(split("/a:b/c"), "/a:b/c any");
        assert_eq!(split("/a/b@sha256:00"), "/a/b digest sha256:00");
        assert_eq!(split("/a/b:c@sha256:00"), "/a/b digest sha256:00");
    }
}
