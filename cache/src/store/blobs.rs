//! Blobs of OCI images, in the layout's `blobs/sha256/`.
//!
//! A blob is written in the process's staging directory, hashed as it is written, and renamed under its
//! digest; one that has its name was whole and right when it got it. Digests are texts here, because OCI
//! documents belong to another crate, and are checked before they are part of any path.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use rusqlite::params;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::claims::blob_thing;
use super::{Store, create_directory, signed};
use crate::CacheError;

/// What every blob's digest starts with.
const ALGORITHM: &str = "sha256:";
/// The content of the layout's own file.
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A blob that is in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredBlob {
    /// `sha256:…`.
    pub digest: String,
    /// Its size.
    pub size_bytes: u64,
}

impl Store {
    /// Where the blob with this digest is, or would be.
    ///
    /// # Errors
    /// When the text is not a digest.
    pub fn blob_path(&self, digest: &str) -> Result<PathBuf, CacheError> {
        Ok(self.blobs_dir().join(digits(digest)?))
    }

    /// Whether the blob is here. If it is, no collection takes it as long as this process has the store
    /// open; the same goes for a blob that was opened or written.
    ///
    /// # Errors
    /// When the text is not a digest, or the file cannot be looked at.
    pub fn has_blob(&self, digest: &str) -> Result<bool, CacheError> {
        let path = self.blob_path(digest)?;
        let found = self.claims.claim(&blob_thing(digest)?, || path.try_exists())?;
        found.map_err(CacheError::io("look for the blob", &path))
    }

    /// Opens the blob, if it is here.
    ///
    /// # Errors
    /// When the text is not a digest, or the file cannot be opened.
    pub fn open_blob(&self, digest: &str) -> Result<Option<File>, CacheError> {
        let path = self.blob_path(digest)?;
        match self.claims.claim(&blob_thing(digest)?, || File::open(&path))? {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CacheError::io("open the blob", &path)(error)),
        }
    }

    /// Reads a whole blob of at most `limit_bytes`: a manifest or a config.
    ///
    /// # Errors
    /// [`CacheError::MissingBlob`], [`CacheError::BlobSize`] past the limit, or a failure to read.
    pub fn read_blob(&self, digest: &str, limit_bytes: u64) -> Result<Vec<u8>, CacheError> {
        let missing = || CacheError::MissingBlob { digest: digest.to_owned() };
        let file = self.open_blob(digest)?.ok_or_else(missing)?;
        let mut bytes = Vec::new();
        let read = file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes);
        let found_bytes =
            read.map_err(CacheError::io("read the blob", self.blob_path(digest)?))? as u64;
        if found_bytes > limit_bytes {
            let digest = digest.to_owned();
            return Err(CacheError::BlobSize { digest, expected_bytes: limit_bytes, found_bytes });
        }
        Ok(bytes)
    }

    /// Starts a blob whose digest is not known yet.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn blob_writer(&self) -> Result<BlobWriter<'_>, CacheError> {
        BlobWriter::start(self, None)
    }

    /// Starts a blob that was promised: neither other bytes nor more of them are taken.
    ///
    /// # Errors
    /// When the text is not a digest, or the file cannot be made.
    pub fn blob_writer_for(
        &self,
        digest: &str,
        size_bytes: u64,
    ) -> Result<BlobWriter<'_>, CacheError> {
        digits(digest)?;
        BlobWriter::start(self, Some(StoredBlob { digest: digest.to_owned(), size_bytes }))
    }

    /// Stores bytes as a blob, if it is not here.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<StoredBlob, CacheError> {
        let digest = digest_of_bytes(bytes);
        if self.has_blob(&digest)? {
            return Ok(StoredBlob { digest, size_bytes: bytes.len() as u64 });
        }
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(CacheError::io("write the blob", &writer.path))?;
        writer.finish()
    }

    pub(super) fn blobs_dir(&self) -> PathBuf {
        self.root.join("oci/blobs/sha256")
    }

    /// Makes the layout's fixed parts if they are absent; `index.json` follows the images table.
    pub(super) fn ensure_layout(&self) -> Result<(), CacheError> {
        create_directory(&self.blobs_dir())?;
        let marker = self.root.join("oci/oci-layout");
        if marker.is_file() {
            return Ok(());
        }
        self.replace(&marker, LAYOUT)
    }

    /// Gives a file new content, at once and whole.
    pub(super) fn replace(&self, path: &std::path::Path, bytes: &[u8]) -> Result<(), CacheError> {
        let staged = self.lease.fresh_path("file");
        std::fs::write(&staged, bytes).map_err(CacheError::io("write", &staged))?;
        std::fs::rename(&staged, path).map_err(CacheError::io("put in place", path))
    }
}

/// A blob being written. Dropped before [`finish`](Self::finish), it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'store> {
    store: &'store Store,
    promised: Option<StoredBlob>,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    size_bytes: u64,
}

impl<'store> BlobWriter<'store> {
    fn start(store: &'store Store, promised: Option<StoredBlob>) -> Result<Self, CacheError> {
        let path = store.lease.fresh_path("blob");
        let file = File::create_new(&path).map_err(CacheError::io("create", &path))?;
        Ok(Self { store, promised, path, file, hasher: Sha256::new(), size_bytes: 0 })
    }

    /// How many bytes were written.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Checks what was written against what was promised and gives the blob its name.
    ///
    /// # Errors
    /// [`CacheError::BlobSize`] and [`CacheError::BlobMismatch`] when it is not what was promised, and
    /// failures of the rename and the database.
    pub fn finish(self) -> Result<StoredBlob, CacheError> {
        let found = format!("{ALGORITHM}{}", hexadecimal(&self.hasher.clone().finalize()));
        if let Some(StoredBlob { digest, size_bytes }) = &self.promised {
            let (digest, expected_bytes) = (digest.clone(), *size_bytes);
            if self.size_bytes != expected_bytes {
                let found_bytes = self.size_bytes;
                return Err(CacheError::BlobSize { digest, expected_bytes, found_bytes });
            }
            if found != digest {
                return Err(CacheError::BlobMismatch { expected: digest, found });
            }
        }
        let path = self.store.blob_path(&found)?;
        // Claimed before it has its name: nobody takes it before something points to it.
        let renamed =
            self.store.claims.claim(&blob_thing(&found)?, || std::fs::rename(&self.path, &path))?;
        renamed.map_err(CacheError::io("put in place", &path))?;
        self.store.db.publish("note a blob", |transaction, epoch| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO blobs VALUES (?1, ?2, ?3)")?
                .execute(params![found, signed(self.size_bytes), epoch])
        })?;
        Ok(StoredBlob { digest: found, size_bytes: self.size_bytes })
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(StoredBlob { digest, size_bytes }) = &self.promised {
            let found_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
            if found_bytes > *size_bytes {
                let (digest, expected_bytes) = (digest.clone(), *size_bytes);
                return Err(io::Error::other(CacheError::BlobSize {
                    digest,
                    expected_bytes,
                    found_bytes,
                }));
            }
        }
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        // After `finish` the name is gone; otherwise what stays goes with the staging directory.
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %self.path.display(), %error, "unfinished blob not deleted");
        }
    }
}

/// Whether a text is the digest of a blob.
pub(crate) fn is_blob_digest(text: &str) -> bool {
    digits(text).is_ok()
}

/// The 64 digits of a blob's digest, safe as a file name.
pub(super) fn digits(digest: &str) -> Result<&str, CacheError> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digest
        .strip_prefix(ALGORITHM)
        .filter(|digits| digits.len() == 64 && digits.bytes().all(is_digit))
        .ok_or_else(|| CacheError::BlobDigest { text: digest.to_owned() })
}

/// The digest of a file with these digits as its name.
pub(super) fn digest_of_name(name: &str) -> Option<String> {
    let digest = format!("{ALGORITHM}{name}");
    digits(&digest).is_ok().then_some(digest)
}

fn digest_of_bytes(bytes: &[u8]) -> String {
    format!("{ALGORITHM}{}", hexadecimal(&Sha256::digest(bytes)))
}

/// The digest of all that a reader gives.
pub(super) fn digest_of(mut reader: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(format!("{ALGORITHM}{}", hexadecimal(&hasher.finalize()))),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
