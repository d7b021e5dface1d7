//! The digest of a selection.
//!
//! Everything is framed, and leads into one hash in the order of the entries.

use kiln_ir::{CopyOp, Digest, ModeSpec};

use super::Found;
use super::walk::Body;
use crate::tree::{Meta, Node};

const DOMAIN: &[u8] = b"kiln selection 2";
/// Hashed at once: enough for the processor to do several pieces side by side.
const HASHED_BYTES: usize = 32 * 1024;
/// Room for one entry more, unless its names or attributes are long.
const SPARE_BYTES: usize = 4 * 1024;

/// Which metadata the copy reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads {
    owner: bool,
    mode: bool,
}

impl Reads {
    pub(super) fn of(copy: &CopyOp) -> Self {
        Self { owner: copy.owner.is_none(), mode: !matches!(copy.mode, Some(ModeSpec::Octal(_))) }
    }
}

/// The digest of what the matches gave, each with its name.
pub(super) fn of(roots: &[(Vec<u8>, Body)], reads: Reads) -> Digest {
    let mut hash = blake3::Hasher::new();
    let mut out = Frame(Vec::with_capacity(HASHED_BYTES + SPARE_BYTES));
    out.bytes(DOMAIN);
    out.number(u64::from(reads.owner) | u64::from(reads.mode) << 1);
    for (name, body) in roots {
        match body {
            Body::Directory(entries) => {
                out.number(0);
                out.number(entries.len() as u64);
                for (list, name, found) in entries.in_lists() {
                    out.entry((list.dest(), name), &found, reads);
                    if out.0.len() >= HASHED_BYTES {
                        hash.update(&out.0);
                        out.0.clear();
                    }
                }
            }
            // Its name counts where the destination is a directory.
            Body::Single(entry) => {
                out.number(1);
                out.bytes(name);
                out.entry((b"", b""), &entry.found, reads);
            }
        }
    }
    hash.update(&out.0);
    Digest::from_bytes(*hash.finalize().as_bytes())
}

/// Bytes to be hashed together, which is much faster than in the small pieces they come in.
struct Frame(Vec<u8>);

impl Frame {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// What stands below the destination in a directory under a name, both of which may be empty.
    fn entry(&mut self, (dir, name): (&[u8], &[u8]), found: &Found, reads: Reads) {
        let Found { node, meta, mtime: _, link: _, settled: _, ahead: _ } = found;
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        self.number((dir.len() + slash.len() + name.len()) as u64);
        for part in [dir, slash, name] {
            self.0.extend_from_slice(part);
        }
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
