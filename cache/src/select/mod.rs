//! What one COPY or ADD takes from its source tree, and the digest of exactly that.
//!
//! One walk serves the cache key and the copy. The digest covers, for each thing selected, the name it is
//! copied under, its type, mode, owner, attributes, link target, content and which names are one file; not
//! modification times, nor what the op overrides with `--chown` and `--chmod`, nor the metadata of a
//! copied directory itself, of which only the content is copied. The same rules as the reference's:
//!
//! - a source that is a directory gives its content, anything else itself;
//! - symbolic links are followed, inside the tree, in a source and its parents, and nowhere else;
//! - ignore patterns judge paths in the tree, include and exclude patterns paths below the copied directory
//!   (for a file: its name); a directory left out is still made when something below it is taken;
//! - names of one file stay one file within one match of the source.

mod digest;
mod entries;
mod error;
mod listed;
mod matches;
mod resolve;
mod source;
mod walk;
mod wildcard;

use std::borrow::Cow;

use kiln_ir::{CopyOp, Digest, PatternSet};

pub use entries::Entries;
pub use error::SelectError;
pub(crate) use error::{nearest_names, shown};
pub use listed::Listed;
pub(crate) use listed::{Child, Plain};
pub(crate) use resolve::{End, resolve};
pub use source::{Found, Kind, LinkId, Peek, SourceTree};

use crate::tree::Node;
use digest::Reads;
use matches::Match;
use walk::{Body, Walk};

/// Everything that one source of a COPY takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    roots: Vec<Root>,
    digest: Digest,
}

/// One match of a source: with wildcards there may be several, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The name it has below a destination that is a directory: the last component as written.
    pub name: Vec<u8>,
    /// What it is.
    pub content: RootContent,
}

/// What a source turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootContent {
    /// A directory: what is in it. The directory itself is not copied.
    Directory(Entries),
    /// Anything else; its [`Selected::dest`] is empty.
    Single(Single),
}

/// Something by itself that is no directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Single {
    path: Vec<u8>,
    found: Found,
}

/// One thing to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected<'a> {
    path: Cow<'a, [u8]>,
    /// How many bytes of the path lead to the destination.
    root_bytes: usize,
    /// What it is, as in the source tree: the op's owner and mode are not applied yet. A [`Node::Hardlink`] refers to
    /// the `dest` of an earlier entry of the same root.
    pub found: Cow<'a, Found>,
}

impl<'a> Selected<'a> {
    fn new(path: impl Into<Cow<'a, [u8]>>, root_bytes: usize, found: Cow<'a, Found>) -> Self {
        Self { path: path.into(), root_bytes, found }
    }

    /// Its path in the source tree, without symbolic links on the way.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        &self.path
    }

    /// Its path below the destination.
    #[must_use]
    pub fn dest(&self) -> &[u8] {
        self.path.get(self.root_bytes..).unwrap_or_default()
    }
}

impl Single {
    /// What is copied.
    #[must_use]
    pub fn entry(&self) -> Selected<'_> {
        Selected::new(self.path.as_slice(), self.path.len(), Cow::Borrowed(&self.found))
    }
}

impl Selection {
    /// The matches, in byte order of their paths.
    #[must_use]
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The identity of what is selected.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Everything selected, in order.
    pub fn entries(&self) -> impl Iterator<Item = Selected<'_>> {
        self.roots.iter().flat_map(Root::entries)
    }
}

impl Root {
    fn new(name: Vec<u8>, body: Body) -> Self {
        let content = match body {
            Body::Directory(entries) => RootContent::Directory(entries),
            Body::Single(single) => RootContent::Single(single),
        };
        Self { name, content }
    }

    /// What is copied, parents first.
    pub fn entries(&self) -> impl Iterator<Item = Selected<'_>> {
        let (below, itself) = match &self.content {
            RootContent::Directory(entries) => (Some(entries), None),
            RootContent::Single(single) => (None, Some(single.entry())),
        };
        below.into_iter().flat_map(Entries::iter).chain(itself)
    }

    /// The file, when the match is one: the only thing that may be an archive to unpack.
    #[must_use]
    pub fn file(&self) -> Option<Selected<'_>> {
        let RootContent::Single(single) = &self.content else { return None };
        Some(single.entry()).filter(|entry| matches!(entry.found.node, Node::File { .. }))
    }
}

/// Finds and reads what `copy` takes from `tree`.
///
/// # Errors
/// When a source is missing or left out by the ignore file (a wildcard may match nothing unless it is
/// required to), a pattern is none, or something selected cannot be read.
pub fn select<T: SourceTree>(tree: &T, copy: &CopyOp) -> Result<Selection, SelectError> {
    let ignore = PatternSet::parse(copy.ignore.iter().map(String::as_str))?;
    let exclude = PatternSet::parse(copy.exclude.iter().map(String::as_str))?;
    let include = PatternSet::parse(copy.include.iter().map(String::as_str))?;
    let found = matches::find(tree, copy, &ignore)?;
    let walk = Walk { tree, ignore: &ignore, include: &include, exclude: &exclude };
    let mut roots = Vec::with_capacity(found.len());
    let mut ignored = Vec::new();
    for found in found {
        let name = found.written_name().to_vec();
        match walk.root(&found)? {
            Some(body) => roots.push((name, body)),
            None => ignored.push(found),
        }
    }
    refuse_ignored(copy, roots.is_empty(), &ignored)?;
    let digest = digest::of(&roots, Reads::of(copy));
    let roots: Vec<Root> = roots.into_iter().map(|(name, body)| Root::new(name, body)).collect();
    let selected_any = roots.iter().any(|root| root.entries().next().is_some());
    if copy.required && !include.is_empty() && !selected_any {
        matches::find_included(tree, copy, &ignore)?;
    }
    Ok(Selection { roots, digest })
}

/// A match that is left out whole is as good as absent.
fn refuse_ignored(
    copy: &CopyOp,
    is_nothing_else: bool,
    ignored: &[Match],
) -> Result<(), SelectError> {
    let may_be_nothing = matches::is_pattern(copy) && !copy.required;
    // What `--exclude` leaves out, it was meant to.
    if is_nothing_else && ignored.iter().any(Match::is_ignored) && !may_be_nothing {
        return Err(SelectError::Ignored { source_path: copy.source.clone() });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod remembered;
#[cfg(test)]
mod tests;
