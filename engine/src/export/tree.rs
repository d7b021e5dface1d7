//! The files of a root filesystem, in a directory or a tar archive.
//!
//! The directory is written through descriptors, one name at a time and never through a symbolic link: the
//! image's links cannot lead out of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use kiln_cache::Snapshot;
use kiln_cache::tree::{Entry, LastLink, Meta, Mtime, Node};
use kiln_cache::view::View;
use kiln_executor::Ids;
use kiln_image::layer::{
    Compression, EntryKind, EntryMeta, PackEntry, PackError, PackOptions, pack,
};
use kiln_ir::GuestPath;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::assemble::{as_path, kind_of, pack_entry};
use super::{Destination, write_error, write_to};
use crate::{Engine, EngineError};

impl Engine {
    /// Writes all files as a plain tar archive.
    pub(crate) fn write_tar(
        &self,
        parts: &[TreePart<'_>],
        dest: &Destination,
    ) -> Result<(), EngineError> {
        let trees = self.trees(parts)?;
        write_to(dest, |out| {
            let entries = trees.iter().flat_map(|tree| tree.pack());
            let options = PackOptions { compression: Compression::None, level: None };
            pack(entries, out, options).map_err(|error| match error {
                PackError::Entry(error) => error,
                PackError::Layer(source) => EngineError::Pack { layer: "files".to_owned(), source },
            })?;
            Ok(())
        })
    }

    /// Writes all files into a directory, over what is there. Owners are set where Kiln is root of the
    /// machine, else the files are whoever's who builds; device nodes are left out.
    pub(crate) fn write_local(
        &self,
        parts: &[TreePart<'_>],
        dir: &Path,
    ) -> Result<(), EngineError> {
        let own = self.host.ids == Ids::All;
        for Tree { directory, view, epoch, .. } in &self.trees(parts)? {
            let dir = directory.map_or_else(|| dir.to_owned(), |name| dir.join(name));
            std::fs::create_dir_all(&dir).map_err(write_error("output", &dir))?;
            let root = open_root(&dir)?;
            DirWriter { root, view, top: b"", dir: &dir, epoch: *epoch, own }.write_all()?;
        }
        Ok(())
    }

    /// The files of all parts. Two that share a directory have no file in common.
    fn trees<'p>(&self, parts: &'p [TreePart<'_>]) -> Result<Vec<Tree<'p>>, EngineError> {
        let mut trees = Vec::new();
        let mut seen = BTreeMap::new();
        for TreePart { directory, snapshot, epoch } in parts {
            let (directory, view) = (directory.as_deref(), self.view(snapshot)?);
            let mut entries = entries_below(&view, b"");
            if parts.len() > 1 && directory.is_none() {
                let is_new = |entry: &Entry| match seen.insert(entry.path.clone(), entry.is_dir()) {
                    None => Ok(true),
                    Some(true) if entry.is_dir() => Ok(false),
                    Some(_) => Err(EngineError::Overlap { path: as_path(&entry.path).to_owned() }),
                };
                let kept: Result<Vec<bool>, _> = entries.iter().map(is_new).collect();
                let mut kept = kept?.into_iter();
                entries.retain(|_| kept.next().unwrap_or(true));
            }
            trees.push(Tree { directory, view, entries, epoch: *epoch });
        }
        Ok(trees)
    }

    /// Writes what a snapshot has below a directory into another one, with owners and times, and gives that the
    /// owner and mode of the first. A snapshot's root has none: then the other one keeps its own.
    pub(crate) fn write_subtree(
        &self,
        snapshot: &Snapshot,
        from: &GuestPath,
        dir: &Path,
    ) -> Result<(), EngineError> {
        let view = self.view(snapshot)?;
        let top = view.resolve(from.relative().as_bytes(), LastLink::Follow)?;
        let (root, epoch, own) = (open_root(dir)?, None, true);
        let writer = DirWriter { root, view: &view, top: &top, dir, epoch, own };
        writer.write_all()?;
        match (view.lookup(&top), dir.parent(), dir.file_name()) {
            (Some(found), Some(parent), Some(name)) if found.entry.is_dir() => {
                writer.set_meta(found.entry, &open_root(parent)?, Path::new(name))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn view(&self, snapshot: &Snapshot) -> Result<View, EngineError> {
        let layers: Vec<_> = snapshot.layers().iter().map(|layer| layer.digest).collect();
        Ok(View::new(&self.layers, &layers)?)
    }
}

/// The files of one platform, on their way out.
#[derive(Debug)]
pub(crate) struct TreePart<'s> {
    /// The directory that they go to; nothing for the output's own.
    pub(crate) directory: Option<String>,
    /// The files.
    pub(crate) snapshot: &'s Snapshot,
    /// The one time that all of them have; nothing for their own.
    pub(crate) epoch: Option<i64>,
}

/// A part that is looked into.
struct Tree<'p> {
    directory: Option<&'p str>,
    view: View,
    entries: Vec<Entry>,
    epoch: Option<i64>,
}

impl Tree<'_> {
    /// The entries of an archive, in the part's directory.
    fn pack(&self) -> impl Iterator<Item = Result<PackEntry<'_>, EngineError>> {
        let own = self.directory.map(|name| {
            let (path, kind) = (name.as_bytes().to_vec(), EntryKind::Dir);
            let meta = EntryMeta {
                mode: 0o755,
                uid: 0,
                gid: 0,
                mtime_seconds: self.epoch.unwrap_or(0),
                xattrs: Default::default(),
            };
            Ok(PackEntry { path, kind, meta })
        });
        let entries = self.entries.iter().filter_map(|entry| {
            let kind = kind_of(entry, |entry| open(&self.view, entry)).transpose()?;
            Some(kind.map(|kind| self.place(pack_entry(entry, kind, self.epoch))))
        });
        own.into_iter().chain(entries)
    }

    /// Puts an entry into the part's directory.
    fn place<'e>(&self, mut entry: PackEntry<'e>) -> PackEntry<'e> {
        if let Some(directory) = self.directory {
            entry.path = [directory.as_bytes(), b"/", &entry.path].concat();
            if let EntryKind::Hardlink { target } = &mut entry.kind {
                *target = [directory.as_bytes(), b"/", target].concat();
            }
        }
        entry
    }
}

/// Everything below a directory, in byte order of the paths: parents first, and files before their further
/// names.
///
/// A further name of a file whose first name is elsewhere, or was taken away by an upper layer, is a file
/// of its own.
fn entries_below(view: &View, top: &[u8]) -> Vec<Entry> {
    let stand_alone = |found: kiln_cache::view::Found<'_>| {
        let mut entry = found.entry.clone();
        if let Node::Hardlink { to } = &entry.node
            && !(below(to, top).is_some()
                && view.lookup(to).is_some_and(|first| first.layer == found.layer))
            && let Some((digest, size_bytes)) = found.content()
        {
            entry.node = Node::File { digest, size_bytes };
        }
        entry
    };
    let mut entries: Vec<_> = view.walk(top).into_iter().map(stand_alone).collect();
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    entries
}

/// A path relative to a directory that it is below.
fn below<'p>(path: &'p [u8], top: &[u8]) -> Option<&'p [u8]> {
    if top.is_empty() {
        return Some(path);
    }
    path.strip_prefix(top)?.strip_prefix(b"/")
}

fn open_root(dir: &Path) -> Result<OwnedFd, EngineError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, dir, flags, Mode::empty())
        .map_err(|error| write_error("output", dir)(error.into()))
}

fn open(view: &View, entry: &Entry) -> Result<File, EngineError> {
    Ok(view.open(&entry.path)?)
}

struct DirWriter<'a> {
    root: OwnedFd,
    view: &'a View,
    /// The directory of the view whose content is written.
    top: &'a [u8],
    dir: &'a Path,
    epoch: Option<i64>,
    /// Whether files get the owners that the image gives them.
    own: bool,
}

impl DirWriter<'_> {
    fn write_all(&self) -> Result<(), EngineError> {
        let entries = entries_below(self.view, self.top);
        for entry in &entries {
            self.write(entry)?;
        }
        // Children first: what is written below a directory changes its time, and perhaps needs its
        // permissions.
        for entry in entries.iter().rev().filter(|entry| entry.is_dir()) {
            self.finish_dir(entry)?;
        }
        Ok(())
    }

    fn write(&self, entry: &Entry) -> Result<(), EngineError> {
        let (parent, name) = self.parent(&entry.path)?;
        let failed = |error: Errno| self.failed(entry, error);
        if let Node::Dir { .. } = entry.node {
            return match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => Ok(()),
                Err(Errno::EXIST) => self.check_dir(&parent, name, entry),
                Err(error) => Err(failed(error)),
            };
        }
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
        match &entry.node {
            Node::File { .. } => self.write_file(entry, &parent, name)?,
            Node::Symlink { target } => {
                rustix::fs::symlinkat(as_path(target), &parent, name).map_err(failed)?;
            }
            Node::Hardlink { to } => {
                let (from, first) = self.parent(to)?;
                rustix::fs::linkat(&from, first, &parent, name, AtFlags::empty())
                    .map_err(failed)?;
                return Ok(());
            }
            Node::Fifo => {
                let mode = Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(&parent, name, FileType::Fifo, mode, 0).map_err(failed)?;
            }
            Node::Dir { .. }
            | Node::CharDevice { .. }
            | Node::BlockDevice { .. }
            | Node::Socket
            | Node::Whiteout => return Ok(()),
        }
        self.set_meta(entry, &parent, name)
    }

    fn write_file(&self, entry: &Entry, dir: &OwnedFd, name: &Path) -> Result<(), EngineError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| self.failed(entry, error))?;
        let path = self.dir.join(as_path(&entry.path));
        std::io::copy(&mut open(self.view, entry)?, &mut File::from(file))
            .map_err(write_error("output", &path))?;
        Ok(())
    }

    fn finish_dir(&self, entry: &Entry) -> Result<(), EngineError> {
        let (parent, name) = self.parent(&entry.path)?;
        self.set_meta(entry, &parent, name)
    }

    fn set_meta(&self, entry: &Entry, dir: &OwnedFd, name: &Path) -> Result<(), EngineError> {
        let failed = |error: Errno| self.failed(entry, error);
        let Meta { mode, uid, gid, .. } = entry.meta;
        if self.own {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        if !matches!(entry.node, Node::Symlink { .. }) {
            let mode = Mode::from_raw_mode(mode);
            rustix::fs::chmodat(dir, name, mode, AtFlags::empty()).map_err(failed)?;
        }
        let Mtime { secs, nanos } = match self.epoch {
            Some(secs) => Mtime { secs, nanos: 0 },
            None => entry.mtime,
        };
        let time = Timespec { tv_sec: secs, tv_nsec: nanos.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    fn check_dir(&self, dir: &OwnedFd, name: &Path, entry: &Entry) -> Result<(), EngineError> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed(entry, error))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Ok(());
        }
        let path = self.dir.join(as_path(&entry.path));
        Err(EngineError::InTheWay { path, expected: "a directory" })
    }

    /// The directory that an entry is in, opened without following links, and the entry's name there.
    fn parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p Path), EngineError> {
        use rustix::fs::ResolveFlags;
        let path = as_path(below(path, self.top).unwrap_or(path));
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = rustix::fs::openat2(
            &self.root,
            parent.unwrap_or(Path::new(".")),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        );
        let failed = write_error("output", self.dir);
        let name = path.file_name().map_or(path, Path::new);
        Ok((dir.map_err(|error| failed(error.into()))?, name))
    }

    fn failed(&self, entry: &Entry, error: Errno) -> EngineError {
        EngineError::WriteFile {
            what: "output",
            path: self.dir.join(as_path(&entry.path)),
            source: error.into(),
        }
    }
}
