//! From an overlay's upper directory to a layer, and from a plain directory to a manifest.
//!
//! The upper directory is what the kernel and a hostile command left. Here it gets the one form that a
//! layer of its content has, in the manifest and on disk alike, so that equal content has one digest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use kiln_ir::Digest;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Gid, Mode, Uid};

use super::scan::{Scanned, scan};
use super::{LayerStore, Staging, disk};
use crate::CacheError;
use crate::tree::{Entry, Manifest, Meta, Mtime, Node, paths};
use crate::view::View;

/// See [`LayerStore::commit_upper`].
pub(super) fn commit_upper(
    store: &LayerStore,
    mut staging: Staging,
    lowers: &[Digest],
) -> Result<Digest, CacheError> {
    let upper = staging.upper();
    let mut found = scan(&upper)?;
    let mut repairs = Repairs::default();
    if found.iter().any(|scanned| asks_for_lowers(&scanned.entry.node)) {
        let below = View::new(store, lowers)?;
        spell_out_opaque(&mut found, &below, &mut repairs);
        drop_idle_whiteouts(&mut found, &below, &mut repairs);
    }
    drop_sockets(&mut found, &mut repairs);
    name_hard_links(&mut found);
    repairs.restore_times_of(&found);
    let manifest = Manifest::new(found.into_iter().map(|scanned| scanned.entry).collect())?;
    let digest = manifest.digest();
    if store.has_whole(&digest)? {
        if manifest.entries().is_empty() {
            staging.holds_little(true);
        }
        return Ok(digest);
    }
    repairs.apply(&upper)?;
    store.publish(staging, manifest)
}

/// The manifest of a directory that nothing is mounted over: what a cache mount holds. Sockets are left out.
/// Nothing is changed but overlayfs's own attributes, which mean nothing there and are removed.
///
/// # Errors
/// When something in it cannot be read, or changes meanwhile into what no layer can hold.
pub fn manifest_of(dir: &Path) -> Result<Manifest, CacheError> {
    let mut found = scan(dir)?;
    found.retain(|scanned| !matches!(scanned.entry.node, Node::Socket | Node::Whiteout));
    for scanned in &mut found {
        if let Node::Dir { opaque } = &mut scanned.entry.node {
            *opaque = false;
        }
    }
    name_hard_links(&mut found);
    Manifest::new(found.into_iter().map(|scanned| scanned.entry).collect())
}

fn asks_for_lowers(node: &Node) -> bool {
    matches!(node, Node::Whiteout | Node::Dir { opaque: true })
}

/// Puts in the place of each opaque directory a plain one with whiteouts for what it hides.
fn spell_out_opaque(found: &mut Vec<Scanned>, below: &View, repairs: &mut Repairs) {
    let names: HashSet<Vec<u8>> = found.iter().map(|scanned| scanned.entry.path.clone()).collect();
    let mut opaque: HashSet<Vec<u8>> = HashSet::new();
    let mut whiteouts = Vec::new();
    // In byte order a directory comes before all that is in it.
    for Scanned { entry, .. } in found.iter_mut() {
        let Node::Dir { opaque: marked } = &mut entry.node else { continue };
        let parent = paths::split(&entry.path).0;
        // What is in an opaque directory has nothing below it either.
        if !std::mem::take(marked) && !opaque.contains(parent) {
            continue;
        }
        for hidden in below.children(&entry.path) {
            if !names.contains(&hidden.entry.path) {
                whiteouts.push(hidden.entry.path.clone());
            }
        }
        opaque.insert(entry.path.clone());
    }
    for path in whiteouts {
        repairs.of(&path).whiteout.push(paths::split(&path).1.to_vec());
        let (meta, mtime) = <(Meta, Mtime)>::default();
        let entry = Entry { path, node: Node::Whiteout, meta, mtime };
        found.push(Scanned { entry, inode: None });
    }
    found.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
}

fn drop_idle_whiteouts(found: &mut Vec<Scanned>, below: &View, repairs: &mut Repairs) {
    found.retain(|Scanned { entry, .. }| {
        let idle = entry.node == Node::Whiteout && below.lookup(&entry.path).is_none();
        if idle {
            repairs.of(&entry.path).remove.push(entry.name().to_vec());
        }
        !idle
    });
}

fn drop_sockets(found: &mut Vec<Scanned>, repairs: &mut Repairs) {
    found.retain(|Scanned { entry, .. }| {
        let socket = entry.node == Node::Socket;
        if socket {
            repairs.of(&entry.path).remove.push(entry.name().to_vec());
        }
        !socket
    });
}

/// Lets the first name of each file be the file, and the others links to it.
fn name_hard_links(found: &mut [Scanned]) {
    let mut first: HashMap<u64, Vec<u8>> = HashMap::new();
    for Scanned { entry, inode } in found {
        let Some(inode) = inode else { continue };
        match first.get(inode) {
            Some(to) => entry.node = Node::Hardlink { to: to.clone() },
            None => {
                first.insert(*inode, entry.path.clone());
            }
        }
    }
}

/// What has to change on disk for it to agree with the manifest, by directory.
#[derive(Default)]
struct Repairs {
    dirs: BTreeMap<Vec<u8>, DirRepair>,
}

#[derive(Default)]
struct DirRepair {
    remove: Vec<Vec<u8>>,
    whiteout: Vec<Vec<u8>>,
    mtime: Option<Mtime>,
}

impl Repairs {
    /// The repair of the directory that `path` is in.
    fn of(&mut self, path: &[u8]) -> &mut DirRepair {
        self.dirs.entry(paths::split(path).0.to_vec()).or_default()
    }

    /// Repairing a directory must not make it look changed.
    fn restore_times_of(&mut self, found: &[Scanned]) {
        for (path, repair) in &mut self.dirs {
            let at = found.binary_search_by(|scanned| scanned.entry.path.cmp(path));
            repair.mtime = at.ok().map(|index| found[index].entry.mtime);
        }
    }

    fn apply(&self, upper: &Path) -> Result<(), CacheError> {
        let root = disk::open_dir(upper)?;
        reset_root(&root).map_err(CacheError::io("set the mode of", upper))?;
        for (path, repair) in &self.dirs {
            let host = upper.join(paths::host(path));
            repair.apply(&root, path).map_err(CacheError::io("tidy the directory", host))?;
        }
        Ok(())
    }
}

impl DirRepair {
    fn apply(&self, root: &OwnedFd, path: &[u8]) -> io::Result<()> {
        let dir = disk::open_dir_below(root, path)?;
        for name in &self.remove {
            rustix::fs::unlinkat(&dir, disk::c_name(name), AtFlags::empty())?;
        }
        for name in &self.whiteout {
            disk::make_whiteout(dir.as_fd(), &disk::c_name(name))?;
        }
        match self.mtime {
            Some(mtime) => Ok(rustix::fs::futimens(&dir, &disk::times(mtime))?),
            None => Ok(()),
        }
    }
}

/// The root is no entry: a command that changed it must not change what lies on this layer.
fn reset_root(root: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(root)?;
    if stat.st_mode & 0o7777 != 0o755 {
        rustix::fs::fchmod(root, Mode::from_raw_mode(0o755))?;
    }
    if (stat.st_uid, stat.st_gid) != (0, 0) {
        disk::tolerate(rustix::fs::fchown(root, Some(Uid::ROOT), Some(Gid::ROOT)))?;
    }
    Ok(())
}
