//! The stat cache as bytes; the layout is in [`super`].
//!
//! They are kept as they were read, and a directory is decoded when it is asked for: by the thread that
//! walks it, and not at all when nothing selects it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Entry, Known, KnownFile, Listing, What};
use crate::select::Kind;
use crate::stat::StatKey;
use crate::tree::Mtime;

const FORMAT: &[u8] = b"kiln stat cache 3\n";
const CHECK_BYTES: usize = 32;
pub(super) const KEY_BYTES: usize = 3 * 8 + 2 * 12 + 4;

/// Before a directory's entries: whether its stat is there.
const PARTIAL: u8 = 0;
const WHOLE: u8 = 1;
/// After a name: that it was read, or what it stands for.
const READ: u8 = 0;
const DIR: u8 = 1;
const SYMLINK: u8 = 2;
const OTHER: u8 = 3;

/// Extended attributes by name.
type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// What earlier builds learned, found to be whole.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    bytes: Vec<u8>,
    /// Where in them the entries of a directory are, by its path.
    dirs: BTreeMap<Vec<u8>, Range<usize>>,
}

impl Remembered {
    /// Nothing when the bytes are not those that [`encode`] made.
    pub(super) fn read(bytes: Vec<u8>) -> Option<Self> {
        let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
        if blake3::hash(body).as_bytes() != check {
            return None;
        }
        let mut input = Input(body.strip_prefix(FORMAT)?);
        let mut dirs = BTreeMap::new();
        while !input.0.is_empty() {
            let path = input.bytes()?.to_vec();
            let entries = input.bytes()?;
            let end = body.len() - input.0.len();
            dirs.insert(path, end - entries.len()..end);
        }
        Some(Self { bytes, dirs })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// How many directories there are.
    pub(super) fn len(&self) -> usize {
        self.dirs.len()
    }

    /// The entries of one directory; none when nothing is known of it.
    pub(super) fn directory(&self, path: &[u8]) -> KnownDir<'_> {
        self.dirs.get(path).map(|place| self.entries(place)).unwrap_or_default()
    }

    /// Every directory, in byte order of their paths.
    pub(super) fn directories(&self) -> impl Iterator<Item = (&[u8], KnownDir<'_>)> {
        self.dirs.iter().map(|(path, place)| (path.as_slice(), self.entries(place)))
    }

    fn entries(&self, place: &Range<usize>) -> KnownDir<'_> {
        let mut rest = Input(&self.bytes[place.clone()]);
        let whole = rest.array().and_then(|[tag]| if tag == WHOLE { rest.chunk() } else { None });
        KnownDir { whole, rest }
    }
}

/// The remembered entries of one directory, in byte order of their names.
#[derive(Debug, Default)]
pub(super) struct KnownDir<'a> {
    /// The directory's stat when these were all its names, if they ever were.
    pub(super) whole: Option<&'a [u8; KEY_BYTES]>,
    rest: Input<'a>,
}

impl KnownDir<'_> {
    /// Whether every entry was read, which is so at the end unless the bytes make no sense.
    pub(super) fn is_spent(&self) -> bool {
        self.rest.0.is_empty()
    }
}

impl<'a> Iterator for KnownDir<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let input = &mut self.rest;
        let name = input.bytes()?;
        let what = match input.array()? {
            [READ] => What::Read(KnownFile {
                key: input.chunk()?,
                digest: input.chunk()?,
                xattrs: input.bytes()?,
            }),
            [DIR] => What::Named(Kind::Dir),
            [SYMLINK] => What::Named(Kind::Symlink),
            [_] => What::Named(Kind::Other),
        };
        Some(Entry { name, what })
    }
}

impl KnownFile<'_> {
    /// The stat it had; there always is one.
    pub(super) fn key(&self) -> Option<StatKey> {
        Input(self.key).key()
    }

    /// What reading the file gave.
    pub(super) fn known(&self) -> Known {
        let xattrs = Input(self.xattrs).attributes().unwrap_or_default();
        Known { digest: self.digest(), xattrs }
    }
}

/// The mode in a remembered stat, which is at its end.
pub(super) fn mode_of(key: &[u8; KEY_BYTES]) -> u32 {
    let [.., a, b, c, d] = *key;
    u32::from_le_bytes([a, b, c, d])
}

pub(super) fn encode(all: &BTreeMap<&[u8], Listing<'_>>) -> Vec<u8> {
    let mut out = FORMAT.to_vec();
    for (dir, Listing { whole, entries }) in all {
        if whole.is_none() && entries.is_empty() {
            continue;
        }
        put_bytes(&mut out, dir);
        put_framed(&mut out, |out| {
            match whole {
                Some(key) => {
                    out.push(WHOLE);
                    out.extend_from_slice(key);
                }
                None => out.push(PARTIAL),
            }
            for (name, what) in entries {
                put_bytes(out, name);
                match what {
                    What::Read((key, known)) => put_read(out, key, known),
                    What::Named(Kind::Dir) => out.push(DIR),
                    What::Named(Kind::Symlink) => out.push(SYMLINK),
                    What::Named(Kind::Other) => out.push(OTHER),
                }
            }
        });
    }
    let check = blake3::hash(&out);
    out.extend_from_slice(check.as_bytes());
    out
}

fn put_read(out: &mut Vec<u8>, key: &StatKey, known: &Known) {
    out.push(READ);
    out.extend_from_slice(&key_bytes(key));
    out.extend_from_slice(known.digest.as_bytes());
    put_framed(out, |out| {
        for (name, value) in &known.xattrs {
            put_bytes(out, name);
            put_bytes(out, value);
        }
    });
}

/// Lengths here are those of names, attributes and directories' lists of them, all far below four
/// milliards; one that were not would make bytes that do not decode.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Puts what `content` puts, with its length before it.
fn put_framed(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let before = out.len();
    out.extend_from_slice(&[0; 4]);
    content(out);
    let bytes = length(out.len() - before - 4);
    out[before..before + 4].copy_from_slice(&bytes);
}

/// A stat as it is remembered: what is the same is so byte for byte.
pub(super) fn key_bytes(key: &StatKey) -> [u8; KEY_BYTES] {
    let StatKey { device, inode, size_bytes, mtime, ctime, mode } = key;
    let mut out = [0; KEY_BYTES];
    let mut rest = out.as_mut_slice();
    let mut put = |bytes: &[u8]| {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        rest = tail;
    };
    for value in [device, inode, size_bytes] {
        put(&value.to_le_bytes());
    }
    for time in [mtime, ctime] {
        put(&time.secs.to_le_bytes());
        put(&time.nanos.to_le_bytes());
    }
    put(&mode.to_le_bytes());
    out
}

#[derive(Debug, Default)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.chunk().copied()
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

    fn attributes(mut self) -> Option<Attributes> {
        let mut attributes = Attributes::new();
        while !self.0.is_empty() {
            attributes.insert(self.bytes()?.to_vec(), self.bytes()?.to_vec());
        }
        Some(attributes)
    }
}
