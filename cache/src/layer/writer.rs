//! Writing a layer entry by entry, without mounting anything.
//!
//! The writer remembers every entry, and every parent of an entry is a directory that it made itself: no
//! name on the way to a file can be a link. Owners, modes and times of directories are set at the end,
//! when nothing changes them any more.

mod place;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use kiln_ir::Digest;
use rayon::prelude::*;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType};

use place::{bad, check_path, clean, manifest, name_file, write_file};

use super::ahead::AheadCopy;
use super::content::{self, Content, Known};
use super::disk::{self, Creator, c_name};
use super::{LayerStore, Making, Staging};
use crate::CacheError;
use crate::tree::{LastLink, Manifest, Meta, Mtime, Node, paths, resolve};
use crate::view::View;

/// How many files of one directory are copied in one piece of work.
const FILES_PER_TASK: usize = 48;

/// A layer being written. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct LayerWriter {
    store: LayerStore,
    staging: Staging,
    root: OwnedFd,
    creator: Creator,
    lowers: View,
    slots: BTreeMap<Vec<u8>, Slot>,
    groups: u32,
    /// Whether all that lower layers have is hidden.
    opaque_root: bool,
    /// The directory written to last.
    last_dir: Option<(Vec<u8>, Arc<OwnedFd>)>,
}

/// A file to be copied by [`LayerWriter::files_parallel`].
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Where in the layer.
    pub path: Vec<u8>,
    /// Its metadata.
    pub meta: Meta,
    /// Its modification time.
    pub mtime: Mtime,
    /// What the opener is asked for, in the opener's own terms.
    pub source: Vec<u8>,
    /// What is known of its content.
    pub known: Known,
    /// A copy of it that was made already.
    pub ahead: Option<Arc<AheadCopy>>,
}

#[derive(Debug, Clone)]
struct Slot {
    /// Never a hard link: the names of one file share a group instead, until the layer is finished.
    node: Node,
    meta: Meta,
    mtime: Mtime,
    group: Option<u32>,
}

impl LayerWriter {
    pub(super) fn new(store: &LayerStore, lowers: &[Digest]) -> Result<Self, CacheError> {
        let lowers = View::new(store, lowers)?;
        let staging = store.stage_for(Making::Writer)?;
        let root = disk::open_dir(&staging.upper())?;
        let creator = store.creator()?;
        Ok(Self {
            store: store.clone(),
            staging,
            root,
            creator,
            lowers,
            slots: BTreeMap::new(),
            groups: 0,
            opaque_root: false,
            last_dir: None,
        })
    }

    /// Follows the links in `path` in what the layer is so far and in what it lies on, inside the root.
    /// What does not exist is kept as written.
    ///
    /// # Errors
    /// [`CacheError::TooManyLinks`].
    pub fn resolve(&self, path: &[u8], last: LastLink) -> Result<Vec<u8>, CacheError> {
        resolve(path, last, |path| self.get(path)?.0.link_target())
    }

    /// What is at `path`, in the layer so far or in what it lies on; nothing for the root, which has no
    /// entry. A further name of a file written here is a file of its own.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<(&Node, &Meta, Mtime)> {
        match self.slots.get(path) {
            Some(Slot { node: Node::Whiteout, .. }) => None,
            Some(slot) => Some((&slot.node, &slot.meta, slot.mtime)),
            None => {
                let entry = self.below(path)?.entry;
                Some((&entry.node, &entry.meta, entry.mtime))
            }
        }
    }

    /// Whether `path` is a directory, in the layer so far or in what it lies on.
    #[must_use]
    pub fn is_dir(&self, path: &[u8]) -> bool {
        path.is_empty() || matches!(self.get(path), Some((Node::Dir { .. }, ..)))
    }

    /// Makes a directory, or gives the one that the layer has other metadata. Nothing for the root.
    ///
    /// Like all that follow: missing parents are made as the lower layers have them, else with mode 0755,
    /// root's, and `mtime`; what the layer has at `path` is replaced; no link is followed.
    ///
    /// # Errors
    /// [`CacheError::BadEntry`] when the path is unclean or in what is no directory; the failure of making
    /// it.
    pub fn dir(&mut self, path: &[u8], meta: &Meta, mtime: Mtime) -> Result<(), CacheError> {
        if path.is_empty() {
            return Ok(());
        }
        self.make_parents(path, mtime)?;
        self.make_dir(path, clean(meta), mtime)
    }

    /// Makes a directory and its missing parents with the same metadata; those that the layer or the
    /// layers below have stay as they are.
    ///
    /// # Errors
    /// As for [`LayerWriter::dir`].
    pub fn dir_all(&mut self, path: &[u8], meta: &Meta, mtime: Mtime) -> Result<(), CacheError> {
        check_path(path)?;
        for path in paths::ancestors(path).chain([path]) {
            if !self.is_dir(path) {
                self.dir(path, meta, mtime)?;
            }
        }
        Ok(())
    }

    /// Writes a file.
    ///
    /// # Errors
    /// As for [`LayerWriter::dir`]; [`CacheError::Changed`] when the content is not what was expected.
    pub fn file(
        &mut self,
        path: &[u8],
        meta: &Meta,
        mtime: Mtime,
        content: Content<'_>,
    ) -> Result<(), CacheError> {
        let meta = clean(meta);
        self.prepare(path, mtime)?;
        let dir = self.dir_of(path)?;
        let (digest, size_bytes) = write_file(self.creator, &dir, (path, &meta, mtime), content)?;
        self.put(path, Node::File { digest, size_bytes }, meta, mtime);
        Ok(())
    }

    /// Copies many files, several at a time. `open` opens what a file is copied from; it is asked by
    /// several threads. Of two files at one path the later counts.
    ///
    /// # Errors
    /// As for [`LayerWriter::file`], and what `open` answers. The writer is of no more use then.
    pub fn files_parallel(
        &mut self,
        mut files: Vec<NewFile>,
        open: &(dyn Fn(&NewFile) -> Result<OwnedFd, CacheError> + Sync),
    ) -> Result<(), CacheError> {
        if !files.is_sorted_by(|a, b| a.path < b.path) {
            files.reverse();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            files.dedup_by(|a, b| a.path == b.path);
        }
        refuse_inside_files(&files)?;
        for file in &mut files {
            self.prepare(&file.path, file.mtime)?;
            file.meta = clean(&file.meta);
        }
        let tasks = files.chunk_by(|a, b| paths::split(&a.path).0 == paths::split(&b.path).0);
        let tasks: Vec<&[NewFile]> = tasks.flat_map(|run| run.chunks(FILES_PER_TASK)).collect();
        let copy = |task: &&[NewFile]| self.copy_task(task, open);
        let copied: Vec<Vec<content::Copied>> = match tasks.as_slice() {
            [one] => vec![copy(one)?],
            many => many.par_iter().map(copy).collect::<Result<_, _>>()?,
        };
        drop(tasks);
        let copied = files.into_iter().zip(copied.into_iter().flatten());
        let slots = copied.map(|(NewFile { path, meta, mtime, .. }, (digest, size_bytes))| {
            (path, Slot { node: Node::File { digest, size_bytes }, meta, mtime, group: None })
        });
        // Many are added at once faster than one by one.
        self.slots.append(&mut slots.collect());
        Ok(())
    }

    /// Copies files of one directory, made ready before.
    fn copy_task(
        &self,
        files: &[NewFile],
        open: &(dyn Fn(&NewFile) -> Result<OwnedFd, CacheError> + Sync),
    ) -> Result<Vec<content::Copied>, CacheError> {
        let parent = files.first().map_or(&b""[..], |file| paths::split(&file.path).0);
        let dir = self.open_dir(parent)?;
        let copy = |file: &NewFile| {
            let source = open(file)?;
            let new = (&file.path[..], &file.meta, file.mtime);
            let ahead = file.ahead.as_ref().and_then(|ahead| ahead.take_for(source.as_fd()));
            if let Some((copy, copied)) = ahead
                && name_file(self.creator, &dir, new, &copy)?
            {
                return Ok(copied);
            }
            write_file(self.creator, &dir, new, Content::File(source.as_fd(), file.known))
        };
        files.iter().map(copy).collect()
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// As for [`LayerWriter::dir`]; [`CacheError::BadEntry`] when no link can say `target`.
    pub fn symlink(
        &mut self,
        path: &[u8],
        target: &[u8],
        meta: &Meta,
        mtime: Mtime,
    ) -> Result<(), CacheError> {
        if !Manifest::is_link_text(target) {
            return Err(bad(path, "is a symbolic link without a usable target"));
        }
        let meta = Meta { mode: 0o777, xattrs: BTreeMap::new(), ..*meta };
        self.prepare(path, mtime)?;
        let (dir, name) = (self.dir_of(path)?, c_name(paths::split(path).1));
        rustix::fs::symlinkat(target, &dir, &name)
            .map_err(io::Error::from)
            .and_then(|()| self.creator.finish_link(dir.as_fd(), &name, &meta, mtime))
            .map_err(CacheError::io("make the link", paths::host(path)))?;
        self.put(path, Node::Symlink { target: target.to_vec() }, meta, mtime);
        Ok(())
    }

    /// Gives a file one more name. The file may be of the layer or of those below, from where it is copied
    /// first. What is linked to may be a symbolic link or a device too, which is then made again.
    ///
    /// # Errors
    /// As for [`LayerWriter::dir`]; [`CacheError::BadEntry`] when there is nothing to link to.
    pub fn hardlink(&mut self, path: &[u8], to: &[u8]) -> Result<(), CacheError> {
        if path == to && self.get(to).is_some() {
            return Ok(());
        }
        let (node, meta, mtime) = match self.get(to) {
            Some((Node::Dir { .. }, ..)) | None => {
                return Err(bad(path, "is a hard link to what is no file"));
            }
            Some((node, meta, mtime)) => (node.clone(), meta.clone(), mtime),
        };
        if let Some(target) = node.link_target() {
            return self.symlink(path, target, &meta, mtime);
        }
        if !matches!(node, Node::File { .. } | Node::Hardlink { .. }) {
            return self.special(path, &node, &meta, mtime);
        }
        if !self.slots.contains_key(to) {
            let source = self.lowers.open(to)?;
            self.file(to, &meta, mtime, Content::File(source.as_fd(), Known::Nothing))?;
        }
        self.prepare(path, mtime)?;
        let (from, dir) = (self.dir_of(to)?, self.dir_of(path)?);
        let names = (c_name(paths::split(to).1), c_name(paths::split(path).1));
        rustix::fs::linkat(&*from, &names.0, &*dir, &names.1, AtFlags::empty())
            .map_err(CacheError::io("make the hard link", paths::host(path)))?;
        self.join_group(path, to);
        Ok(())
    }

    fn join_group(&mut self, path: &[u8], to: &[u8]) {
        let Some(first) = self.slots.get_mut(to) else { return };
        let group = *first.group.get_or_insert(self.groups);
        self.groups = self.groups.max(group + 1);
        let (node, meta) = (first.node.clone(), first.meta.clone());
        let slot = Slot { node, meta, mtime: first.mtime, group: Some(group) };
        self.slots.insert(path.to_vec(), slot);
    }

    /// Makes a device or a named pipe; sockets are left out. A device that may not be made here is in the
    /// manifest alone.
    ///
    /// # Errors
    /// As for [`LayerWriter::dir`]; [`CacheError::BadEntry`] for other nodes, and for the device that
    /// overlayfs takes for a whiteout.
    pub fn special(
        &mut self,
        path: &[u8],
        node: &Node,
        meta: &Meta,
        mtime: Mtime,
    ) -> Result<(), CacheError> {
        let (kind, major, minor) = match *node {
            Node::CharDevice { major: 0, minor: 0 } => {
                return Err(bad(path, "is the device 0:0, which stands for a removed file"));
            }
            Node::CharDevice { major, minor } => (FileType::CharacterDevice, major, minor),
            Node::BlockDevice { major, minor } => (FileType::BlockDevice, major, minor),
            Node::Fifo => (FileType::Fifo, 0, 0),
            Node::Socket => return Ok(()),
            Node::Dir { .. }
            | Node::File { .. }
            | Node::Symlink { .. }
            | Node::Hardlink { .. }
            | Node::Whiteout => return Err(bad(path, "is neither a device nor a pipe")),
        };
        let meta = Meta { xattrs: BTreeMap::new(), ..clean(meta) };
        self.prepare(path, mtime)?;
        let (dir, name) = (self.dir_of(path)?, c_name(paths::split(path).1));
        let device = rustix::fs::makedev(major, minor);
        let failed =
            |error: io::Error| CacheError::io("make the device or pipe", paths::host(path))(error);
        match rustix::fs::mknodat(&dir, &name, kind, Creator::create_mode(&meta), device) {
            Err(rustix::io::Errno::PERM) if kind != FileType::Fifo => {}
            made => {
                made.map_err(|error| failed(error.into()))?;
                self.creator.finish_special(dir.as_fd(), &name, &meta, mtime).map_err(failed)?;
            }
        }
        self.put(path, node.clone(), meta, mtime);
        Ok(())
    }

    /// Hides what lower layers have at `path`. What this layer has there stays: a directory becomes opaque.
    ///
    /// # Errors
    /// As for [`LayerWriter::dir`].
    pub fn whiteout(&mut self, path: &[u8]) -> Result<(), CacheError> {
        self.make_parents(path, Mtime::default())?;
        match self.slots.get_mut(path).map(|slot| &mut slot.node) {
            Some(Node::Dir { opaque }) => *opaque = true,
            Some(_) => {}
            None => {
                let (dir, name) = (self.dir_of(path)?, c_name(paths::split(path).1));
                disk::make_whiteout(dir.as_fd(), &name)
                    .map_err(CacheError::io("make the whiteout", paths::host(path)))?;
                self.put(path, Node::Whiteout, Meta::default(), Mtime::default());
            }
        }
        Ok(())
    }

    /// Hides all that lower layers have in the directory `path`, which is made if the layer has none.
    ///
    /// # Errors
    /// As for [`LayerWriter::dir`].
    pub fn opaque(&mut self, path: &[u8]) -> Result<(), CacheError> {
        if path.is_empty() {
            self.opaque_root = true;
            return Ok(());
        }
        self.make_parents(path, Mtime::default())?;
        self.make_parent(path, Mtime::default())?;
        if let Some(Slot { node, .. }) = self.slots.get_mut(path) {
            *node = Node::Dir { opaque: true };
        }
        Ok(())
    }

    /// Names the layer by what is in it. Of two layers of the same content the earlier is kept.
    ///
    /// # Errors
    /// When something cannot be written, or the disk is full.
    pub fn finish(mut self) -> Result<Digest, CacheError> {
        self.spell_out_opaque_root()?;
        let slots = std::mem::take(&mut self.slots);
        let dirs = slots.iter().filter(|slot| matches!(slot.1.node, Node::Dir { .. }));
        let dirs: Vec<_> = dirs.map(|(path, slot)| (path.clone(), slot.clone())).collect();
        let manifest = manifest(slots)?;
        let digest = manifest.digest();
        if !self.store.has_whole(&digest)? {
            let finish = |(path, slot): &(Vec<u8>, Slot)| self.finish_dir(path, slot);
            // The deepest first: a directory may take away the permission to look into it.
            if dirs.len() > FILES_PER_TASK && rustix::process::geteuid().is_root() {
                dirs.par_iter().try_for_each(finish)?;
            } else {
                dirs.iter().rev().try_for_each(finish)?;
            }
        }
        self.store.publish(self.staging, manifest)
    }
}

/// Refuses files, which are in order, that would be inside of others.
fn refuse_inside_files(files: &[NewFile]) -> Result<(), CacheError> {
    let parent = |file: &NewFile| paths::split(&file.path).0.len();
    for run in files.chunk_by(|a, b| a.path[..parent(a)] == b.path[..parent(b)]) {
        let above = run.first().map(|file| paths::ancestors(&file.path)).into_iter().flatten();
        for dir in above {
            if files.binary_search_by(|file| file.path.as_slice().cmp(dir)).is_ok() {
                return Err(bad(dir, "is used as a directory, and is none"));
            }
        }
    }
    Ok(())
}
