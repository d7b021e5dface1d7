//! Images as OCI layouts, packed or not, and as archives for `docker load`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use kiln_image::docker_archive::{self, SavedImage};
use kiln_image::{
    Descriptor, Document, ImageRef, Index, Manifest, OciDigest, Platform, layout, parse_document,
};

use super::{Destination, write_error, write_to};
use crate::origin::image_error;
use crate::{Engine, EngineError};

impl Engine {
    /// Writes an image as an OCI layout, listed once for each name.
    pub(crate) fn write_oci(
        &self,
        manifest: &Descriptor,
        names: &[ImageRef],
        dest: &Destination,
    ) -> Result<(), EngineError> {
        let blobs = self.blobs(manifest)?;
        match dest {
            Destination::Dir(dir) => self.write_layout_dir(manifest, &blobs, names, dir),
            Destination::File(_) | Destination::Stdout => write_to(dest, |out| {
                let mut archive = Archive::new(out);
                let mut index = Index::new(Vec::new());
                list(&mut index, manifest, names);
                archive.bytes(layout::MARKER_NAME, layout::MARKER)?;
                archive.bytes(layout::INDEX_NAME, &index.to_bytes())?;
                for blob in blobs.values() {
                    archive.blob(self, blob)?;
                }
                archive.finish()
            }),
        }
    }

    /// Writes images, each with its names, as an archive that `docker load` and `podman load` take: an OCI
    /// layout with the list that older readers want. Of an image for several platforms that list has the one
    /// for this machine's, or the first.
    pub(crate) fn write_docker(
        &self,
        images: &[(Descriptor, Vec<ImageRef>)],
        dest: &Destination,
    ) -> Result<(), EngineError> {
        let mut index = Index::new(Vec::new());
        let (mut saved, mut all) = (Vec::new(), BTreeMap::new());
        for (manifest, names) in images {
            let document = self.one_manifest(manifest)?;
            let layers = document.layers.iter().map(|layer| layout::blob_path(&layer.digest));
            saved.push(SavedImage {
                config: layout::blob_path(&document.config.digest),
                repo_tags: names.iter().map(ImageRef::familiar).collect(),
                layers: layers.collect(),
            });
            list(&mut index, manifest, names);
            all.extend(self.blobs(manifest)?);
        }
        write_to(dest, |out| {
            let mut archive = Archive::new(out);
            archive.bytes(layout::MARKER_NAME, layout::MARKER)?;
            archive.bytes(layout::INDEX_NAME, &index.to_bytes())?;
            archive.bytes(docker_archive::MANIFEST_NAME, &docker_archive::to_bytes(&saved))?;
            for blob in all.values() {
                archive.blob(self, blob)?;
            }
            archive.finish()
        })
    }

    /// The manifest that a descriptor means to readers who know of no index.
    fn one_manifest(&self, descriptor: &Descriptor) -> Result<Manifest, EngineError> {
        match self.parsed(descriptor)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(index) => {
                let host = index.select(&Platform::host()).ok().or(index.manifests.first());
                let none = || EngineError::NoImage {
                    reference: descriptor.digest.to_string(),
                    looked: "its index lists no image".to_owned(),
                };
                match self.parsed(host.ok_or_else(none)?)? {
                    Document::Manifest(manifest) => Ok(manifest),
                    Document::Index(_) => Err(none()),
                }
            }
        }
    }

    fn parsed(&self, descriptor: &Descriptor) -> Result<Document, EngineError> {
        let digest = descriptor.digest.to_string();
        let bytes = self.store.read_blob(&digest, kiln_image::MAX_DOCUMENT_BYTES)?;
        parse_document(&bytes, &descriptor.media_type).map_err(image_error(&digest))
    }

    /// All blobs of an image, or of all images of an index, each once and in the order of their digests.
    fn blobs(&self, top: &Descriptor) -> Result<BTreeMap<String, Descriptor>, EngineError> {
        let mut all = BTreeMap::new();
        let mut pending = vec![top.clone()];
        while let Some(descriptor) = pending.pop() {
            if all.contains_key(&descriptor.digest.to_string()) {
                continue;
            }
            let below = match self.parsed(&descriptor)? {
                Document::Index(index) => {
                    pending.extend(index.manifests);
                    Vec::new()
                }
                Document::Manifest(manifest) => [manifest.layers, vec![manifest.config]].concat(),
            };
            let blobs = below.into_iter().chain([descriptor]);
            all.extend(blobs.map(|blob| (blob.digest.to_string(), blob)));
        }
        Ok(all)
    }

    /// Adds the image to a layout's directory, new or existing.
    fn write_layout_dir(
        &self,
        manifest: &Descriptor,
        blobs: &BTreeMap<String, Descriptor>,
        names: &[ImageRef],
        dir: &Path,
    ) -> Result<(), EngineError> {
        let failed = write_error("layout", dir);
        let index_path = dir.join(layout::INDEX_NAME);
        let mut index = match fs::read(&index_path) {
            Ok(bytes) => {
                kiln_image::parse_index(&bytes).map_err(image_error(&dir.display().to_string()))?
            }
            Err(_) => Index::new(Vec::new()),
        };
        fs::create_dir_all(dir.join(layout::BLOBS_DIR)).map_err(&failed)?;
        for blob in blobs.values() {
            self.write_blob_file(blob, &dir.join(layout::blob_path(&blob.digest)))?;
        }
        list(&mut index, manifest, names);
        write_file(&dir.join(layout::MARKER_NAME), layout::MARKER)?;
        write_file(&index_path, &index.to_bytes())
    }

    fn write_blob_file(&self, blob: &Descriptor, path: &Path) -> Result<(), EngineError> {
        if path.metadata().is_ok_and(|meta| meta.len() == blob.size_bytes) {
            return Ok(());
        }
        write_to(&Destination::File(path.to_owned()), |out| {
            let mut file = self.open_blob(&blob.digest)?;
            std::io::copy(&mut file, out).map_err(write_error("blob", path))?;
            Ok(())
        })
    }

    fn open_blob(&self, digest: &OciDigest) -> Result<fs::File, EngineError> {
        let digest = digest.to_string();
        let found = self.store.open_blob(&digest)?;
        found.ok_or_else(|| kiln_cache::CacheError::MissingBlob { digest }.into())
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    write_to(&Destination::File(path.to_owned()), |out| {
        out.write_all(bytes).map_err(write_error("layout", path))
    })
}

/// Lists an image under each of its names: the tag, as the specification has it, and the full name.
fn list(index: &mut Index, manifest: &Descriptor, names: &[ImageRef]) {
    if names.is_empty() {
        layout::insert(index, manifest.clone(), None);
    }
    for name in names {
        let mut image = manifest.clone();
        image.annotations.insert(layout::FULL_NAME.to_owned(), name.to_string());
        layout::insert(index, image, name.tag());
    }
}

/// A tar archive whose bytes follow from its content.
struct Archive<'w> {
    tar: tar::Builder<&'w mut dyn Write>,
}

impl<'w> Archive<'w> {
    fn new(out: &'w mut dyn Write) -> Self {
        Self { tar: tar::Builder::new(out) }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
        self.entry(name, bytes.len() as u64, bytes)
    }

    fn blob(&mut self, engine: &Engine, blob: &Descriptor) -> Result<(), EngineError> {
        self.entry(
            &layout::blob_path(&blob.digest),
            blob.size_bytes,
            engine.open_blob(&blob.digest)?,
        )
    }

    fn entry(&mut self, name: &str, size: u64, content: impl Read) -> Result<(), EngineError> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        self.tar
            .append_data(&mut header, name, content)
            .map_err(write_error("archive", Path::new(name)))
    }

    fn finish(mut self) -> Result<(), EngineError> {
        self.tar.finish().map_err(write_error("archive", Path::new("-")))
    }
}
