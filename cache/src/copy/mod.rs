//! Changing files without a mount: what COPY, ADD, WORKDIR and heredocs put into a layer.
//!
//! The rules are the reference's:
//!
//! - the destination's symbolic links are followed inside the filesystem that is changed, the last one
//!   too; a destination that is a directory is copied into, anything else is replaced;
//! - a copied directory's content is merged with what is there: a directory in it takes the place of a
//!   directory, with the source's metadata, and of nothing else; what is no directory takes the place of
//!   anything but a directory;
//! - directories that have to be made get the op's owner and octal mode, else are root's with 0755, and so
//!   is a missing destination that a directory is copied to;
//! - without `--chown` and `--chmod` everything keeps owner and mode, set-id bits included; modification
//!   times are kept.
//!
//! Bytes are copied in parallel, and content that could have changed since its selection is checked.

mod mode;
mod owner;
mod unpack;

use std::collections::HashSet;

use kiln_ir::{CopyOp, FileAction, GuestPath, OwnerSpec};
use rustix::fd::OwnedFd;

pub use owner::Owner;
pub use unpack::Unpack;

use crate::CacheError;
use crate::layer::{Content, Known, LayerWriter, NewFile};
use crate::select::{
    Found, Root, RootContent, SelectError, Selected, Selection, SourceTree, shown,
};
use crate::tree::{LastLink, Meta, Mtime, Node, paths};
use crate::view::View;
use mode::ModeChange;

/// The mode of directories that nobody gave one.
const DIR_MODE: u32 = 0o755;

/// The layer that is being changed, and what it lies on.
#[derive(Debug)]
pub struct Target<'a> {
    base: &'a View,
    writer: &'a mut LayerWriter,
    now: Mtime,
}

/// What an op says of the metadata of what it makes.
struct Overrides {
    owner: Option<Owner>,
    mode: Option<ModeChange>,
}

impl<'a> Target<'a> {
    /// Changes go to `writer`, which lies on `base`; names of users are looked up there. What has no time
    /// of its own gets `now`.
    pub fn new(base: &'a View, writer: &'a mut LayerWriter, now: Mtime) -> Self {
        Self { base, writer, now }
    }

    /// Makes the directory `path` and its missing parents, following links. One that exists stays as it is.
    fn ensure_dir(&mut self, path: &[u8], meta: &Meta) -> Result<Vec<u8>, SelectError> {
        let path = self.writer.resolve(path, LastLink::Follow)?;
        for part in paths::ancestors(&path).chain([path.as_slice()]) {
            if !self.writer.is_dir(part) && self.writer.get(part).is_some() {
                return Err(SelectError::NotADirectory { path: shown(part) });
            }
        }
        if !self.writer.is_dir(&path) {
            self.writer.dir_all(&path, meta, self.now)?;
        }
        Ok(path)
    }

    fn owner(&self, spec: Option<&OwnerSpec>) -> Result<Option<Owner>, SelectError> {
        spec.map(|spec| Owner::look_up(spec, self.base)).transpose()
    }

    fn make_dir(
        &mut self,
        path: &GuestPath,
        mode: u32,
        owner: Option<&OwnerSpec>,
    ) -> Result<(), SelectError> {
        let owner = self.owner(owner)?.unwrap_or_default();
        self.ensure_dir(path.relative().as_bytes(), &meta_of(owner, mode))?;
        Ok(())
    }

    fn make_file(
        &mut self,
        path: &GuestPath,
        meta: (u32, Option<&OwnerSpec>),
        content: &[u8],
    ) -> Result<(), SelectError> {
        let owner = self.owner(meta.1)?.unwrap_or_default();
        let path = self.writer.resolve(path.relative().as_bytes(), LastLink::Follow)?;
        self.refuse_dir(&path)?;
        self.ensure_dir(paths::split(&path).0, &Meta::of_root(DIR_MODE))?;
        let (meta, now) = (meta_of(owner, meta.0), self.now);
        Ok(self.writer.file(&path, &meta, now, Content::Bytes(content))?)
    }

    fn refuse_dir(&self, path: &[u8]) -> Result<(), SelectError> {
        if self.writer.is_dir(path) {
            return Err(SelectError::FileOverDirectory { path: shown(path) });
        }
        Ok(())
    }
}

impl Overrides {
    fn of(copy: &CopyOp, target: &Target<'_>) -> Result<Self, SelectError> {
        Ok(Self {
            owner: target.owner(copy.owner.as_ref())?,
            mode: copy.mode.as_ref().map(ModeChange::parse).transpose()?,
        })
    }

    /// The metadata of directories made on the way.
    fn of_parents(&self) -> Meta {
        let mode = self.mode.as_ref().and_then(ModeChange::of_parents);
        meta_of(self.owner.unwrap_or_default(), mode.unwrap_or(DIR_MODE))
    }

    fn apply(&self, node: &Node, meta: &Meta) -> Meta {
        let mut meta = meta.clone();
        if let Some(Owner { uid, gid }) = self.owner {
            (meta.uid, meta.gid) = (uid, gid);
        }
        if let (Some(change), false) = (&self.mode, matches!(node, Node::Symlink { .. })) {
            meta.mode = change.apply(meta.mode, matches!(node, Node::Dir { .. }));
        }
        meta
    }
}

fn meta_of(owner: Owner, mode: u32) -> Meta {
    Meta { uid: owner.uid, gid: owner.gid, ..Meta::of_root(mode & 0o7777) }
}

/// Makes a directory or a file. A copy is handed back: it needs what it selects.
///
/// # Errors
/// When a parent is no directory, a directory stands where the file should be, an owner is unknown, or
/// writing fails.
pub fn apply_file_action<'f>(
    action: &'f FileAction,
    target: &mut Target<'_>,
) -> Result<Option<&'f CopyOp>, SelectError> {
    match action {
        FileAction::Mkdir { path, mode, owner } => {
            target.make_dir(path, *mode, owner.as_ref())?;
            Ok(None)
        }
        FileAction::Mkfile { path, mode, owner, content } => {
            target.make_file(path, (*mode, owner.as_ref()), content)?;
            Ok(None)
        }
        FileAction::Copy(copy) => Ok(Some(copy)),
    }
}

/// Copies all that `copy` selected from `tree`.
///
/// # Errors
/// As for [`write_root`].
pub fn write_selection<T: SourceTree>(
    selection: &Selection,
    tree: &T,
    copy: &CopyOp,
    target: &mut Target<'_>,
) -> Result<(), SelectError> {
    write_roots(selection.roots(), tree, copy, target)
}

/// Copies one match of `copy`, for who unpacks others of its matches.
///
/// # Errors
/// When a file would replace a directory or the other way round, an owner is unknown, a file changed
/// since it was selected, or reading or writing fails. The layer is of no more use then.
pub fn write_root<T: SourceTree>(
    root: &Root,
    tree: &T,
    copy: &CopyOp,
    target: &mut Target<'_>,
) -> Result<(), SelectError> {
    write_roots(std::slice::from_ref(root), tree, copy, target)
}

fn write_roots<T: SourceTree>(
    roots: &[Root],
    tree: &T,
    copy: &CopyOp,
    target: &mut Target<'_>,
) -> Result<(), SelectError> {
    let overrides = Overrides::of(copy, target)?;
    let mut copier = Copier {
        tree,
        overrides,
        files: Vec::new(),
        links: Vec::new(),
        // No two entries of one root are at the same path.
        paths: (roots.len() > 1).then(HashSet::new),
        fresh: None,
    };
    for root in roots {
        copier.root(root, copy, target)?;
    }
    copier.flush(target)
}

/// Copies in batches: directories at once, then the files in parallel, then further names of files.
struct Copier<'t, T> {
    tree: &'t T,
    overrides: Overrides,
    files: Vec<NewFile>,
    /// A path and the file it is one more name of.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    /// All paths of the batch, which the layer does not know yet, where two may be the same.
    paths: Option<HashSet<Vec<u8>>>,
    /// The directory of this root that was made last where there was nothing, with a slash: below it there is nothing
    /// either but what this root puts there.
    fresh: Option<Vec<u8>>,
}

impl<T: SourceTree> Copier<'_, T> {
    fn root(
        &mut self,
        root: &Root,
        copy: &CopyOp,
        target: &mut Target<'_>,
    ) -> Result<(), SelectError> {
        let dest = self.destination(root, copy, target)?;
        self.fresh = None;
        match &root.content {
            RootContent::Directory(entries) => {
                for entry in entries.iter() {
                    self.entry(&entry, (&dest, paths::join(&dest, entry.dest())), target)?;
                }
                Ok(())
            }
            RootContent::Single(single) => {
                let path = if target.writer.is_dir(&dest) {
                    paths::join(&dest, &root.name)
                } else {
                    dest.clone()
                };
                self.entry(&single.entry(), (&dest, path), target)
            }
        }
    }

    /// Where the content of a root goes: makes what has to be there before.
    fn destination(
        &mut self,
        root: &Root,
        copy: &CopyOp,
        target: &mut Target<'_>,
    ) -> Result<Vec<u8>, SelectError> {
        let written = copy.dest.relative().as_bytes();
        // A batch may be about to put a file there.
        if self.is_in_batch(&target.writer.resolve(written, LastLink::Follow)?) {
            self.flush(target)?;
        }
        let made = self.overrides.of_parents();
        let is_dir = matches!(root.content, RootContent::Directory(_));
        if copy.dest_is_dir {
            target.ensure_dir(written, &made)?;
        } else {
            target.ensure_dir(paths::split(written).0, &made)?;
        }
        let dest = target.writer.resolve(written, LastLink::Follow)?;
        if is_dir {
            if target.writer.get(&dest).is_some() && !target.writer.is_dir(&dest) {
                return Err(SelectError::DirectoryOverFile { path: shown(&dest) });
            }
            target.ensure_dir(&dest, &made)?;
        } else {
            target.ensure_dir(paths::split(&dest).0, &made)?;
        }
        Ok(dest)
    }

    /// Copies one entry to the path `place.1`; hard links name entries below `place.0`.
    fn entry(
        &mut self,
        entry: &Selected<'_>,
        place: (&[u8], Vec<u8>),
        target: &mut Target<'_>,
    ) -> Result<(), SelectError> {
        let (dest, path) = place;
        // What earlier matches put there may have further names, which keep the earlier content.
        if self.is_in_batch(&path) {
            self.flush(target)?;
        }
        let Found { node, meta, mtime, settled, ahead, link: _ } = entry.found.as_ref();
        let (meta, mtime) = (self.overrides.apply(node, meta), *mtime);
        let is_fresh = self.fresh.as_ref().is_some_and(|fresh| path.starts_with(fresh));
        if let Node::Dir { .. } = node {
            if !is_fresh && target.writer.get(&path).is_none() {
                self.fresh = Some(paths::join(&path, b""));
            }
            return copy_dir(&path, meta, mtime, target);
        }
        if !is_fresh {
            target.refuse_dir(&path)?;
        }
        match node {
            Node::File { digest, .. } => {
                let known = match settled {
                    Some(key) => Known::AsOf(**key, *digest),
                    None if self.tree.is_mutable() => Known::Expected(*digest),
                    None => Known::Certain(*digest),
                };
                self.note(&path);
                let (source, ahead) = (entry.source().to_vec(), ahead.clone());
                self.files.push(NewFile { path, meta, mtime, source, known, ahead });
            }
            Node::Hardlink { to } => {
                self.note(&path);
                self.links.push((path, paths::join(dest, to)));
            }
            Node::Symlink { target: text } => target.writer.symlink(&path, text, &meta, mtime)?,
            Node::CharDevice { .. } | Node::BlockDevice { .. } | Node::Fifo | Node::Socket => {
                target.writer.special(&path, node, &meta, mtime)?;
            }
            Node::Dir { .. } | Node::Whiteout => {}
        }
        Ok(())
    }

    fn is_in_batch(&self, path: &[u8]) -> bool {
        self.paths.as_ref().is_some_and(|paths| paths.contains(path))
    }

    fn note(&mut self, path: &[u8]) {
        if let Some(paths) = &mut self.paths {
            paths.insert(path.to_vec());
        }
    }

    fn flush(&mut self, target: &mut Target<'_>) -> Result<(), SelectError> {
        if let Some(paths) = &mut self.paths {
            paths.clear();
        }
        let tree = self.tree;
        let open = |file: &NewFile| match tree.open(&file.source) {
            Ok(file) => Ok(OwnedFd::from(file)),
            Err(SelectError::Cache(error)) => Err(error),
            Err(other) => {
                Err(CacheError::io("open", paths::host(&file.source))(std::io::Error::other(other)))
            }
        };
        target.writer.files_parallel(std::mem::take(&mut self.files), &open)?;
        for (path, to) in self.links.drain(..) {
            target.writer.hardlink(&path, &to)?;
        }
        Ok(())
    }
}

/// Makes a directory, or gives the one that is there the source's metadata.
fn copy_dir(
    path: &[u8],
    mut meta: Meta,
    mtime: Mtime,
    target: &mut Target<'_>,
) -> Result<(), SelectError> {
    match target.writer.get(path) {
        // Attributes are added, never taken away.
        Some((Node::Dir { .. }, there, _)) => {
            let mut xattrs = there.xattrs.clone();
            xattrs.append(&mut meta.xattrs);
            meta.xattrs = xattrs;
        }
        Some(_) => return Err(SelectError::DirectoryOverFile { path: shown(path) }),
        None => {}
    }
    Ok(target.writer.dir(path, &meta, mtime)?)
}

#[cfg(test)]
mod tests;
