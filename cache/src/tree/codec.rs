//! A manifest as bytes.
//!
//! `kiln layer 1\n`, the number of entries, the entries, and a BLAKE3 checksum of all before it. Numbers
//! are LEB128. An entry is: how many bytes its path shares with the one before, the rest of the path, a
//! tag, what the tag calls for, mode, owner, group, extended attributes, modification time. The digest of
//! a layer is taken over the same bytes without the times and the checksum.

use std::collections::BTreeMap;

use kiln_ir::{ContentHasher, Digest};

use super::{Entry, Meta, Mtime, Node, paths};
use crate::CacheError;

const MAGIC: &[u8] = b"kiln layer 1\n";
const DOMAIN: &str = "kiln layer 1";
const CHECKSUM_BYTES: usize = 32;
/// What one entry takes at least: shared, length, tag, mode, uid, gid, xattrs, secs, nanos.
const ENTRY_MIN_BYTES: usize = 9;
/// The kernel's limit on one attribute's value.
const XATTR_MAX_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Kept,
    LeftOut,
}

/// The digest of sorted entries.
pub(super) fn digest(entries: &[Entry]) -> Digest {
    let mut hasher = ContentHasher::new(DOMAIN);
    let mut out = Vec::with_capacity(entries.len() * 72);
    put_entries(&mut out, entries, Times::LeftOut);
    hasher.bytes(&out);
    hasher.finish()
}

/// Sorted entries as bytes.
pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAGIC.len() + entries.len() * 80 + CHECKSUM_BYTES);
    out.extend_from_slice(MAGIC);
    put_entries(&mut out, entries, Times::Kept);
    let checksum = Digest::of(&out);
    out.extend_from_slice(checksum.as_bytes());
    out
}

/// Entries from bytes. Order and the manifest's other invariants are the caller's to check.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Entry>, CacheError> {
    let bad = |what| CacheError::BadManifest { what };
    let body_len = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(bad("it is cut short"))?;
    let (body, checksum) = bytes.split_at(body_len);
    let body_after_magic =
        body.strip_prefix(MAGIC).ok_or(bad("it is of a version that this kiln does not know"))?;
    if Digest::of(body).as_bytes() != checksum {
        return Err(bad("its checksum does not fit"));
    }
    let mut input = Input::of(body_after_magic);
    let count = usize::try_from(input.number()?).map_err(|_| bad("it has too many entries"))?;
    if count > input.rest.len() / ENTRY_MIN_BYTES {
        return Err(bad("it has fewer entries than it says"));
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for _ in 0..count {
        let before = entries.last().map_or(&[][..], |entry| entry.path.as_slice());
        let entry = input.entry(before)?;
        entries.push(entry);
    }
    if !input.rest.is_empty() {
        return Err(bad("it has more than it says"));
    }
    Ok(entries)
}

fn put_entries(out: &mut Vec<u8>, entries: &[Entry], times: Times) {
    put_number(out, entries.len() as u64);
    let mut before: &[u8] = b"";
    for entry in entries {
        let shared = entry.path.iter().zip(before).take_while(|(a, b)| a == b).count();
        put_number(out, shared as u64);
        put_bytes(out, &entry.path[shared..]);
        put_node(out, &entry.node);
        put_meta(out, &entry.meta);
        if times == Times::Kept {
            // Zigzag: times before 1970 stay short too.
            put_number(out, ((entry.mtime.secs << 1) ^ (entry.mtime.secs >> 63)).cast_unsigned());
            put_number(out, u64::from(entry.mtime.nanos));
        }
        before = &entry.path;
    }
}

fn put_node(out: &mut Vec<u8>, node: &Node) {
    match node {
        Node::Dir { opaque: false } => out.push(0),
        Node::Dir { opaque: true } => out.push(1),
        Node::File { digest, size_bytes } => {
            out.push(2);
            out.extend_from_slice(digest.as_bytes());
            put_number(out, *size_bytes);
        }
        Node::Symlink { target } => {
            out.push(3);
            put_bytes(out, target);
        }
        Node::Hardlink { to } => {
            out.push(4);
            put_bytes(out, to);
        }
        Node::CharDevice { major, minor } => put_device(out, 5, *major, *minor),
        Node::BlockDevice { major, minor } => put_device(out, 6, *major, *minor),
        Node::Fifo => out.push(7),
        Node::Socket => out.push(8),
        Node::Whiteout => out.push(9),
    }
}

fn put_device(out: &mut Vec<u8>, tag: u8, major: u32, minor: u32) {
    out.push(tag);
    put_number(out, u64::from(major));
    put_number(out, u64::from(minor));
}

fn put_meta(out: &mut Vec<u8>, meta: &Meta) {
    put_number(out, u64::from(meta.mode));
    put_number(out, u64::from(meta.uid));
    put_number(out, u64::from(meta.gid));
    put_number(out, meta.xattrs.len() as u64);
    for (name, value) in &meta.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// What is still to be read. Each method takes from the front or says that it cannot.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes` is to be read.
    pub(crate) const fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    fn entry(&mut self, before: &[u8]) -> Result<Entry, CacheError> {
        let shared = self.length()?;
        let mut path =
            before.get(..shared).ok_or_else(|| Self::bad("a path builds on nothing"))?.to_vec();
        path.extend_from_slice(self.bytes(paths::PATH_MAX_BYTES)?);
        let node = self.node()?;
        let meta = self.meta()?;
        let zigzag = self.number()?;
        let secs = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
        let nanos = self.small()?;
        if nanos >= 1_000_000_000 {
            return Err(Self::bad("a time has too many nanoseconds"));
        }
        Ok(Entry { path, node, meta, mtime: Mtime { secs, nanos } })
    }

    fn node(&mut self) -> Result<Node, CacheError> {
        Ok(match self.take(1)? {
            [0] => Node::Dir { opaque: false },
            [1] => Node::Dir { opaque: true },
            [2] => {
                let mut digest = [0; 32];
                digest.copy_from_slice(self.take(32)?);
                Node::File { digest: Digest::from_bytes(digest), size_bytes: self.number()? }
            }
            [3] => Node::Symlink { target: self.bytes(paths::PATH_MAX_BYTES)?.to_vec() },
            [4] => Node::Hardlink { to: self.bytes(paths::PATH_MAX_BYTES)?.to_vec() },
            [5] => Node::CharDevice { major: self.small()?, minor: self.small()? },
            [6] => Node::BlockDevice { major: self.small()?, minor: self.small()? },
            [7] => Node::Fifo,
            [8] => Node::Socket,
            [9] => Node::Whiteout,
            _ => return Err(Self::bad("an entry is of an unknown kind")),
        })
    }

    fn meta(&mut self) -> Result<Meta, CacheError> {
        let mode = self.small()?;
        if mode > 0o7777 {
            return Err(Self::bad("a mode has more than twelve bits"));
        }
        let (uid, gid) = (self.small()?, self.small()?);
        let mut xattrs = BTreeMap::new();
        for _ in 0..self.number()? {
            let name = self.bytes(paths::NAME_MAX_BYTES)?.to_vec();
            xattrs.insert(name, self.bytes(XATTR_MAX_BYTES)?.to_vec());
        }
        Ok(Meta { mode, uid, gid, xattrs })
    }

    pub(crate) fn number(&mut self) -> Result<u64, CacheError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(self.take(1)?[0]);
            let bits = (byte & 0x7f) << shift;
            if bits >> shift != byte & 0x7f {
                break;
            }
            number |= bits;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Self::bad("a number is too large"))
    }

    pub(crate) fn small(&mut self) -> Result<u32, CacheError> {
        u32::try_from(self.number()?).map_err(|_| Self::bad("a number is too large"))
    }

    pub(crate) fn length(&mut self) -> Result<usize, CacheError> {
        usize::try_from(self.number()?).map_err(|_| Self::bad("a length is too large"))
    }

    pub(crate) fn bytes(&mut self, max: usize) -> Result<&'a [u8], CacheError> {
        let length = self.length()?;
        if length > max {
            return Err(Self::bad("a name or value is too long"));
        }
        self.take(length)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], CacheError> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| Self::bad("it is cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn bad(what: &'static str) -> CacheError {
        CacheError::BadManifest { what }
    }
}
