//! Cache keys: the one identity of an action.
//!
//! A key is a hash of the key format's version, the op's definition and the digest of exactly what the
//! op reads of each input. [`parts`] is the only walk over these; [`derive()`] hashes it, and whoever
//! explains a miss compares two of them. Nothing here reads a file, a clock or the environment.

use std::fmt;
use std::str::FromStr;

use kiln_ir::{ContentHash, ContentHasher, Digest, DigestError, Op};

/// The version of what a key covers. Raised whenever the golden keys change, so that records under
/// the old meaning are never found.
pub const FORMAT: u64 = 2;

/// The identity of one action: an op over the contents that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// Wraps a key's digest, read back from where a key was written.
    #[must_use]
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest itself.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CacheKey {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

/// One thing that a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What the op does.
    Definition,
    /// What the op reads of the input with this index.
    Input(usize),
}

/// All that a key is made of, in the order in which it is hashed.
///
/// `inputs` holds, for each of the op's inputs, the digest of exactly what the op reads of it.
pub fn parts<'a>(op: &'a Op, inputs: &'a [Digest]) -> impl Iterator<Item = (Part, Digest)> + 'a {
    let definition = std::iter::once_with(|| (Part::Definition, op.definition()));
    definition.chain(inputs.iter().enumerate().map(|(index, digest)| (Part::Input(index), *digest)))
}

/// The key of `op` over `inputs`, as [`parts`] has them.
#[must_use]
pub fn derive(op: &Op, inputs: &[Digest]) -> CacheKey {
    let mut hasher = ContentHasher::new("kiln key");
    hasher.u64(FORMAT);
    hasher.u64(inputs.len() as u64);
    for (_, digest) in parts(op, inputs) {
        digest.content_hash(&mut hasher);
    }
    CacheKey(hasher.finish())
}

#[cfg(test)]
mod tests;
