//! The stat cache as bytes; the layout is in [`super`].

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_ir::Digest;

use super::{Entries, Known, KnownDir, Listing, StatKey};
use crate::tree::Mtime;

const FORMAT: &[u8] = b"kiln stat cache 1\n";
const CHECK_BYTES: usize = 32;
const KEY_BYTES: usize = 3 * 8 + 2 * 12 + 4;

pub(super) fn encode(all: &BTreeMap<&[u8], Listing<'_>>) -> Vec<u8> {
    let mut out = FORMAT.to_vec();
    for (dir, entries) in all.iter().filter(|(_, entries)| !entries.is_empty()) {
        put_bytes(&mut out, dir);
        put_u32(&mut out, entries.len());
        for (name, (key, known)) in entries {
            put_bytes(&mut out, name);
            put_key(&mut out, key);
            out.extend_from_slice(known.digest.as_bytes());
            put_u32(&mut out, known.xattrs.len());
            for (name, value) in &known.xattrs {
                put_bytes(&mut out, name);
                put_bytes(&mut out, value);
            }
        }
    }
    let check = blake3::hash(&out);
    out.extend_from_slice(check.as_bytes());
    out
}

/// Lengths here are those of names, attributes and lists of them, all far below four milliards; one that
/// were not would make bytes that do not decode.
fn put_u32(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_key(out: &mut Vec<u8>, key: &StatKey) {
    let StatKey { device, inode, size_bytes, mtime, ctime, mode } = key;
    for value in [device, inode, size_bytes] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for time in [mtime, ctime] {
        out.extend_from_slice(&time.secs.to_le_bytes());
        out.extend_from_slice(&time.nanos.to_le_bytes());
    }
    out.extend_from_slice(&mode.to_le_bytes());
}

/// Nothing when the bytes are not whole or not in order.
pub(super) fn decode(bytes: &[u8]) -> Option<BTreeMap<Vec<u8>, KnownDir>> {
    let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
    if blake3::hash(body).as_bytes() != check {
        return None;
    }
    let mut input = Input(body.strip_prefix(FORMAT)?);
    let mut all = BTreeMap::new();
    while !input.0.is_empty() {
        let dir = input.bytes()?.to_vec();
        let count = input.u32()? as usize;
        let mut entries = Entries::with_capacity(count.min(input.0.len() / KEY_BYTES));
        for _ in 0..count {
            let name = input.bytes()?.to_vec();
            let key = input.key()?;
            let digest = Digest::from_bytes(input.array()?);
            let mut xattrs = BTreeMap::new();
            for _ in 0..input.u32()? {
                xattrs.insert(input.bytes()?.to_vec(), input.bytes()?.to_vec());
            }
            entries.push((name, key, Known { digest, xattrs }));
        }
        if !entries.is_sorted_by(|(a, _, _), (b, _, _)| a < b) {
            return None;
        }
        all.insert(dir, KnownDir(Arc::new(entries)));
    }
    Some(all)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn time(&mut self) -> Option<Mtime> {
        Some(Mtime { secs: self.array().map(i64::from_le_bytes)?, nanos: self.u32()? })
    }

    fn key(&mut self) -> Option<StatKey> {
        Some(StatKey {
            device: self.u64()?,
            inode: self.u64()?,
            size_bytes: self.u64()?,
            mtime: self.time()?,
            ctime: self.time()?,
            mode: self.u32()?,
        })
    }
}
