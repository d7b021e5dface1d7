//! Several layers seen as one filesystem, from their manifests alone.
//!
//! Paths are relative to the root, as in [`Entry`]; the root is the empty path, always a directory, and
//! has no entry. Layers are lowest first. Nothing is mounted; only opening and reading touch a disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, OnceLock};

use kiln_ir::Digest;

use crate::CacheError;
use crate::layer::{LayerFiles, LayerStore};
use crate::tree::{Entry, LastLink, Manifest, Node, lossy, paths, resolve};

/// A merged, read-only view of layers.
#[derive(Debug)]
pub struct View {
    store: LayerStore,
    /// Lowest first.
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    digest: Digest,
    manifest: Arc<Manifest>,
    /// The layer's tree, opened when something in it is.
    files: OnceLock<LayerFiles>,
}

/// What a [`View`] has at a path.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The layer that it comes from.
    pub layer: Digest,
    /// The entry, with its path in the root; never a whiteout.
    pub entry: &'a Entry,
    manifest: &'a Manifest,
}

impl Found<'_> {
    /// The content of a file or of a hard link to one: its digest and length in bytes.
    #[must_use]
    pub fn content(&self) -> Option<(Digest, u64)> {
        self.manifest.content(self.entry)
    }
}

/// What one layer has to say on a path.
enum Answer<'a> {
    Has(&'a Entry),
    Hides,
    Silent,
}

impl View {
    /// Loads the manifests of `layers`, lowest first. No layers make an empty filesystem.
    ///
    /// # Errors
    /// When a layer is missing or damaged.
    pub fn new(store: &LayerStore, layers: &[Digest]) -> Result<Self, CacheError> {
        let load = |&digest: &Digest| {
            Ok(Layer { digest, manifest: store.manifest(&digest)?, files: OnceLock::new() })
        };
        Ok(Self {
            store: store.clone(),
            layers: layers.iter().map(load).collect::<Result<_, CacheError>>()?,
        })
    }

    /// What is at `path`; no link is followed. Nothing for the root, which has no entry.
    #[must_use]
    pub fn lookup(&self, path: &[u8]) -> Option<Found<'_>> {
        self.find(path).map(|(_, found)| found)
    }

    fn find(&self, path: &[u8]) -> Option<(&Layer, Found<'_>)> {
        for layer in self.layers.iter().rev() {
            match ask(&layer.manifest, path) {
                Answer::Has(entry) => return Some((layer, layer.found(entry))),
                Answer::Hides => return None,
                Answer::Silent => {}
            }
        }
        None
    }

    /// Whether `path` is a directory; no link is followed.
    #[must_use]
    pub fn is_dir(&self, path: &[u8]) -> bool {
        path.is_empty() || self.lookup(path).is_some_and(|found| found.entry.is_dir())
    }

    /// Follows the symbolic links in `path` inside the root: at most 40, absolute ones from the root, `..`
    /// no higher than the root. Components that do not exist are kept as written.
    ///
    /// # Errors
    /// [`CacheError::TooManyLinks`].
    pub fn resolve(&self, path: &[u8], last: LastLink) -> Result<Vec<u8>, CacheError> {
        resolve(path, last, |path| self.lookup(path)?.entry.node.link_target())
    }

    /// What is directly in `dir`, in byte order; nothing when it is no directory.
    #[must_use]
    pub fn children<'a>(&'a self, dir: &'a [u8]) -> Vec<Found<'a>> {
        let mut merged: BTreeMap<&[u8], Option<Found<'a>>> = BTreeMap::new();
        for layer in self.layers.iter().rev() {
            for entry in layer.manifest.children(dir) {
                let found = (entry.node != Node::Whiteout).then(|| layer.found(entry));
                merged.entry(entry.name()).or_insert(found);
            }
            let ends_here = match ask(&layer.manifest, dir) {
                Answer::Has(entry) => entry.node != Node::Dir { opaque: false },
                Answer::Hides => true,
                Answer::Silent => false,
            };
            if ends_here {
                break;
            }
        }
        merged.into_values().flatten().collect()
    }

    /// Everything below `dir`, parents first and siblings in byte order; not `dir` itself.
    #[must_use]
    pub fn walk<'a>(&'a self, dir: &'a [u8]) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        let mut ahead = self.children(dir);
        ahead.reverse();
        while let Some(next) = ahead.pop() {
            found.push(next);
            if next.entry.is_dir() {
                let first = ahead.len();
                ahead.extend(self.children(&next.entry.path));
                ahead[first..].reverse();
            }
        }
        found
    }

    /// Opens the file at `path`; no link is followed, so give what [`View::resolve`] gave.
    ///
    /// # Errors
    /// [`CacheError::NoSuchFile`] when there is no regular file, else the failure of opening it.
    pub fn open(&self, path: &[u8]) -> Result<File, CacheError> {
        let missing = || CacheError::NoSuchFile { path: lossy(path) };
        let (layer, found) = self.find(path).ok_or_else(missing)?;
        found.content().ok_or_else(missing)?;
        let files = match layer.files.get() {
            Some(files) => files,
            None => {
                let opened = self.store.files(&layer.digest)?;
                layer.files.get_or_init(|| opened)
            }
        };
        files.open(path)
    }

    /// Reads a file of at most `limit_bytes`, following links; nothing when there is none.
    ///
    /// # Errors
    /// [`CacheError::TooLarge`], [`CacheError::TooManyLinks`], or the failure of reading.
    pub fn read_small(&self, path: &[u8], limit_bytes: u64) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.resolve(path, LastLink::Follow)?;
        let Some((_, size_bytes)) = self.lookup(&path).and_then(|found| found.content()) else {
            return Ok(None);
        };
        if size_bytes > limit_bytes {
            return Err(CacheError::TooLarge { path: lossy(&path), limit_bytes });
        }
        let mut content = Vec::new();
        let read = self.open(&path)?.take(limit_bytes).read_to_end(&mut content);
        read.map_err(CacheError::io("read in a layer", paths::host(&path)))?;
        Ok(Some(content))
    }
}

impl Layer {
    fn found<'a>(&'a self, entry: &'a Entry) -> Found<'a> {
        Found { layer: self.digest, entry, manifest: &self.manifest }
    }
}

/// What one layer says on `path`, on the root in particular: nothing.
fn ask<'a>(manifest: &'a Manifest, path: &[u8]) -> Answer<'a> {
    match manifest.get(path) {
        Some(entry) if entry.node == Node::Whiteout => return Answer::Hides,
        Some(entry) => return Answer::Has(entry),
        None => {}
    }
    for above in paths::ancestors(path) {
        match manifest.get(above).map(|entry| &entry.node) {
            // Each entry's parent is in the manifest: there is nothing further down.
            None => return Answer::Silent,
            Some(Node::Dir { opaque: false }) => {}
            Some(_) => return Answer::Hides,
        }
    }
    Answer::Silent
}

#[cfg(test)]
mod tests;
