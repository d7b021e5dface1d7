//! Cache keys: the one identity of an action.
//!
//! A key is a hash of the key format's version, the op's definition and the digest of exactly what the
//! op reads of each input. [`parts`] is the only walk over these; [`derive()`] hashes it. What people are told
//! of a key ([`account`](crate::account)) rests on the same two lists: the fields that make up the op's definition
//! ([`Op::walk`]) and what it [`reads`]. Nothing here reads a file, a clock or the environment.

use std::fmt;
use std::str::FromStr;

use kiln_ir::{
    ContentHash, ContentHasher, CopyOp, Digest, DigestError, FileAction, GuestPath, MountKind, Op,
    Vertex,
};

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

/// One thing that an op reads of its inputs, or of the secrets that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read<'a> {
    /// The whole of an input.
    Whole {
        /// Index into the vertex's inputs.
        input: usize,
    },
    /// A path of an input, as a bind mount shows it.
    Bind {
        /// Index into the vertex's inputs.
        input: usize,
        /// The path in the input.
        source: &'a GuestPath,
        /// Where the command sees it.
        target: &'a GuestPath,
    },
    /// What a COPY or ADD selects of an input.
    Copy(&'a CopyOp),
    /// A secret's value.
    Secret {
        /// The name under which the caller gave it.
        id: &'a str,
    },
}

impl Read<'_> {
    /// The index of the input that is read; nothing for a secret.
    #[must_use]
    pub const fn input(&self) -> Option<usize> {
        match self {
            Self::Whole { input } | Self::Bind { input, .. } => Some(*input),
            Self::Copy(copy) => Some(copy.input),
            Self::Secret { .. } => None,
        }
    }
}

/// What the op of a vertex reads, in the order in which [`derive()`] takes the digests.
///
/// `counts` says of which secrets the value is part of the key.
pub fn reads<'a>(vertex: &'a Vertex, counts: &dyn Fn(&str) -> bool) -> Vec<Read<'a>> {
    let root = Read::Whole { input: 0 };
    let mut reads = Vec::new();
    match &vertex.op {
        Op::Source(_) => {}
        Op::Exec(exec) => {
            reads.push(root);
            for mount in &exec.mounts {
                if let MountKind::Bind { input, source, access: _ } = &mount.kind {
                    reads.push(Read::Bind { input: *input, source, target: &mount.target });
                } else if let MountKind::Secret { id, .. } = &mount.kind
                    && counts(id)
                {
                    reads.push(Read::Secret { id });
                }
            }
        }
        Op::File(file) => {
            reads.push(root);
            for action in &file.actions {
                if let FileAction::Copy(copy) = action {
                    reads.push(Read::Copy(copy));
                }
            }
        }
        Op::Merge | Op::Diff => {
            reads.extend((0..vertex.inputs.len()).map(|input| Read::Whole { input }));
        }
    }
    reads
}

#[cfg(test)]
pub(crate) mod tests;
