//! Contexts, layers and ops for the tests of selecting and copying.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kiln_ir::{CopyOp, Digest, GuestPath};

use crate::context::{LocalTree, StatCache};
use crate::layer::{Content, LayerStore, LayerWriter};
use crate::tree::{Meta, Mtime};
use crate::view::View;

/// A directory on disk.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new(files: &[&str]) -> Self {
        let new = Self(tempfile::tempdir().unwrap());
        for file in files {
            new.write(file, file);
        }
        new
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn dir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    pub(crate) fn symlink(&self, name: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.path(name)).unwrap();
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn tree(&self) -> LocalTree {
        LocalTree::open(self.0.path(), StatCache::default()).unwrap()
    }
}

/// A store of layers.
pub(crate) struct Layers {
    _dir: tempfile::TempDir,
    pub(crate) store: LayerStore,
}

impl Layers {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (layers, staging) = (dir.path().join("layers"), dir.path().join("staging"));
        fs::create_dir(&layers).unwrap();
        fs::create_dir(&staging).unwrap();
        Self { store: LayerStore::new(layers, staging), _dir: dir }
    }

    pub(crate) fn layer(&self, lowers: &[Digest], write: impl FnOnce(&mut LayerWriter)) -> Digest {
        let mut writer = self.store.writer(lowers).unwrap();
        write(&mut writer);
        writer.finish().unwrap()
    }

    pub(crate) fn view(&self, layers: &[Digest]) -> View {
        View::new(&self.store, layers).unwrap()
    }
}

pub(crate) fn meta(mode: u32, uid: u32, gid: u32) -> Meta {
    Meta { uid, gid, ..Meta::of_root(mode) }
}

pub(crate) fn put_file(writer: &mut LayerWriter, path: &str, content: &str) {
    put_file_as(writer, path, content, &meta(0o644, 0, 0));
}

pub(crate) fn put_file_as(writer: &mut LayerWriter, path: &str, content: &str, meta: &Meta) {
    let content = Content::Bytes(content.as_bytes());
    writer.file(path.as_bytes(), meta, Mtime::default(), content).unwrap();
}

pub(crate) fn put_dir(writer: &mut LayerWriter, path: &str, meta: &Meta) {
    writer.dir(path.as_bytes(), meta, Mtime::default()).unwrap();
}

pub(crate) fn put_link(writer: &mut LayerWriter, path: &str, target: &str) {
    let (path, target) = (path.as_bytes(), target.as_bytes());
    writer.symlink(path, target, &meta(0o777, 0, 0), Mtime::default()).unwrap();
}

/// A COPY of `source`, wildcards and all; a slash at the end of `dest` counts.
pub(crate) fn copy(source: &str, dest: &str) -> CopyOp {
    CopyOp {
        input: 1,
        source: source.to_owned(),
        wildcard: true,
        required: false,
        dest: GuestPath::new(dest).unwrap(),
        dest_is_dir: dest.ends_with('/'),
        owner: None,
        mode: None,
        unpack: false,
        include: Vec::new(),
        exclude: Vec::new(),
        ignore: Vec::new(),
    }
}

pub(crate) fn ignoring(source: &str, patterns: &[&str]) -> CopyOp {
    let ignore = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    CopyOp { ignore, ..copy(source, "/") }
}

pub(crate) fn excluding(source: &str, patterns: &[&str]) -> CopyOp {
    let exclude = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    CopyOp { exclude, ..copy(source, "/") }
}
