//! Copies that are made while a file is hashed.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use kiln_ir::Digest;
use rustix::fd::{AsFd, OwnedFd};

use super::super::ahead::{AHEAD_MIN_BYTES, AheadCopy, Copying};
use super::super::{Known, NewFile, digest_file_showing};
use super::{Home, TIME};
use crate::CacheError;
use crate::stat::StatKey;
use crate::tree::Meta;

/// A large file beside a store.
struct Large {
    home: Home,
    path: PathBuf,
    digest: Digest,
}

impl Large {
    fn new() -> Self {
        let home = Home::new();
        let path = home.dir.path().join("source");
        let bytes: Vec<u8> = (0..AHEAD_MIN_BYTES + 1000).map(|at| ((at * at) >> 9) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        Self { home, path, digest: Digest::of(&bytes) }
    }

    fn open(&self) -> File {
        File::open(&self.path).unwrap()
    }

    fn begin(&self) -> Option<Copying> {
        self.home.store.copy_ahead(self.open().as_fd())
    }

    fn copy(&self) -> AheadCopy {
        let (file, copying) = (self.open(), self.begin().unwrap());
        let key = StatKey::now(&file).unwrap();
        let show = |at, bytes: &[u8]| copying.put(at, bytes);
        let digest = digest_file_showing(&file, key.size_bytes, &show).unwrap();
        copying.finish(key, digest).unwrap()
    }

    /// A layer of the file, of which so much is known and a copy was made; its digest there.
    fn layer(&self, known: Known, ahead: AheadCopy) -> Result<Digest, CacheError> {
        let mut writer = self.home.store.writer(&[])?;
        let new = NewFile {
            path: b"f".to_vec(),
            meta: Meta { uid: 0, gid: 0, ..Meta::of_root(0o4751) },
            mtime: TIME,
            source: Vec::new(),
            known,
            ahead: Some(ahead.into()),
        };
        writer.files_parallel(vec![new], &|_| Ok(OwnedFd::from(self.open())))?;
        let layer = writer.finish()?;
        let path = self.home.store.path(&layer).join("f");
        let stat = fs::metadata(&path).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o4751, TIME.secs));
        assert!(fs::read(&path).unwrap() == fs::read(&self.path).unwrap());
        let manifest = self.home.store.manifest(&layer)?;
        Ok(manifest.get(b"f").unwrap().node.file().unwrap().0)
    }

    fn held(&self) -> usize {
        self.home.store.0.held.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// It is in the layer itself: what is said to be known of the file is not looked at.
#[test]
fn a_copy_made_ahead_is_given_a_name() {
    let large = Large::new();
    let lie = Known::Expected(Digest::of(b"lie"));
    let copy = large.copy();
    assert_eq!((large.home.staged(), large.held()), (0, 1), "it has no name yet");
    assert_eq!(large.layer(lie, copy).unwrap(), large.digest);
    assert_eq!((large.home.staged(), large.held()), (0, 0));
}

#[test]
fn a_copy_of_what_has_changed_since_is_not_taken() {
    let large = Large::new();
    let copy = large.copy();
    fs::write(&large.path, vec![7; AHEAD_MIN_BYTES as usize]).unwrap();
    let other = Digest::of(&vec![7; AHEAD_MIN_BYTES as usize]);
    let error = large.layer(Known::Expected(large.digest), copy).unwrap_err();
    assert!(matches!(error, CacheError::Changed { .. }), "{error:?}");
    let touched = large.copy();
    File::open(&large.path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(large.layer(Known::Expected(other), touched).unwrap(), other);
    assert_eq!((large.home.staged(), large.held()), (0, 0));
}

#[test]
fn a_copy_that_nobody_takes_leaves_nothing() {
    let large = Large::new();
    drop(large.copy());
    let copying = large.begin().unwrap();
    copying.put(0, b"and no more");
    drop(copying);
    assert_eq!((large.home.staged(), large.held()), (0, 0));
}

#[test]
fn a_copy_is_handed_out_once() {
    let large = Large::new();
    let copy = large.copy();
    let taken = copy.take_for(large.open().as_fd());
    assert_eq!(taken.as_ref().unwrap().1, (large.digest, AHEAD_MIN_BYTES + 1000));
    assert!(copy.take_for(large.open().as_fd()).is_none());
    assert_eq!(large.held(), 1);
}

#[test]
fn what_cannot_be_written_is_no_copy() {
    let large = Large::new();
    let copying = large.begin().unwrap();
    copying.put(0, b"some");
    // No file reaches so far.
    copying.put(i64::MAX as u64 - 2, b"more");
    copying.put(4, b"and some");
    let key = StatKey::now(large.open()).unwrap();
    assert!(copying.finish(key, large.digest).is_none());
    assert_eq!(large.held(), 0);
}

#[test]
fn sparse_files_and_too_many_are_not_copied_ahead() {
    let large = Large::new();
    let sparse = large.home.dir.path().join("sparse");
    File::create(&sparse).unwrap().set_len(AHEAD_MIN_BYTES).unwrap();
    let sparse = File::open(sparse).unwrap();
    assert!(large.home.store.copy_ahead(sparse.as_fd()).is_none());
    let copies: Vec<Copying> = std::iter::from_fn(|| large.begin()).take(1000).collect();
    assert_eq!((copies.len(), large.held()), (64, 64));
    drop(copies);
    assert!(large.begin().is_some());
}
