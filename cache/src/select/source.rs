//! What a COPY can read from: one interface over a context's directory and over a stage's layers.
//!
//! Paths are relative to the tree's root, clean, and lead through directories only: following symbolic
//! links is done above, in [`super::resolve`], so that an implementation never follows one.

use std::fs::File;
use std::sync::Arc;

use kiln_ir::Digest;

use super::{Listed, SelectError};
use crate::layer::AheadCopy;
use crate::stat::StatKey;
use crate::tree::{Entry, Meta, Mtime, Node};
use crate::view::View;

/// A tree that files are selected from.
pub trait SourceTree: Sync {
    /// What stands at `path`, without reading any content. Nothing when there is nothing.
    ///
    /// # Errors
    /// When the tree cannot be read there.
    fn peek(&self, path: &[u8]) -> Result<Option<Peek>, SelectError>;

    /// The whole of what stands at `path`, which is not the root. Nothing when there is nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    fn entry(&self, path: &[u8]) -> Result<Option<Found>, SelectError>;

    /// The children of the directory `dir` that `want` asks for, in byte order of their names. `want` is called
    /// for every child, in that order; those that it does not ask for are not touched. A child that vanishes
    /// meanwhile is left out.
    ///
    /// # Errors
    /// When `dir` or a wanted child cannot be read.
    fn list(
        &self,
        dir: &[u8],
        want: &mut dyn FnMut(&[u8], Kind) -> bool,
    ) -> Result<Listed, SelectError>;

    /// Opens the regular file at `path` for reading.
    ///
    /// # Errors
    /// When there is none or it cannot be opened.
    fn open(&self, path: &[u8]) -> Result<File, SelectError>;

    /// Whether content can change between selection and copy, so that it must be hashed again.
    fn is_mutable(&self) -> bool;
}

/// The sort of thing that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// Anything else.
    Other,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peek {
    /// A directory.
    Dir,
    /// A symbolic link with this text.
    Symlink(Vec<u8>),
    /// Anything else.
    Other,
}

impl Peek {
    pub(crate) fn of(node: &Node) -> Self {
        if let Node::Symlink { target } = node {
            return Self::Symlink(target.clone());
        }
        if matches!(node, Node::Dir { .. }) { Self::Dir } else { Self::Other }
    }
}

/// An entry of a [`SourceTree`]. A hard link is here as the file it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is; never a whiteout or a hard link.
    pub node: Node,
    /// Its mode, owner and attributes.
    pub meta: Meta,
    /// When its content last changed.
    pub mtime: Mtime,
    /// For a file that may have further names: equal for all names of one file, and only for them.
    pub link: Option<Box<LinkId>>,
    /// For a large file in a tree that can change: the stat it had when it was read, if any later change
    /// would show in that.
    pub settled: Option<Box<StatKey>>,
    /// A copy that was made while it was read.
    pub ahead: Option<Arc<AheadCopy>>,
}

/// The identity of a file with several names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkId {
    /// A file on a filesystem.
    Inode {
        /// Its device.
        device: u64,
        /// Its number there.
        inode: u64,
    },
    /// A file in a layer.
    Layered {
        /// The layer.
        layer: Digest,
        /// The name that its links refer to.
        path: Vec<u8>,
    },
}

impl SourceTree for View {
    fn peek(&self, path: &[u8]) -> Result<Option<Peek>, SelectError> {
        if path.is_empty() {
            return Ok(Some(Peek::Dir));
        }
        Ok(self.lookup(path).map(|found| Peek::of(&found.entry.node)))
    }

    fn entry(&self, path: &[u8]) -> Result<Option<Found>, SelectError> {
        Ok(self.lookup(path).map(|found| from_view(&found)))
    }

    fn list(
        &self,
        dir: &[u8],
        want: &mut dyn FnMut(&[u8], Kind) -> bool,
    ) -> Result<Listed, SelectError> {
        let mut listed = Listed::default();
        for found in self.children(dir) {
            if want(found.entry.name(), kind(found.entry)) {
                listed.push(found.entry.name(), from_view(&found));
            }
        }
        Ok(listed)
    }

    fn open(&self, path: &[u8]) -> Result<File, SelectError> {
        Ok(View::open(self, path)?)
    }

    fn is_mutable(&self) -> bool {
        false
    }
}

fn kind(entry: &Entry) -> Kind {
    match Peek::of(&entry.node) {
        Peek::Dir => Kind::Dir,
        Peek::Symlink(_) => Kind::Symlink,
        Peek::Other => Kind::Other,
    }
}

fn from_view(found: &crate::view::Found<'_>) -> Found {
    let entry = found.entry;
    let (node, link) = match (&entry.node, found.content()) {
        (Node::Hardlink { to }, Some((digest, size_bytes))) => {
            let link = LinkId::Layered { layer: found.layer, path: to.clone() };
            (Node::File { digest, size_bytes }, Some(Box::new(link)))
        }
        (Node::File { .. }, _) => {
            let link = LinkId::Layered { layer: found.layer, path: entry.path.clone() };
            (entry.node.clone(), Some(Box::new(link)))
        }
        // What else lower layers hide or keep is settled in the view: only its content counts here.
        (Node::Dir { .. }, _) => (Node::Dir { opaque: false }, None),
        (node, _) => (node.clone(), None),
    };
    Found { node, meta: entry.meta.clone(), mtime: entry.mtime, link, settled: None, ahead: None }
}
