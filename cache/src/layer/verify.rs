//! Whether a layer on disk is what its manifest says.
//!
//! Every entry is looked at and every file is read. What a machine may refuse to make (owners, device
//! nodes, attributes) is not compared: the manifest has it. Nothing is claimed and nothing changed.

use std::collections::BTreeSet;
use std::path::Path;

use kiln_ir::Digest;
use rayon::prelude::*;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::remove::names;
use super::{LayerStore, disk};
use crate::CacheError;
use crate::tree::{Entry, Manifest, Node, lossy, paths};

impl LayerStore {
    /// Says what is wrong with a layer, if anything is.
    pub(crate) fn verify(&self, layer: &Digest) -> Option<String> {
        let dir = self.dir(layer);
        let manifest = match std::fs::read(dir.join("manifest")) {
            Ok(bytes) => Manifest::decode(&bytes),
            Err(error) => return Some(format!("its manifest cannot be read: {error}")),
        };
        let manifest = match manifest {
            Ok(manifest) if manifest.digest() == *layer => manifest,
            Ok(manifest) => return Some(format!("its manifest is that of {}", manifest.digest())),
            Err(error) => return Some(error.to_string()),
        };
        verify_tree(&dir.join("fs"), &manifest).err()
    }
}

fn verify_tree(root: &Path, manifest: &Manifest) -> Result<(), String> {
    let tree = disk::open_dir(root).map_err(|error| error.to_string())?;
    let known: BTreeSet<&[u8]> =
        manifest.entries().iter().map(|entry| entry.path.as_slice()).collect();
    no_more_than(&tree, b"", &known)?;
    manifest.entries().par_iter().try_for_each(|entry| {
        verify_entry(&tree, manifest, entry)?;
        if entry.is_dir() { no_more_than(&tree, &entry.path, &known) } else { Ok(()) }
    })
}

/// That a directory has nothing that the manifest does not know.
fn no_more_than(tree: &OwnedFd, path: &[u8], known: &BTreeSet<&[u8]>) -> Result<(), String> {
    let dir = disk::open_dir_below(tree, path);
    let found = dir.map_err(std::io::Error::from).and_then(|dir| names(&dir));
    for (name, _) in found.map_err(|error| cannot(path, &error))? {
        let path = paths::join(path, name.to_bytes());
        if !known.contains(path.as_slice()) {
            return Err(format!("`{}` does not belong there", lossy(&path)));
        }
    }
    Ok(())
}

fn verify_entry(tree: &OwnedFd, manifest: &Manifest, entry: &Entry) -> Result<(), String> {
    let path = entry.path.as_slice();
    let stat = match rustix::fs::statat(tree, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) if may_lack(&entry.node) => return Ok(()),
        Err(error) => return Err(cannot(path, &error.into())),
    };
    if !is_kind(&stat, &entry.node) {
        return Err(format!("`{}` is something else", lossy(path)));
    }
    if let Some(target) = entry.node.link_target() {
        let found = rustix::fs::readlinkat(tree, path, Vec::new());
        let found = found.map_err(|error| cannot(path, &error.into()))?;
        let same = found.as_bytes() == target;
        return if same { Ok(()) } else { Err(format!("`{}` leads elsewhere", lossy(path))) };
    }
    let is_special = matches!(entry.node, Node::Whiteout | Node::Fifo | Node::Socket);
    if !is_special && stat.st_mode & 0o7777 != entry.meta.mode && !may_lack(&entry.node) {
        return Err(format!("`{}` has another mode", lossy(path)));
    }
    let Some((digest, size_bytes)) = manifest.content(entry) else { return Ok(()) };
    if stat.st_size.cast_unsigned() != size_bytes {
        return Err(format!("`{}` has another length", lossy(path)));
    }
    let read = |error: CacheError| error.to_string();
    let file = disk::open_below(tree, path).map_err(read)?;
    let found = super::digest_file(&file, size_bytes).map_err(|error| cannot(path, &error))?;
    if found == digest { Ok(()) } else { Err(format!("`{}` has other content", lossy(path))) }
}

/// Whether a machine may have refused to make it.
const fn may_lack(node: &Node) -> bool {
    matches!(node, Node::CharDevice { .. } | Node::BlockDevice { .. })
}

fn is_kind(stat: &Stat, node: &Node) -> bool {
    let found = FileType::from_raw_mode(stat.st_mode);
    match node {
        Node::Dir { .. } => found == FileType::Directory,
        Node::File { .. } | Node::Hardlink { .. } => found == FileType::RegularFile,
        Node::Symlink { .. } => found == FileType::Symlink,
        Node::CharDevice { .. } | Node::Whiteout => found == FileType::CharacterDevice,
        Node::BlockDevice { .. } => found == FileType::BlockDevice,
        Node::Fifo => found == FileType::Fifo,
        Node::Socket => found == FileType::Socket,
    }
}

fn cannot(path: &[u8], error: &std::io::Error) -> String {
    format!("`{}` cannot be read: {error}", lossy(path))
}
