//! What a step changed, read from the manifests of layers: nothing is mounted.

use std::collections::BTreeSet;

use kiln_cache::tree::{Meta, Node};
use kiln_cache::view::{Found, View};
use kiln_ir::Digest;

use super::Moment;
use crate::history::PastBuild;
use crate::{Engine, EngineError};

/// One path that a step changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The path below the root, without a slash before it. Names are bytes.
    pub path: Vec<u8>,
    /// What was there; nothing for what was added.
    pub before: Option<FileState>,
    /// What is there; nothing for what was deleted.
    pub after: Option<FileState>,
}

/// What became of a path, in the terms of `docker diff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// There was nothing.
    Added,
    /// There was something. Of a directory that may be that something in it changed.
    Changed,
    /// There is nothing.
    Deleted,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// What it is; a hard link is a file.
    pub node: Node,
    /// Mode, owner and extended attributes.
    pub meta: Meta,
    /// A file's length in bytes and the digest of its content.
    pub content: Option<(Digest, u64)>,
}

impl FileChange {
    /// What became of the path.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        match (&self.before, &self.after) {
            (None, _) => ChangeKind::Added,
            (Some(_), Some(_)) => ChangeKind::Changed,
            (Some(_), None) => ChangeKind::Deleted,
        }
    }
}

impl FileState {
    fn of(found: &Found<'_>) -> Self {
        let (node, meta) = (found.entry.node.clone(), found.entry.meta.clone());
        Self { node, meta, content: found.content() }
    }
}

impl Engine {
    /// What a step changed, by the index of its task, in the byte order of paths. Of a directory that was deleted
    /// with all that was in it, there is the directory alone.
    ///
    /// # Errors
    /// When the store does not have the filesystem before or after the step, or cannot be read.
    pub fn changes_of(
        &self,
        build: &PastBuild,
        index: usize,
    ) -> Result<Vec<FileChange>, EngineError> {
        let view = |moment| -> Result<(View, Vec<Digest>), EngineError> {
            let layers = self.state_of(build, index, moment)?.layers().to_vec();
            let layers: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
            Ok((View::new(&self.layers, &layers)?, layers))
        };
        // The step itself is the more telling where both are gone.
        let (after, stack) = view(Moment::After)?;
        let (before, below) = view(Moment::Before)?;
        let mut touched = BTreeSet::new();
        for layer in stack.get(below.len()..).unwrap_or_default() {
            for entry in self.layers.manifest(layer)?.entries() {
                touched.insert(entry.path.clone());
                // What lay in a directory that now hides it, or is none any more.
                if entry.node != (Node::Dir { opaque: false }) && before.is_dir(&entry.path) {
                    let hidden = before.children(&entry.path);
                    touched.extend(hidden.iter().map(|found| found.entry.path.clone()));
                }
            }
        }
        Ok(changes(&before, &after, touched))
    }
}

fn changes(before: &View, after: &View, touched: BTreeSet<Vec<u8>>) -> Vec<FileChange> {
    let mut changes: Vec<FileChange> = Vec::new();
    // A directory comes before what is in it.
    let mut deleted: BTreeSet<Vec<u8>> = BTreeSet::new();
    for path in touched {
        let state = |view: &View| view.lookup(&path).map(|found| FileState::of(&found));
        let (was, is) = (state(before), state(after));
        match (&was, &is) {
            (None, None) => continue,
            (Some(_), None) => {
                deleted.insert(path.clone());
                if is_below(&path, &deleted) {
                    continue;
                }
            }
            (_, Some(_)) => {}
        }
        changes.push(FileChange { path, before: was, after: is });
    }
    changes
}

fn is_below(path: &[u8], deleted: &BTreeSet<Vec<u8>>) -> bool {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.into_iter().any(|(at, _)| deleted.contains(&path[..at]))
}
