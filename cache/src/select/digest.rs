//! The digest of a selection.
//!
//! Everything is framed, and leads into one hash in the order of the entries.

use kiln_ir::{CopyOp, Digest, ModeSpec};
use rayon::prelude::*;

use super::{Root, RootContent, Selected};
use crate::tree::{Meta, Node};

const DOMAIN: &[u8] = b"kiln selection 2";
/// So many entries are framed by one thread at a time.
const ENTRIES_PER_TASK: usize = 1024;
/// What most entries need, and names of some length.
const ENTRY_BYTES: usize = 160;

/// Which metadata the copy reads.
#[derive(Clone, Copy)]
struct Reads {
    owner: bool,
    mode: bool,
}

pub(super) fn of(roots: &[Root], copy: &CopyOp) -> Digest {
    let reads =
        Reads { owner: copy.owner.is_none(), mode: !matches!(copy.mode, Some(ModeSpec::Octal(_))) };
    let mut hash = blake3::Hasher::new();
    let mut out = Framed::default();
    out.bytes(DOMAIN);
    out.number(u64::from(reads.owner) | u64::from(reads.mode) << 1);
    for root in roots {
        match &root.content {
            RootContent::Directory(entries) => {
                out.number(0);
                out.number(entries.len() as u64);
                hash.update(&std::mem::take(&mut out).0);
                if entries.len() <= ENTRIES_PER_TASK {
                    hash.update(&Framed::of(entries, reads).0);
                    continue;
                }
                let framed: Vec<Framed> = entries
                    .par_chunks(ENTRIES_PER_TASK)
                    .map(|entries| Framed::of(entries, reads))
                    .collect();
                for framed in framed {
                    hash.update(&framed.0);
                }
            }
            // Its name counts where the destination is a directory.
            RootContent::Single(entry) => {
                out.number(1);
                out.bytes(&root.name);
                out.entry(entry, reads);
            }
        }
    }
    hash.update(&out.0);
    Digest::from_bytes(*hash.finalize().as_bytes())
}

/// Bytes to be hashed together, which is much faster than in the small pieces they come in.
#[derive(Default)]
struct Framed(Vec<u8>);

impl Framed {
    fn of(entries: &[Selected], reads: Reads) -> Self {
        let mut framed = Self(Vec::with_capacity(ENTRY_BYTES * entries.len()));
        for entry in entries {
            framed.entry(entry, reads);
        }
        framed
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn entry(&mut self, entry: &Selected, reads: Reads) {
        let Selected { path: _, root_bytes: _, node, meta, mtime: _, settled: _, ahead: _ } = entry;
        self.bytes(entry.dest());
        self.node(node);
        let is_link = matches!(node, Node::Symlink { .. } | Node::Hardlink { .. });
        self.meta(meta, Reads { mode: reads.mode && !is_link, ..reads });
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Dir { opaque } => {
                self.number(0);
                self.number(u64::from(*opaque));
            }
            Node::File { digest, size_bytes } => {
                self.number(1);
                self.number(*size_bytes);
                self.0.extend_from_slice(digest.as_bytes());
            }
            Node::Symlink { target } => {
                self.number(2);
                self.bytes(target);
            }
            Node::Hardlink { to } => {
                self.number(3);
                self.bytes(to);
            }
            Node::CharDevice { major, minor } => {
                self.number(4);
                self.number(u64::from(*major));
                self.number(u64::from(*minor));
            }
            Node::BlockDevice { major, minor } => {
                self.number(5);
                self.number(u64::from(*major));
                self.number(u64::from(*minor));
            }
            Node::Fifo => self.number(6),
            Node::Socket => self.number(7),
            Node::Whiteout => self.number(8),
        }
    }

    fn meta(&mut self, meta: &Meta, reads: Reads) {
        let Meta { mode, uid, gid, xattrs } = meta;
        if reads.mode {
            self.number(u64::from(*mode));
        }
        if reads.owner {
            self.number(u64::from(*uid));
            self.number(u64::from(*gid));
        }
        self.number(xattrs.len() as u64);
        for (name, value) in xattrs {
            self.bytes(name);
            self.bytes(value);
        }
    }
}
