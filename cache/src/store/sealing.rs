//! The store's own key, for digests of what must not be guessed.
//!
//! `seal` holds 32 random bytes, for its owner alone. A digest under this key (BLAKE3's keyed mode) says whether
//! two values are the same, and to whoever lacks the key nothing else. Values themselves are never written. A
//! store without the file gets one when it is first needed; with another key, sealed values count as changed.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use kiln_ir::Digest;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::Store;
use crate::CacheError;

/// Where the kernel gives random bytes.
const RANDOM: &str = "/dev/urandom";
const KEY_BYTES: usize = 32;

/// The store's key. It is shown to nobody, not even by `Debug`.
#[derive(Clone)]
pub struct Seal([u8; KEY_BYTES]);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// The digest of `value`, which is one of `sort`: the same value is another digest as another sort.
    #[must_use]
    pub fn digest(&self, sort: &str, value: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&(sort.len() as u64).to_le_bytes());
        hasher.update(sort.as_bytes());
        hasher.update(value);
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }
}

impl Store {
    /// The store's key, made if there is none.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn seal(&self) -> Result<Seal, CacheError> {
        let path = self.seal_path();
        match read(&path)? {
            Some(seal) => Ok(seal),
            None => {
                self.make_seal()?;
                read(&path)?.ok_or_else(|| {
                    CacheError::io("read", &path)(std::io::Error::from(
                        std::io::ErrorKind::InvalidData,
                    ))
                })
            }
        }
    }

    fn seal_path(&self) -> PathBuf {
        self.root.join("seal")
    }

    /// Puts a new key in place; of two processes that do so one is first.
    fn make_seal(&self) -> Result<(), CacheError> {
        let (path, staged) = (self.seal_path(), self.lease.fresh_path("seal"));
        let mut key = [0; KEY_BYTES];
        File::open(RANDOM)
            .and_then(|mut random| random.read_exact(&mut key))
            .map_err(CacheError::io("read", RANDOM))?;
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&staged)
            .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
            .map_err(CacheError::io("write", &staged))?;
        // A torn one, as after a loss of power, sealed nothing that is still believed.
        let flags = if path.exists() { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, &staged, CWD, &path, flags) {
            Err(Errno::EXIST) => Ok(()),
            other => other.map_err(CacheError::io("put in place", &path)),
        }
    }
}

/// The key in a file; nothing when there is none, or not all of it.
fn read(path: &std::path::Path) -> Result<Option<Seal>, CacheError> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let key = <[u8; KEY_BYTES]>::try_from(bytes).ok();
            // What a loss of power may leave in place of a file's bytes.
            Ok(key.filter(|key| *key != [0; KEY_BYTES]).map(Seal))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CacheError::io("read", path)(error)),
    }
}
