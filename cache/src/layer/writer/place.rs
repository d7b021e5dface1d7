//! What all of the writer's entries need: parents, a free name, and a slot.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{LayerWriter, Slot};
use crate::CacheError;
use crate::layer::ahead::Unnamed;
use crate::layer::content::{self, Content, CopyError};
use crate::layer::disk::{self, Creator, c_name};
use crate::layer::remove::empty_dir;
use crate::tree::{Entry, Manifest, Meta, Mtime, Node, lossy, paths};
use crate::view::Found;

/// The kernel's limit on an attribute's value.
const XATTR_MAX_BYTES: usize = 64 * 1024;

impl LayerWriter {
    /// What the lower layers have at `path`, unless this layer hides it.
    pub(super) fn below(&self, path: &[u8]) -> Option<Found<'_>> {
        if self.opaque_root {
            return None;
        }
        for above in paths::ancestors(path) {
            match self.slots.get(above).map(|slot| &slot.node) {
                None => break,
                Some(Node::Dir { opaque: false }) => {}
                Some(_) => return None,
            }
        }
        self.lowers.lookup(path)
    }

    /// Makes the directories on the way to `path` that this layer lacks.
    pub(super) fn make_parents(&mut self, path: &[u8], mtime: Mtime) -> Result<(), CacheError> {
        check_path(path)?;
        let parent = paths::split(path).0;
        if parent.is_empty() || self.has_dir(parent) {
            return Ok(());
        }
        for above in paths::ancestors(path) {
            self.make_parent(above, mtime)?;
        }
        Ok(())
    }

    /// Makes one directory as the lower layers have it; its parents are there.
    pub(super) fn make_parent(&mut self, path: &[u8], mtime: Mtime) -> Result<(), CacheError> {
        let (meta, mtime) = match self.slots.get(path).map(|slot| &slot.node) {
            Some(Node::Dir { .. }) => return Ok(()),
            Some(Node::Whiteout) => (Meta::of_root(0o755), mtime),
            Some(_) => return Err(bad(path, "is used as a directory, and is none")),
            None => match self.below(path) {
                Some(found) if found.entry.is_dir() => {
                    (found.entry.meta.clone(), found.entry.mtime)
                }
                _ => (Meta::of_root(0o755), mtime),
            },
        };
        self.make_dir(path, meta, mtime)
    }

    /// Makes a directory; its parents are there.
    pub(super) fn make_dir(
        &mut self,
        path: &[u8],
        meta: Meta,
        mtime: Mtime,
    ) -> Result<(), CacheError> {
        if let Some(Slot { node: Node::Dir { .. }, meta: had_meta, mtime: had_mtime, .. }) =
            self.slots.get_mut(path)
        {
            (*had_meta, *had_mtime) = (meta, mtime);
            return Ok(());
        }
        // The layers below stay hidden behind a directory that comes after a whiteout.
        let opaque = matches!(self.slots.get(path), Some(Slot { node: Node::Whiteout, .. }));
        self.clear(path)?;
        let dir = self.dir_of(path)?;
        rustix::fs::mkdirat(&dir, c_name(paths::split(path).1), Mode::RWXU)
            .map_err(CacheError::io("make the directory", paths::host(path)))?;
        self.put(path, Node::Dir { opaque }, meta, mtime);
        Ok(())
    }

    /// Makes the parents of `path` and takes away what the layer has there.
    pub(super) fn prepare(&mut self, path: &[u8], mtime: Mtime) -> Result<(), CacheError> {
        self.make_parents(path, mtime)?;
        self.clear(path)
    }

    fn clear(&mut self, path: &[u8]) -> Result<(), CacheError> {
        let Some(slot) = self.slots.remove(path) else { return Ok(()) };
        let (dir, name) = (self.dir_of(path)?, c_name(paths::split(path).1));
        let removed = if matches!(slot.node, Node::Dir { .. }) {
            self.last_dir = None;
            let below = paths::join(path, b"");
            self.slots.retain(|path, _| !path.starts_with(&below));
            clear_dir(&dir, &name)
        } else {
            // A device that could not be made is not there.
            match rustix::fs::unlinkat(&dir, &name, AtFlags::empty()) {
                Err(Errno::NOENT) => Ok(()),
                result => result.map_err(io::Error::from),
            }
        };
        removed.map_err(CacheError::io("replace in a layer", paths::host(path)))
    }

    pub(super) fn put(&mut self, path: impl Into<Vec<u8>>, node: Node, meta: Meta, mtime: Mtime) {
        self.slots.insert(path.into(), Slot { node, meta, mtime, group: None });
    }

    fn has_dir(&self, path: &[u8]) -> bool {
        matches!(self.slots.get(path), Some(Slot { node: Node::Dir { .. }, .. }))
    }

    /// The directory that `path` is in, which is there.
    pub(super) fn dir_of(&mut self, path: &[u8]) -> Result<Arc<OwnedFd>, CacheError> {
        let parent = paths::split(path).0;
        match &self.last_dir {
            Some((path, dir)) if path == parent => return Ok(Arc::clone(dir)),
            _ => {}
        }
        let dir = Arc::new(self.open_dir(parent)?);
        self.last_dir = Some((parent.to_vec(), Arc::clone(&dir)));
        Ok(dir)
    }

    pub(super) fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, CacheError> {
        disk::open_dir_below(&self.root, path)
            .map_err(CacheError::io("open in a layer", paths::host(path)))
    }

    /// Gives a directory its metadata, now that nothing is written to it any more.
    pub(super) fn finish_dir(&self, path: &[u8], slot: &Slot) -> Result<(), CacheError> {
        let dir = self.open_dir(path)?;
        let opaque = slot.node == Node::Dir { opaque: true };
        let marked = if opaque { disk::set_opaque(dir.as_fd()) } else { Ok(()) };
        marked
            .and_then(|()| self.creator.finish_dir(dir.as_fd(), &slot.meta, slot.mtime))
            .map_err(CacheError::io("set the metadata of", paths::host(path)))
    }

    /// The root has no entry to be opaque: what it hides is named one by one.
    pub(super) fn spell_out_opaque_root(&mut self) -> Result<(), CacheError> {
        if !self.opaque_root {
            return Ok(());
        }
        let hidden: Vec<Vec<u8>> =
            self.lowers.children(b"").into_iter().map(|found| found.entry.path.clone()).collect();
        hidden.iter().try_for_each(|path| self.whiteout(path))
    }
}

/// The layer's entries, the names of one file told apart into the file and its links.
pub(super) fn manifest(slots: BTreeMap<Vec<u8>, Slot>) -> Result<Manifest, CacheError> {
    let mut first: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut entries = Vec::with_capacity(slots.len());
    for (path, Slot { node, meta, mtime, group }) in slots {
        let file = group.map(|group| first.entry(group).or_insert_with(|| path.clone()));
        let node = match file {
            Some(to) if *to != path => Node::Hardlink { to: to.clone() },
            _ => node,
        };
        entries.push(Entry { path, node, meta, mtime });
    }
    Manifest::new(entries)
}

fn clear_dir(parent: &OwnedFd, name: &std::ffi::CString) -> io::Result<()> {
    empty_dir(&disk::open_dir_at(parent, name)?)?;
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Writes a file under a name that is free.
pub(super) fn write_file(
    creator: Creator,
    dir: &OwnedFd,
    (path, meta, mtime): (&[u8], &Meta, Mtime),
    content: Content<'_>,
) -> Result<content::Copied, CacheError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let name = c_name(paths::split(path).1);
    let write = || -> Result<content::Copied, CopyError> {
        let out = rustix::fs::openat(dir, &name, flags, Creator::create_mode(meta))?;
        let out: BorrowedFd<'_> = out.as_fd();
        let copied = content::fill(out, content)?;
        creator.finish_file(out, meta, mtime)?;
        Ok(copied)
    };
    write().map_err(|error| match error {
        CopyError::Changed => CacheError::Changed { path: lossy(path) },
        CopyError::Io(error) => CacheError::io("write in a layer", paths::host(path))(error),
    })
}

/// Gives a file that is copied already a name that is free. False, with nothing done, where that cannot be.
pub(super) fn name_file(
    creator: Creator,
    dir: &OwnedFd,
    (path, meta, mtime): (&[u8], &Meta, Mtime),
    copy: &Unnamed,
) -> Result<bool, CacheError> {
    let out = match copy.name(dir.as_fd(), &c_name(paths::split(path).1)) {
        Ok(out) => out.as_fd(),
        Err(error) => {
            tracing::debug!(%error, "a file that was copied ahead is copied again");
            return Ok(false);
        }
    };
    rustix::fs::fchmod(out, Creator::create_mode(meta))
        .map_err(io::Error::from)
        .and_then(|()| creator.finish_file(out, meta, mtime))
        .map_err(CacheError::io("write in a layer", paths::host(path)))?;
    Ok(true)
}

pub(super) fn check_path(path: &[u8]) -> Result<(), CacheError> {
    if paths::is_clean(path) { Ok(()) } else { Err(bad(path, "is no clean relative path")) }
}

pub(super) fn bad(path: &[u8], what: &'static str) -> CacheError {
    CacheError::BadEntry { path: lossy(path), what }
}

/// Leaves out what no layer holds.
pub(super) fn clean(meta: &Meta) -> Meta {
    let kept = |(name, value): &(&Vec<u8>, &Vec<u8>)| {
        disk::is_kept(name)
            && name.len() <= paths::NAME_MAX_BYTES
            && !name.contains(&0)
            && value.len() <= XATTR_MAX_BYTES
    };
    let xattrs = meta.xattrs.iter().filter(kept);
    Meta {
        mode: meta.mode & 0o7777,
        uid: meta.uid,
        gid: meta.gid,
        xattrs: xattrs.map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}
