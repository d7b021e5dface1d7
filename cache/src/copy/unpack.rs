//! Giving the entries of an archive their places below the destination of an ADD.
//!
//! Reading the archive is the caller's. Here its names are taken for hostile: the destination is their
//! root, which neither `..` nor symbolic links lead out of, be they in the archive, in earlier layers or
//! made by earlier entries. As in the reference an entry replaces whatever is there, but a directory only
//! gives a directory its metadata; the op's owner counts for everything, its mode for nothing.

use kiln_ir::CopyOp;

use super::{DIR_MODE, Overrides, Target, meta_of};
use crate::layer::Content;
use crate::select::{End, Peek, SelectError, resolve, shown};
use crate::tree::{LastLink, Meta, Mtime, Node, paths};

/// An archive being unpacked.
#[derive(Debug)]
pub struct Unpack<'t, 'a> {
    target: &'t mut Target<'a>,
    /// The directory that is the archive's root.
    dest: Vec<u8>,
    owner: Option<super::Owner>,
}

impl<'t, 'a> Unpack<'t, 'a> {
    /// Makes the destination of `copy` as far as it is missing.
    ///
    /// # Errors
    /// When the destination is no directory, or the owner is unknown.
    pub fn new(copy: &CopyOp, target: &'t mut Target<'a>) -> Result<Self, SelectError> {
        let overrides = Overrides::of(copy, target)?;
        let meta = meta_of(overrides.owner.unwrap_or_default(), DIR_MODE);
        let dest = target.ensure_dir(copy.dest.relative().as_bytes(), &meta)?;
        Ok(Self { target, dest, owner: overrides.owner })
    }

    /// Unpacks a directory.
    ///
    /// # Errors
    /// Like all that follow: [`SelectError::Escape`] when the entry leads out of the destination, or the
    /// failure of writing. The layer is of no more use then.
    pub fn dir(&mut self, path: &[u8], meta: &Meta, mtime: Mtime) -> Result<(), SelectError> {
        let Some(path) = self.place(path, LastLink::Follow)? else { return Ok(()) };
        let hidden = self.target.base.is_dir(&path) && !self.target.writer.is_dir(&path);
        let meta = self.owned(meta);
        self.target.writer.dir(&path, &meta, mtime)?;
        if hidden {
            // A file replaced it, so what was in it does not come back.
            self.target.writer.opaque(&path)?;
        }
        Ok(())
    }

    /// Unpacks a file.
    ///
    /// # Errors
    /// See [`Unpack::dir`].
    pub fn file(
        &mut self,
        path: &[u8],
        meta: &Meta,
        mtime: Mtime,
        content: Content<'_>,
    ) -> Result<(), SelectError> {
        let Some(path) = self.place(path, LastLink::Keep)? else { return Ok(()) };
        let meta = self.owned(meta);
        Ok(self.target.writer.file(&path, &meta, mtime, content)?)
    }

    /// Unpacks a symbolic link. Its text is kept, wherever it leads.
    ///
    /// # Errors
    /// See [`Unpack::dir`].
    pub fn symlink(
        &mut self,
        path: &[u8],
        text: &[u8],
        meta: &Meta,
        mtime: Mtime,
    ) -> Result<(), SelectError> {
        let Some(path) = self.place(path, LastLink::Keep)? else { return Ok(()) };
        let meta = self.owned(meta);
        Ok(self.target.writer.symlink(&path, text, &meta, mtime)?)
    }

    /// Unpacks one more name of what an earlier entry or layer has at `to`.
    ///
    /// # Errors
    /// See [`Unpack::dir`]; also when there is no file at `to`.
    pub fn hardlink(&mut self, path: &[u8], to: &[u8]) -> Result<(), SelectError> {
        let Some(from) = self.place(to, LastLink::Keep)? else {
            return Err(self.escape(to));
        };
        let Some(path) = self.place(path, LastLink::Keep)? else { return Ok(()) };
        Ok(self.target.writer.hardlink(&path, &from)?)
    }

    /// Unpacks a device or a named pipe.
    ///
    /// # Errors
    /// See [`Unpack::dir`].
    pub fn special(
        &mut self,
        path: &[u8],
        node: &Node,
        meta: &Meta,
        mtime: Mtime,
    ) -> Result<(), SelectError> {
        let Some(path) = self.place(path, LastLink::Keep)? else { return Ok(()) };
        let meta = self.owned(meta);
        Ok(self.target.writer.special(&path, node, &meta, mtime)?)
    }

    fn owned(&self, meta: &Meta) -> Meta {
        let mut meta = meta.clone();
        if let Some(owner) = self.owner {
            (meta.uid, meta.gid) = (owner.uid, owner.gid);
        }
        meta
    }

    /// The path in the layer of the archive's `entry`; nothing for the destination itself.
    fn place(&self, entry: &[u8], last: LastLink) -> Result<Option<Vec<u8>>, SelectError> {
        if entry.split(|&byte| byte == b'/').any(|part| part == b"..") || entry.contains(&0) {
            return Err(self.escape(entry));
        }
        let peek = |path: &[u8]| Ok(self.peek(path));
        let resolved = resolve(entry, last, peek)?;
        if resolved.path.is_empty() {
            return Ok(None);
        }
        if resolved.end == End::NotADirectory {
            return Err(SelectError::NotADirectory { path: shown(&self.below(&resolved.path)) });
        }
        Ok(Some(self.below(&resolved.path)))
    }

    fn below(&self, path: &[u8]) -> Vec<u8> {
        paths::join(&self.dest, path)
    }

    fn peek(&self, path: &[u8]) -> Option<Peek> {
        Some(Peek::of(self.target.writer.get(&self.below(path))?.0))
    }

    fn escape(&self, entry: &[u8]) -> SelectError {
        let entry = String::from_utf8_lossy(entry).into_owned();
        SelectError::Escape { entry, dest: shown(&self.dest) }
    }
}
