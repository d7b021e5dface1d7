//! The places themselves: repositories of registries, and directories.
//!
//! A directory is an OCI layout. Its blobs and its index get their names by rename; whoever changes the index
//! holds a lock on the directory, so that several builds may write to one.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write as _};
use std::path::{Path, PathBuf};

use kiln_cache::{MAX_PORTABLE_BYTES, StoredBlob};
use kiln_image::{
    Descriptor, Document, ImageRef, Index, MAX_DOCUMENT_BYTES, OciDigest, layout, media_type,
    parse_document, parse_index,
};
use kiln_registry::{Client, Pushed, RegistryError, Upload};

use super::CachePlace;
use super::tidy::Stay;
use crate::export::write_error;
use crate::origin::{Origin, blob_path, image_error};
use crate::{Engine, EngineError};

/// What a blob is read from.
pub(super) trait Content: Read + Seek {}

impl<T: Read + Seek> Content for T {}

/// A place, opened.
pub(super) enum Shelf<'e> {
    Registry(&'e Client, ImageRef),
    Directory(PathBuf, String, Stay),
}

impl<'e> Shelf<'e> {
    pub(super) fn open(engine: &'e Engine, place: &CachePlace) -> Result<Self, EngineError> {
        Ok(match place {
            CachePlace::Registry(name) => Self::Registry(engine.registry()?, name.clone()),
            CachePlace::Directory { dir, tag } => {
                Self::Directory(dir.clone(), tag.clone(), Stay::begin(dir))
            }
        })
    }

    /// That one relies on what is in it, of a directory.
    pub(super) fn stay(&self) -> Option<&Stay> {
        match self {
            Self::Registry(..) => None,
            Self::Directory(_, _, stay) => Some(stay),
        }
    }

    /// Where blobs of it are had.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Registry(_, name) => Origin::Registry(name.clone()),
            Self::Directory(dir, ..) => Origin::Layout(dir.clone()),
        }
    }

    /// What is there; nothing when there is no such name.
    pub(super) fn document(&self) -> Result<Option<Document>, EngineError> {
        match self {
            Self::Registry(client, name) => match client.resolve(name) {
                Ok(found) => Ok(Some(found.document)),
                Err(RegistryError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::Directory(dir, tag, _) => {
                let Some(index) = read_index(dir)? else { return Ok(None) };
                let Ok(found) = layout::select(&index, Some(tag)) else { return Ok(None) };
                Ok(Some(self.listed(found)?))
            }
        }
    }

    /// A document that another one names.
    pub(super) fn listed(&self, descriptor: &Descriptor) -> Result<Document, EngineError> {
        match self {
            Self::Registry(client, name) => Ok(client.manifest(name, &descriptor.digest)?.document),
            Self::Directory(dir, ..) => {
                let id = descriptor.digest.to_string();
                let blob = StoredBlob { digest: id.clone(), size_bytes: descriptor.size_bytes };
                let bytes = read_file(dir, &blob)?;
                parse_document(&bytes, &descriptor.media_type).map_err(image_error(&id))
            }
        }
    }

    /// A blob of it that fits into memory, checked against its digest.
    pub(super) fn read(&self, blob: &StoredBlob) -> Result<Vec<u8>, EngineError> {
        match self {
            Self::Registry(client, name) => fetch_small(client, name, blob),
            Self::Directory(dir, ..) => read_file(dir, blob),
        }
    }

    /// Puts a blob there, unless it is there. `also_in` is a repository of the same registry that has it.
    pub(super) fn put(
        &self,
        blob: &Descriptor,
        content: &mut dyn Content,
        also_in: Option<&str>,
    ) -> Result<Pushed, EngineError> {
        match self {
            Self::Registry(client, name) => {
                let content = &mut &mut *content;
                let progress = &|_| {};
                Ok(client.push_blob(Upload { image: name, blob, content, also_in, progress })?)
            }
            Self::Directory(dir, _, stay) => {
                make_place(&blob_path(dir, &blob.digest))?;
                stay.take();
                put_file(dir, blob, content)
            }
        }
    }

    /// Whether a blob that was there is still there, where that is easily told. A registry keeps what one of its
    /// manifests names.
    pub(super) fn still_has(&self, blob: &StoredBlob) -> bool {
        match self {
            Self::Registry(..) => true,
            Self::Directory(dir, ..) => {
                blob.digest.parse().is_ok_and(|id| has_size(&blob_path(dir, &id), blob.size_bytes))
            }
        }
    }

    /// Gives a manifest, all of whose blobs are there, the place's name.
    pub(super) fn publish(&self, manifest: &[u8]) -> Result<(), EngineError> {
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, manifest);
        match self {
            Self::Registry(client, name) => {
                client.push_manifest(name, media_type::OCI_MANIFEST, manifest)?;
            }
            Self::Directory(dir, tag, _) => {
                put_file(dir, &descriptor, &mut io::Cursor::new(manifest))?;
                list(dir, tag, descriptor)?;
            }
        }
        Ok(())
    }
}

/// A blob that fits into memory, checked against its digest.
pub(super) fn read_small(
    engine: &Engine,
    origin: &Origin,
    blob: &StoredBlob,
) -> Result<Vec<u8>, EngineError> {
    match origin {
        Origin::Registry(name) => fetch_small(engine.registry()?, name, blob),
        Origin::Layout(dir) => read_file(dir, blob),
        Origin::Store => Ok(engine.store.read_blob(&blob.digest, blob.size_bytes)?),
    }
}

fn fetch_small(
    client: &Client,
    name: &ImageRef,
    blob: &StoredBlob,
) -> Result<Vec<u8>, EngineError> {
    check_size(blob)?;
    let id = blob.digest.parse().map_err(image_error(&blob.digest))?;
    let descriptor = Descriptor::new("", id, blob.size_bytes);
    let mut bytes = Vec::new();
    client.fetch_blob(name, &descriptor, &mut bytes, &|_| {})?;
    Ok(bytes)
}

fn check_size(blob: &StoredBlob) -> Result<(), EngineError> {
    if blob.size_bytes <= MAX_PORTABLE_BYTES as u64 {
        return Ok(());
    }
    let reason = format!("it has more than {MAX_PORTABLE_BYTES} bytes");
    Err(EngineError::Archive { archive: blob.digest.clone(), reason })
}

pub(super) fn read_file(dir: &Path, blob: &StoredBlob) -> Result<Vec<u8>, EngineError> {
    check_size(blob)?;
    let id: OciDigest = blob.digest.parse().map_err(image_error(&blob.digest))?;
    let path = blob_path(dir, &id);
    let failed = |source| EngineError::ReadFile { what: "blob", path: path.clone(), source };
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(failed)?;
    file.take(blob.size_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if OciDigest::of(&bytes) != id {
        let reason = "its bytes have another digest".to_owned();
        return Err(EngineError::Archive { archive: blob.digest.clone(), reason });
    }
    Ok(bytes)
}

/// The index of a layout; nothing where there is none.
pub(super) fn read_index(dir: &Path) -> Result<Option<Index>, EngineError> {
    let path = dir.join(layout::INDEX_NAME);
    let failed = |source| EngineError::ReadFile { what: "index", path: path.clone(), source };
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    parse_index(&bytes).map(Some).map_err(image_error(&dir.display().to_string()))
}

fn has_size(path: &Path, size_bytes: u64) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == size_bytes)
}

fn put_file(
    dir: &Path,
    blob: &Descriptor,
    content: &mut dyn Content,
) -> Result<Pushed, EngineError> {
    let path = blob_path(dir, &blob.digest);
    if has_size(&path, blob.size_bytes) {
        return Ok(Pushed::Present);
    }
    content.rewind().map_err(write_error("blob", &path))?;
    replace(&path, |file| io::copy(content, file).map(drop))?;
    Ok(Pushed::Sent)
}

/// Writes a file that has its name when it is whole.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), EngineError> {
    let failed = write_error("cache", path);
    let dir = make_place(path)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(&failed)?;
    write(file.as_file_mut()).map_err(&failed)?;
    crate::export::publish(file, path)
}

/// Makes the directory in which a file is to be.
fn make_place(path: &Path) -> Result<&Path, EngineError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(write_error("cache", path))?;
    Ok(dir)
}

/// Lists a manifest under a tag.
fn list(dir: &Path, tag: &str, manifest: Descriptor) -> Result<(), EngineError> {
    let lock = File::open(dir).and_then(|lock| lock.lock().map(|()| lock));
    let _lock = lock.map_err(write_error("cache", dir))?;
    let marker = dir.join(layout::MARKER_NAME);
    if !marker.is_file() {
        replace(&marker, |file| file.write_all(layout::MARKER))?;
    }
    let mut index = read_index(dir)?.unwrap_or_else(|| Index::new(Vec::new()));
    layout::insert(&mut index, manifest, Some(tag));
    replace(&dir.join(layout::INDEX_NAME), |file| file.write_all(&index.to_bytes()))
}
