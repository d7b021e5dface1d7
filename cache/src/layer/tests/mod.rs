//! Layers made and read on the real filesystem.

mod ahead;
mod commit;
mod overlay;
mod remove;
mod writer;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kiln_ir::Digest;
use tempfile::TempDir;

use super::LayerStore;
use crate::tree::{Meta, Mtime};

pub(super) const TIME: Mtime = Mtime { secs: 1_600_000_000, nanos: 123_456_789 };

/// A store of layers in a directory of its own.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
    pub(crate) store: LayerStore,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self { store: open(dir.path()), dir }
    }

    /// What is left in the staging directory.
    pub(super) fn staged(&self) -> usize {
        self.store.settle();
        fs::read_dir(self.dir.path().join("staging")).unwrap().count()
    }

    /// Makes a layer of directories (`name/`), links (`name>target`), whiteouts (`-name`), opaque
    /// directories (`!name`) and files (`name=content`).
    pub(crate) fn layer(&self, lowers: &[Digest], lines: &[&str]) -> Digest {
        let mut writer = self.store.writer(lowers).unwrap();
        for line in lines {
            let bytes = line.as_bytes();
            if let Some(name) = line.strip_suffix('/') {
                writer.dir(name.as_bytes(), &Meta::of_root(0o755), TIME).unwrap();
            } else if let Some((name, target)) = line.split_once('>') {
                let (name, target) = (name.as_bytes(), target.as_bytes());
                writer.symlink(name, target, &Meta::default(), TIME).unwrap();
            } else if let Some((name, content)) = line.split_once('=') {
                let content = super::Content::Bytes(content.as_bytes());
                writer.file(name.as_bytes(), &Meta::of_root(0o644), TIME, content).unwrap();
            } else if bytes[0] == b'-' {
                writer.whiteout(&bytes[1..]).unwrap();
            } else {
                writer.opaque(&bytes[1..]).unwrap();
            }
        }
        writer.finish().unwrap()
    }

    /// The layer's entries as text, one a line.
    pub(super) fn listing(&self, layer: &Digest) -> Vec<String> {
        let manifest = self.store.manifest(layer).unwrap();
        let line = |entry: &crate::tree::Entry| {
            format!("{} {:?}", String::from_utf8_lossy(&entry.path), entry.node)
        };
        manifest.entries().iter().map(line).collect()
    }
}

pub(super) fn open(dir: &Path) -> LayerStore {
    let (layers, staging) = (dir.join("layers"), dir.join("staging"));
    fs::create_dir_all(&layers).unwrap();
    fs::create_dir_all(&staging).unwrap();
    LayerStore::new(layers, staging)
}

/// Whether these tests may make devices and mounts; says so when not.
pub(super) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        kiln_testkit::skipped(&format!("{test} needs root"));
    }
    root
}

pub(super) fn bytes(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

pub(super) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// All that is on disk below `root`: type and mode, owner, modification time.
pub(super) fn disk(root: &Path) -> BTreeMap<String, (u32, u32, u32, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(dir) = ahead.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let times = (stat.mtime(), stat.mtime_nsec());
            found.insert(name, (stat.mode(), stat.uid(), stat.gid(), times.0, times.1));
            if stat.is_dir() {
                ahead.push(path);
            }
        }
    }
    found
}
