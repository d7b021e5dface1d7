//! Taking away what nothing in a cache's directory needs any more.
//!
//! Whoever reads a cache's directory or writes to one has a shared lock on its `blobs/` from before it looks what is
//! there until its build is over. Who ends an export tries for the lock alone, and takes away only if nobody else has
//! it. Programs that know nothing of the lock write blobs before they list them: what is young stays in any case. Where
//! a document that the index lists cannot be read, nobody knows what it needs, and all stays.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use kiln_cache::StoredBlob;
use kiln_image::{Descriptor, Document, OciDigest, media_type, parse_document};

use super::shelf::{read_file, read_index};
use crate::EngineError;

/// A blob that is younger may be about to be listed by another program.
const YOUNG: Duration = Duration::from_secs(3600);
/// What is locked, and where blobs are in it.
const BLOBS: &str = "blobs";
const SHA256: &str = "sha256";
/// How the names of files begin that have not their own yet.
const UNFINISHED: &str = ".tmp";

/// That one relies on what is in a directory, until this is dropped or ended.
pub(super) struct Stay {
    blobs: PathBuf,
    /// Locked; nothing where there is no directory yet, or none that can be locked.
    lock: Mutex<Option<File>>,
}

impl Stay {
    pub(super) fn begin(dir: &Path) -> Self {
        let stay = Self { blobs: dir.join(BLOBS), lock: Mutex::default() };
        stay.take();
        stay
    }

    /// Takes the lock if it was not to be had before.
    pub(super) fn take(&self) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_none() {
            let locked = File::open(&self.blobs).and_then(|file| file.lock_shared().map(|()| file));
            *lock = locked.ok();
        }
    }

    pub(super) fn end(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Takes away the blobs that nothing needs which the index lists; answers how many. Nothing when others use the
/// directory.
///
/// # Errors
/// When the directory cannot be read, or not all of what its index lists.
pub(super) fn tidy(dir: &Path) -> Result<usize, EngineError> {
    let blobs = dir.join(BLOBS);
    let failed = |source| EngineError::ReadFile { what: "cache", path: blobs.clone(), source };
    let lock = File::open(&blobs).map_err(failed)?;
    if lock.try_lock().is_err() {
        return Ok(0);
    }
    let Some(index) = read_index(dir)? else { return Ok(0) };
    let needed = reach(dir, index.manifests)?;
    let mut count = 0;
    for entry in fs::read_dir(blobs.join(SHA256)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let goes = match format!("sha256:{name}").parse::<OciDigest>() {
            Ok(digest) => !needed.contains(&digest),
            Err(_) => name.starts_with(UNFINISHED),
        };
        if goes && is_old(&entry) && fs::remove_file(entry.path()).is_ok() {
            count += 1;
        }
    }
    Ok(count)
}

fn is_old(entry: &fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|meta| meta.modified());
    let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age > YOUNG)
}

/// All blobs that documents need, themselves among them. Those of an index that are not there are of platforms that
/// nobody wanted.
fn reach(dir: &Path, listed: Vec<Descriptor>) -> Result<BTreeSet<OciDigest>, EngineError> {
    let mut needed = BTreeSet::new();
    let mut todo = listed;
    while let Some(descriptor) = todo.pop() {
        if !needed.insert(descriptor.digest) || !is_document(&descriptor.media_type) {
            continue;
        }
        let digest = descriptor.digest.to_string();
        let blob = StoredBlob { digest: digest.clone(), size_bytes: descriptor.size_bytes };
        let bytes = match read_file(dir, &blob) {
            Err(EngineError::ReadFile { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                continue;
            }
            bytes => bytes?,
        };
        let document = parse_document(&bytes, &descriptor.media_type);
        match document.map_err(crate::origin::image_error(&digest))? {
            Document::Manifest(manifest) => {
                todo.push(manifest.config);
                todo.extend(manifest.layers);
            }
            Document::Index(index) => todo.extend(index.manifests),
        }
    }
    Ok(needed)
}

fn is_document(media_type: &str) -> bool {
    [
        media_type::OCI_MANIFEST,
        media_type::OCI_INDEX,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_INDEX,
    ]
    .contains(&media_type)
}
