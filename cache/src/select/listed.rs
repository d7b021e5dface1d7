//! What a tree gives of one directory.

use std::borrow::Cow;
use std::ops::Range;

use kiln_ir::Digest;

use super::{Found, LinkId, Node};
use crate::tree::{Meta, Mtime};

/// Children of a directory, in byte order of their names.
///
/// It takes little memory, and few pieces of it: in a large context it is made of every directory in each build, and in
/// most builds nobody looks at it again.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Together, in any order, with others between them that were not asked for.
    names: Vec<u8>,
    children: Vec<Child>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    /// Where its name is.
    name: Range<usize>,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Plain(Plain),
    Other(Box<Found>),
}

/// A file like nearly all in a context: root's and with nothing that is worth a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    /// Its permissions.
    pub(crate) mode: u32,
    pub(crate) mtime: Mtime,
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        // Where in the text a name is tells nothing.
        self.iter().eq(other.iter())
    }
}

impl Eq for Listed {}

impl What {
    fn of(found: Found) -> Self {
        match found {
            Found {
                node: Node::File { digest, size_bytes },
                meta: Meta { mode, uid: 0, gid: 0, xattrs },
                mtime,
                link: None,
                settled: None,
                ahead: None,
            } if xattrs.is_empty() => Self::Plain(Plain { digest, size_bytes, mode, mtime }),
            other => Self::Other(Box::new(other)),
        }
    }

    fn found(&self) -> Cow<'_, Found> {
        match self {
            Self::Plain(Plain { digest, size_bytes, mode, mtime }) => Cow::Owned(Found {
                node: Node::File { digest: *digest, size_bytes: *size_bytes },
                meta: Meta::of_root(*mode),
                mtime: *mtime,
                link: None,
                settled: None,
                ahead: None,
            }),
            Self::Other(found) => Cow::Borrowed(found),
        }
    }
}

impl Child {
    /// What has its name at this place of those that are given to [`Listed::of`].
    pub(crate) fn new(name: Range<usize>, found: Found) -> Self {
        Self { name, what: What::of(found) }
    }

    /// As [`Child::new`] of a file that is known to be plain.
    pub(crate) fn plain(name: Range<usize>, plain: Plain) -> Self {
        Self { name, what: What::Plain(plain) }
    }

    /// Its node, where it is no plain file.
    fn special(&self) -> Option<&Node> {
        if let What::Other(found) = &self.what { Some(&found.node) } else { None }
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(self.special(), Some(Node::Dir { .. }))
    }

    pub(super) fn is_socket(&self) -> bool {
        matches!(self.special(), Some(Node::Socket))
    }

    /// Takes what tells its further names.
    pub(super) fn take_link(&mut self) -> Option<Box<LinkId>> {
        if let What::Other(found) = &mut self.what { found.link.take() } else { None }
    }
}

impl Listed {
    /// The children, whose names are in `names`.
    pub(crate) fn of(names: Vec<u8>, children: Vec<Child>) -> Self {
        Self { names, children }
    }

    /// Adds a child, whose name comes after all others.
    pub fn push(&mut self, name: &[u8], found: Found) {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.children.push(Child::new(start..self.names.len(), found));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// The children with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Cow<'_, Found>)> {
        self.range(0..self.len())
    }

    /// Those of these indices.
    pub(super) fn range(
        &self,
        indices: Range<usize>,
    ) -> impl Iterator<Item = (&[u8], Cow<'_, Found>)> {
        let children = self.children[indices].iter();
        children.map(|child| (&self.names[child.name.clone()], child.what.found()))
    }

    /// The children, to be looked through, with their names.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&[u8], &mut Child)> {
        let names = &self.names;
        self.children.iter_mut().map(|child| (&names[child.name.clone()], child))
    }

    pub(super) fn name(&self, index: usize) -> &[u8] {
        &self.names[self.children[index].name.clone()]
    }

    /// Changes what the child of this index is.
    pub(super) fn set_node(&mut self, index: usize, node: Node) {
        let child = &mut self.children[index];
        let found = child.what.found().into_owned();
        child.what = What::of(Found { node, ..found });
    }

    pub(super) fn drop_sockets(&mut self) {
        self.children.retain(|child| !child.is_socket());
    }
}
