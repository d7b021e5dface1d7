//! The sorted list of a layer's entries: what the layer's digest is made from.
//!
//! Invariants: paths are clean, unique and in byte order; each entry's parent is the root or a directory
//! of the same manifest; a hard link names a file of it that comes before. Whoever looks into a layer may rely on them, whatever wrote it.

use kiln_ir::Digest;

use super::{Entry, Node, codec, paths};
use crate::CacheError;

/// A layer's entries, in byte order of their paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    entries: Vec<Entry>,
}

impl Manifest {
    /// Sorts `entries` and checks the invariants.
    ///
    /// # Errors
    /// [`CacheError::BadEntry`] names the first entry that breaks one.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, CacheError> {
        if !entries.is_sorted_by(|a, b| a.path <= b.path) {
            entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        }
        let manifest = Self { entries };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), CacheError> {
        // Neighbours mostly share their parent: it is looked up once for all of them.
        let mut parent: &[u8] = b"";
        let mut last: Option<&[u8]> = None;
        for entry in &self.entries {
            let bad = |what| Err(CacheError::BadEntry { path: lossy(&entry.path), what });
            if !paths::is_clean(&entry.path) {
                return bad("is no clean relative path");
            }
            if last == Some(entry.path.as_slice()) {
                return bad("appears twice");
            }
            let above = paths::split(&entry.path).0;
            if above != parent {
                if !above.is_empty() && !self.get(above).is_some_and(Entry::is_dir) {
                    return bad("is in no directory of its layer");
                }
                parent = above;
            }
            if let Node::Hardlink { to } = &entry.node
                && (*to >= entry.path || self.get(to).and_then(|file| file.node.file()).is_none())
            {
                return bad("is a hard link to no file of its layer");
            }
            if entry.node.link_target().is_some_and(|target| !Self::is_link_text(target)) {
                return bad("is a symbolic link without a usable target");
            }
            last = Some(&entry.path);
        }
        Ok(())
    }

    /// All entries, in byte order of their paths: parents come before what is in them.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether the layer changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        let index = self.entries.binary_search_by(|entry| entry.path.as_slice().cmp(path)).ok()?;
        self.entries.get(index)
    }

    /// The entries directly in `dir` (empty for the root), in byte order.
    pub fn children<'a>(&'a self, dir: &'a [u8]) -> impl Iterator<Item = &'a Entry> {
        let mut prefix = dir.to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let mut rest = self.below(&prefix);
        std::iter::from_fn(move || {
            loop {
                let (first, after) = rest.split_first()?;
                let Some(slash) = first.path[prefix.len()..].iter().position(|&b| b == b'/') else {
                    rest = after;
                    return Some(first);
                };
                // The subtree of a child already given out: all of it stands together.
                let subtree = &first.path[..=prefix.len() + slash];
                rest = &rest[rest.partition_point(|entry| entry.path.starts_with(subtree))..];
            }
        })
    }

    /// The content of a file or of a hard link to one: its digest and length in bytes.
    #[must_use]
    pub fn content(&self, entry: &Entry) -> Option<(Digest, u64)> {
        if let Node::Hardlink { to } = &entry.node {
            return self.get(to)?.node.file();
        }
        entry.node.file()
    }

    /// The lengths of all files, each counted once, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let files = self.entries.iter().filter_map(|entry| entry.node.file());
        files.fold(0, |sum, (_, size_bytes)| sum.saturating_add(size_bytes))
    }

    /// The layer's identity: everything but modification times.
    #[must_use]
    pub fn digest(&self) -> Digest {
        codec::digest(&self.entries)
    }

    /// The manifest as bytes, modification times and all.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&self.entries)
    }

    /// Reads what [`Manifest::encode`] wrote, trusting nothing.
    ///
    /// # Errors
    /// [`CacheError::BadManifest`] when the bytes are cut short, altered, of another version, or describe
    /// what no manifest can hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, CacheError> {
        let entries = codec::decode(bytes)?;
        if !entries.is_sorted_by(|a, b| a.path < b.path) {
            return Err(CacheError::BadManifest { what: "its entries are out of order" });
        }
        let manifest = Self { entries };
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether a symbolic link can say this.
    pub(crate) fn is_link_text(target: &[u8]) -> bool {
        !target.is_empty() && target.len() <= paths::PATH_MAX_BYTES && !target.contains(&0)
    }

    /// The entries whose path starts with `prefix`, which is empty or ends in a slash.
    fn below(&self, prefix: &[u8]) -> &[Entry] {
        let start = self.entries.partition_point(|entry| entry.path.as_slice() < prefix);
        let rest = &self.entries[start..];
        &rest[..rest.partition_point(|entry| entry.path.starts_with(prefix))]
    }
}

/// A path for a message.
pub(crate) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}
