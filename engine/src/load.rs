//! Images that come as archives and go as archives: `load` and `save`.
//!
//! An archive is read entry by entry into the store's staging area, under the limits of any archive from
//! outside; what it says of its blobs is checked against their digests before anything is named.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kiln_cache::ImageRow;
use kiln_image::docker_archive::{self, SavedImage};
use kiln_image::layer::{ArchiveFormat, SNIFF_BYTES};
use kiln_image::layer::{Compression, EntryKind, Limits, Purpose, entries};
use kiln_image::{
    Descriptor, Document, ImageRef, MAX_DOCUMENT_BYTES, Manifest, OciDigest, layout, media_type,
    parse_config, parse_document, parse_index,
};

use crate::export::Destination;
use crate::origin::image_error;
use crate::{Engine, EngineError};

/// How many indexes may lie one in another.
const MAX_INDEXES: usize = 8;

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// Its names; none when the archive gave none.
    pub names: Vec<ImageRef>,
    /// The manifest or index.
    pub manifest: OciDigest,
}

/// The files of an archive, by their names in it.
struct Files {
    /// What messages call the archive.
    archive: String,
    /// Removed with all that is in it.
    _dir: tempfile::TempDir,
    files: BTreeMap<Vec<u8>, PathBuf>,
}

impl Engine {
    /// Puts the images of an archive into the store: of an OCI layout, or of what `docker save` writes,
    /// compressed or not.
    ///
    /// # Errors
    /// When the archive cannot be read, or holds no image.
    pub fn load(&self, archive: &str, reader: impl Read) -> Result<Vec<LoadedImage>, EngineError> {
        let files = self.unpack_files(archive, reader)?;
        if let Some(index) = files.document(layout::INDEX_NAME)? {
            return self.load_layout(&files, &index);
        }
        if let Some(list) = files.document(docker_archive::MANIFEST_NAME)? {
            let saved = docker_archive::parse(&list).map_err(image_error(archive))?;
            return saved.iter().map(|image| self.load_saved(&files, image)).collect();
        }
        Err(EngineError::Archive {
            archive: archive.to_owned(),
            reason: "it holds neither an OCI layout nor what `docker save` writes".to_owned(),
        })
    }

    /// Writes images with all their names as an archive for `docker load`.
    ///
    /// # Errors
    /// When there is no such image, or the archive cannot be written.
    pub fn save(&self, references: &[String], dest: &Destination) -> Result<(), EngineError> {
        let mut images = Vec::new();
        for reference in references {
            let (name, row) = self.find_row(reference)?;
            let bytes = self.store.read_blob(&row.manifest, MAX_DOCUMENT_BYTES)?;
            let descriptor = Descriptor::of(&row.media_type, &bytes);
            // Asked for by digest, it goes with all its names; by a name, with that.
            let names = match name.parse() {
                Ok(name) => vec![name],
                Err(_) => self.names_of(&row.manifest)?,
            };
            images.push((descriptor, names));
        }
        self.write_docker(&images, dest)
    }

    fn unpack_files(&self, archive: &str, reader: impl Read) -> Result<Files, EngineError> {
        let failed = |error: kiln_image::layer::LayerError| EngineError::Archive {
            archive: archive.to_owned(),
            reason: crate::error::chain(&error),
        };
        let staging = self.store.staging_dir();
        let dir = tempfile::tempdir_in(staging).map_err(write_error(staging))?;
        let mut files = BTreeMap::new();
        let mut links = Vec::new();
        let mut reader = entries(reader, Purpose::Archive, Limits::default()).map_err(failed)?;
        while let Some(entry) = reader.next_entry().map_err(failed)? {
            match entry.kind {
                EntryKind::File { mut content, .. } => {
                    let path = dir.path().join(files.len().to_string());
                    let mut file = File::create(&path).map_err(write_error(&path))?;
                    io::copy(&mut content, &mut file).map_err(write_error(&path))?;
                    files.insert(entry.path, path);
                }
                // Older versions of Docker save a layer once and link to it.
                EntryKind::Symlink { target } => {
                    links.push((relative(&entry.path, &target), entry.path))
                }
                EntryKind::Hardlink { target } => links.push((target, entry.path)),
                EntryKind::Dir
                | EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Fifo
                | EntryKind::Whiteout
                | EntryKind::OpaqueMarker => {}
            }
        }
        for (target, name) in links {
            if let Some(path) = files.get(&target).cloned() {
                files.insert(name, path);
            }
        }
        Ok(Files { archive: archive.to_owned(), _dir: dir, files })
    }

    fn load_layout(&self, files: &Files, index: &[u8]) -> Result<Vec<LoadedImage>, EngineError> {
        let index = parse_index(index).map_err(image_error(&files.archive))?;
        let mut loaded: BTreeMap<OciDigest, LoadedImage> = BTreeMap::new();
        let mut known = BTreeMap::new();
        for descriptor in &index.manifests {
            let (size_bytes, created_ms) = self.load_image(files, descriptor, &mut known, 0)?;
            let row = ImageRow {
                manifest: descriptor.digest.to_string(),
                media_type: descriptor.media_type.clone(),
                manifest_size_bytes: descriptor.size_bytes,
                size_bytes,
                created_ms,
            };
            let names = name_of(descriptor).into_iter().collect::<Vec<_>>();
            self.keep_row(&row, &names)?;
            let manifest = descriptor.digest;
            let image =
                loaded.entry(manifest).or_insert(LoadedImage { names: Vec::new(), manifest });
            image.names.extend(names);
        }
        Ok(loaded.into_values().collect())
    }

    /// Stores an image or index with all below it; answers the blobs' size and the time it was made. `known`
    /// has the answers for what was seen before, `depth` counts the indexes above.
    fn load_image(
        &self,
        files: &Files,
        descriptor: &Descriptor,
        known: &mut BTreeMap<OciDigest, (u64, i64)>,
        depth: usize,
    ) -> Result<(u64, i64), EngineError> {
        if let Some(answer) = known.get(&descriptor.digest) {
            return Ok(*answer);
        }
        if depth > MAX_INDEXES {
            return Err(files.broken("its indexes are nested too deep"));
        }
        let bytes = self.load_blob(files, descriptor)?;
        let document =
            parse_document(&bytes, &descriptor.media_type).map_err(image_error(&files.archive))?;
        let answer = match document {
            Document::Index(index) => {
                let (mut size, mut latest) = (descriptor.size_bytes, 0);
                for manifest in &index.manifests {
                    let (part, created) = self.load_image(files, manifest, known, depth + 1)?;
                    size = size.saturating_add(part);
                    latest = latest.max(created);
                }
                (size, latest)
            }
            Document::Manifest(manifest) => {
                let config = self.load_blob(files, &manifest.config)?;
                let mut size = descriptor.size_bytes + manifest.config.size_bytes;
                for layer in &manifest.layers {
                    files.store_blob(self, layer)?;
                    size += layer.size_bytes;
                }
                (size, created(&config))
            }
        };
        known.insert(descriptor.digest, answer);
        Ok(answer)
    }

    fn load_blob(&self, files: &Files, blob: &Descriptor) -> Result<Vec<u8>, EngineError> {
        files.store_blob(self, blob)?;
        Ok(self.store.read_blob(&blob.digest.to_string(), MAX_DOCUMENT_BYTES)?)
    }

    /// An image of `docker save`'s older form, which has no manifest of its own.
    fn load_saved(&self, files: &Files, saved: &SavedImage) -> Result<LoadedImage, EngineError> {
        let config = files.document(&saved.config)?.ok_or_else(|| files.lacks(&saved.config))?;
        let parsed = parse_config(&config).map_err(image_error(&files.archive))?;
        if parsed.rootfs.diff_ids.len() != saved.layers.len() {
            return Err(files.broken("its config and its list name different numbers of layers"));
        }
        self.store.put_blob(&config)?;
        let mut layers = Vec::with_capacity(saved.layers.len());
        for name in &saved.layers {
            let mut file = files.open(name)?;
            let mut writer = self.store.blob_writer()?;
            io::copy(&mut file, &mut writer).map_err(write_error(Path::new(name)))?;
            let blob = writer.finish()?;
            let digest = blob.digest.parse().map_err(image_error(&files.archive))?;
            layers.push(Descriptor::new(files.layer_type(name)?, digest, blob.size_bytes));
        }
        let config = Descriptor::of(media_type::OCI_CONFIG, &config);
        let size: u64 = layers.iter().map(|layer| layer.size_bytes).sum();
        let bytes = Manifest::new(config, layers).to_bytes();
        self.store.put_blob(&bytes)?;
        let manifest = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        let names: Vec<ImageRef> =
            saved.repo_tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        let row = ImageRow {
            manifest: manifest.digest.to_string(),
            media_type: manifest.media_type.clone(),
            manifest_size_bytes: manifest.size_bytes,
            size_bytes: size + manifest.size_bytes,
            created_ms: crate::export::base_time(&parsed),
        };
        self.keep_row(&row, &names)?;
        Ok(LoadedImage { names, manifest: manifest.digest })
    }
}

impl Files {
    fn open(&self, name: &str) -> Result<File, EngineError> {
        let path = self.files.get(name.as_bytes()).ok_or_else(|| self.lacks(name))?;
        File::open(path).map_err(|source| EngineError::ReadFile {
            what: "unpacked archive",
            path: path.clone(),
            source,
        })
    }

    /// A small file; nothing when the archive does not have it.
    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, EngineError> {
        if !self.files.contains_key(name.as_bytes()) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.open(name)?
            .take(MAX_DOCUMENT_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(write_error(Path::new(name)))?;
        Ok(Some(bytes))
    }

    /// Copies a blob of the layout into the store, checked against its digest.
    fn store_blob(&self, engine: &Engine, blob: &Descriptor) -> Result<(), EngineError> {
        let digest = blob.digest.to_string();
        if engine.store.has_blob(&digest)? {
            return Ok(());
        }
        let mut file = self.open(&layout::blob_path(&blob.digest))?;
        let mut writer = engine.store.blob_writer_for(&digest, blob.size_bytes)?;
        io::copy(&mut file, &mut writer).map_err(write_error(Path::new(&digest)))?;
        writer.finish()?;
        Ok(())
    }

    /// How a layer is compressed, from its first bytes.
    fn layer_type(&self, name: &str) -> Result<&'static str, EngineError> {
        let mut first = Vec::new();
        self.open(name)?
            .take(SNIFF_BYTES as u64)
            .read_to_end(&mut first)
            .map_err(write_error(Path::new(name)))?;
        match ArchiveFormat::of(&first) {
            ArchiveFormat::Plain => Ok(Compression::None.media_type()),
            ArchiveFormat::Gzip => Ok(Compression::Gzip.media_type()),
            ArchiveFormat::Zstd => Ok(Compression::Zstd.media_type()),
            ArchiveFormat::Bzip2 | ArchiveFormat::Xz => {
                Err(self.broken("a layer is compressed in a way that no image may use"))
            }
        }
    }

    fn lacks(&self, name: &str) -> EngineError {
        self.broken(&format!("it lacks the file `{name}` that it names"))
    }

    fn broken(&self, reason: &str) -> EngineError {
        EngineError::Archive { archive: self.archive.clone(), reason: reason.to_owned() }
    }
}

/// The name that a layout gives an image, where it is a whole one and not a tag alone.
fn name_of(descriptor: &Descriptor) -> Option<ImageRef> {
    let full = descriptor.annotations.get(layout::FULL_NAME);
    let name = full.or_else(|| {
        descriptor.annotations.get(layout::REF_NAME).filter(|name| name.contains([':', '/']))
    });
    name.and_then(|name| name.parse().ok())
}

fn created(config: &[u8]) -> i64 {
    parse_config(config).map_or(0, |config| crate::export::base_time(&config))
}

/// What a link in an archive leads to, by the archive's own names.
fn relative(link: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = link.split(|&byte| byte == b'/').collect();
    parts.pop();
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join(&b'/')
}

fn write_error(path: &Path) -> impl Fn(io::Error) -> EngineError + use<'_> {
    crate::export::write_error("unpacked archive", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_inside_the_archive() {
        assert_eq!(relative(b"a/layer.tar", b"../b/layer.tar"), b"b/layer.tar");
        assert_eq!(relative(b"layer.tar", b"../../x"), b"x");
    }
}
