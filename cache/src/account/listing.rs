//! Lists of files, as they were selected or as a layer has them, and what changed between two.
//!
//! A list of the files that a COPY selected of a context is kept by the selection's digest, since the context
//! itself does not stay as it was. It holds what the selection's digest covers; of contents only the first eight
//! bytes of their digests, which tell files apart for people and are never believed.
//!
//! As bytes: `kiln files 1\n`, the number of files, the files, and a BLAKE3 checksum of all before it. A file is:
//! how many bytes its path shares with the one before, the rest of the path, a tag with what it calls for, a set
//! of bits that says what follows, mode, owner and group, a print of the attributes. Numbers are LEB128.

use std::collections::BTreeMap;

use kiln_ir::{CopyOp, Digest, ModeSpec};

use crate::CacheError;
use crate::select::Selection;
use crate::tree::paths::PATH_MAX_BYTES;
use crate::tree::{Input, Manifest, Meta, Node, lossy, put_bytes, put_number};

const MAGIC: &[u8] = b"kiln files 1\n";
const CHECKSUM_BYTES: usize = 32;
/// The longest list that is kept or read, in bytes: some three hundred thousand files.
const MAX_BYTES: usize = 16 << 20;
/// As long as all paths together may be, which share their beginnings as bytes.
const MAX_PATH_BYTES: usize = 128 << 20;
/// What a file takes at least.
const FILE_MIN_BYTES: usize = 5;
const HAS_MODE: u64 = 1;
const HAS_OWNER: u64 = 2;
const HAS_ATTRIBUTES: u64 = 4;

/// Files by their paths, with what counts of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    files: Vec<File>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: Vec<u8>,
    sort: Sort,
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    attributes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Sort {
    Dir,
    File { print: u64, size_bytes: u64 },
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    Device { block: bool, major: u32, minor: u32 },
    Other,
    Whiteout,
}

/// A file that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path, without what could steer a terminal.
    pub path: String,
    /// What changed; at least one thing.
    pub what: Vec<Changed>,
}

/// What changed of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It is another sort of thing.
    Sort {
        /// What it was.
        was: &'static str,
        /// What it is.
        is: &'static str,
    },
    /// Its bytes.
    Content {
        /// Its length before.
        was_bytes: u64,
        /// Its length now.
        is_bytes: u64,
    },
    /// Its permission bits.
    Mode {
        /// Those before.
        was: u32,
        /// Those now.
        is: u32,
    },
    /// Its user and group.
    Owner {
        /// Those before.
        was: (u32, u32),
        /// Those now.
        is: (u32, u32),
    },
    /// Where a symbolic link leads.
    Target {
        /// What it said.
        was: String,
        /// What it says.
        is: String,
    },
    /// Which other names it has.
    Links,
    /// Its extended attributes.
    Attributes,
    /// Which device it stands for.
    Device,
}

impl Listing {
    /// What a copy selected, as far as it counts there. A path is one in the tree that is copied from.
    #[must_use]
    pub fn of_selection(selection: &Selection, copy: &CopyOp) -> Self {
        let (owner, mode) = (copy.owner.is_none(), !matches!(copy.mode, Some(ModeSpec::Octal(_))));
        let files = selection.entries().map(|entry| {
            let mut file = File::of(entry.source(), &entry.found.node, &entry.found.meta);
            file.owner = file.owner.filter(|_| owner);
            file.mode = file.mode.filter(|_| mode);
            file
        });
        Self { files: files.collect() }
    }

    /// What a layer holds.
    #[must_use]
    pub fn of_layer(manifest: &Manifest) -> Self {
        let entries = manifest.entries().iter();
        Self { files: entries.map(|e| File::of(&e.path, &e.node, &e.meta)).collect() }
    }

    /// How many files there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The list as bytes; nothing when it is too long to be kept.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        put_number(&mut out, self.files.len() as u64);
        let mut before: &[u8] = b"";
        for file in &self.files {
            let shared = file.path.iter().zip(before).take_while(|(a, b)| a == b).count();
            put_number(&mut out, shared as u64);
            put_bytes(&mut out, &file.path[shared..]);
            file.put(&mut out);
            before = &file.path;
            if out.len() > MAX_BYTES - CHECKSUM_BYTES {
                return None;
            }
        }
        let checksum = Digest::of(&out);
        out.extend_from_slice(checksum.as_bytes());
        Some(out)
    }

    /// Reads what [`Self::encode`] wrote; nothing when it is of another version, damaged or too long.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
        let rest = body.strip_prefix(MAGIC)?;
        if Digest::of(body).as_bytes() != checksum {
            return None;
        }
        Self::read(&mut Input::of(rest)).ok()
    }

    fn read(input: &mut Input<'_>) -> Result<Self, CacheError> {
        let bad = |what| CacheError::BadManifest { what };
        let count = input.length()?;
        if count > input.left() / FILE_MIN_BYTES {
            return Err(bad("it has fewer files than it says"));
        }
        let mut files: Vec<File> = Vec::with_capacity(count);
        let mut all_paths = 0;
        for _ in 0..count {
            let before = files.last().map_or(&[][..], |file| file.path.as_slice());
            let shared = input.length()?;
            let mut path = before.get(..shared).ok_or(bad("a path builds on nothing"))?.to_vec();
            path.extend_from_slice(input.bytes(PATH_MAX_BYTES)?);
            all_paths += path.len();
            if path.len() > PATH_MAX_BYTES || all_paths > MAX_PATH_BYTES {
                return Err(bad("a path is too long"));
            }
            files.push(File::read(path, input)?);
        }
        Ok(Self { files })
    }
}

impl File {
    fn of(path: &[u8], node: &Node, meta: &Meta) -> Self {
        let sort = match node {
            Node::Dir { .. } => Sort::Dir,
            Node::File { digest, size_bytes } => {
                Sort::File { print: print(digest), size_bytes: *size_bytes }
            }
            Node::Symlink { target } => Sort::Symlink(target.clone()),
            Node::Hardlink { to } => Sort::Hardlink(to.clone()),
            Node::CharDevice { major, minor } => {
                Sort::Device { block: false, major: *major, minor: *minor }
            }
            Node::BlockDevice { major, minor } => {
                Sort::Device { block: true, major: *major, minor: *minor }
            }
            Node::Fifo | Node::Socket => Sort::Other,
            Node::Whiteout => Sort::Whiteout,
        };
        let is_link = matches!(node, Node::Symlink { .. } | Node::Hardlink { .. });
        let is_there = *node != Node::Whiteout;
        Self {
            path: path.to_vec(),
            sort,
            mode: (is_there && !is_link).then_some(meta.mode),
            owner: is_there.then_some((meta.uid, meta.gid)),
            attributes: (!meta.xattrs.is_empty()).then(|| print_of(meta)),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match &self.sort {
            Sort::Dir => out.push(0),
            Sort::File { print, size_bytes } => {
                out.push(1);
                out.extend_from_slice(&print.to_le_bytes());
                put_number(out, *size_bytes);
            }
            Sort::Symlink(target) => {
                out.push(2);
                put_bytes(out, target);
            }
            Sort::Hardlink(to) => {
                out.push(3);
                put_bytes(out, to);
            }
            Sort::Device { block, major, minor } => {
                out.push(if *block { 5 } else { 4 });
                put_number(out, u64::from(*major));
                put_number(out, u64::from(*minor));
            }
            Sort::Other => out.push(6),
            Sort::Whiteout => out.push(7),
        }
        let bit = |there: bool, bit| if there { bit } else { 0 };
        put_number(
            out,
            bit(self.mode.is_some(), HAS_MODE)
                | bit(self.owner.is_some(), HAS_OWNER)
                | bit(self.attributes.is_some(), HAS_ATTRIBUTES),
        );
        if let Some(mode) = self.mode {
            put_number(out, u64::from(mode));
        }
        if let Some((uid, gid)) = self.owner {
            put_number(out, u64::from(uid));
            put_number(out, u64::from(gid));
        }
        if let Some(attributes) = self.attributes {
            out.extend_from_slice(&attributes.to_le_bytes());
        }
    }

    fn read(path: Vec<u8>, input: &mut Input<'_>) -> Result<Self, CacheError> {
        let sort = match input.take(1)? {
            [0] => Sort::Dir,
            [1] => Sort::File { print: read_print(input)?, size_bytes: input.number()? },
            [2] => Sort::Symlink(input.bytes(PATH_MAX_BYTES)?.to_vec()),
            [3] => Sort::Hardlink(input.bytes(PATH_MAX_BYTES)?.to_vec()),
            [tag @ (4 | 5)] => {
                Sort::Device { block: *tag == 5, major: input.small()?, minor: input.small()? }
            }
            [6] => Sort::Other,
            [7] => Sort::Whiteout,
            _ => return Err(CacheError::BadManifest { what: "a file is of an unknown kind" }),
        };
        let bits = input.number()?;
        let mode = if bits & HAS_MODE == 0 { None } else { Some(input.small()?) };
        let owner =
            if bits & HAS_OWNER == 0 { None } else { Some((input.small()?, input.small()?)) };
        let attributes = if bits & HAS_ATTRIBUTES == 0 { None } else { Some(read_print(input)?) };
        Ok(Self { path, sort, mode, owner, attributes })
    }

    /// What changed from `was` to this.
    fn changed(&self, was: &Self) -> Vec<Changed> {
        let mut changed = Vec::new();
        match (&was.sort, &self.sort) {
            (was, is) if was == is => {}
            (
                Sort::File { print: _, size_bytes: was_bytes },
                Sort::File { print: _, size_bytes: is_bytes },
            ) => {
                let (was_bytes, is_bytes) = (*was_bytes, *is_bytes);
                changed.push(Changed::Content { was_bytes, is_bytes });
            }
            (Sort::Symlink(was), Sort::Symlink(is)) => {
                changed.push(Changed::Target { was: lossy(was), is: lossy(is) });
            }
            (Sort::File { .. } | Sort::Hardlink(_), Sort::File { .. } | Sort::Hardlink(_)) => {
                changed.push(Changed::Links);
            }
            (Sort::Device { .. }, Sort::Device { .. }) => changed.push(Changed::Device),
            (was, is) => changed.push(Changed::Sort { was: was.word(), is: is.word() }),
        }
        if let (Some(was), Some(is)) = (was.mode, self.mode)
            && was != is
        {
            changed.push(Changed::Mode { was, is });
        }
        if let (Some(was), Some(is)) = (was.owner, self.owner)
            && was != is
        {
            changed.push(Changed::Owner { was, is });
        }
        if was.attributes != self.attributes {
            changed.push(Changed::Attributes);
        }
        changed
    }
}

impl Sort {
    const fn word(&self) -> &'static str {
        match self {
            Self::Dir => "directory",
            Self::File { .. } => "file",
            Self::Symlink(_) => "symbolic link",
            Self::Hardlink(_) => "hard link",
            Self::Device { .. } => "device",
            Self::Other => "pipe or socket",
            Self::Whiteout => "deletion",
        }
    }
}

/// What changed from one list to another, in byte order of the paths. Of a path that one list has twice the last
/// counts, as it does in a copy.
#[must_use]
pub fn changes(was: &Listing, is: &Listing) -> Vec<Change> {
    let by_path = |list: &Listing| -> BTreeMap<Vec<u8>, File> {
        list.files.iter().map(|file| (file.path.clone(), file.clone())).collect()
    };
    let (was, is) = (by_path(was), by_path(is));
    let mut changes = BTreeMap::new();
    for path in was.keys().filter(|path| !is.contains_key(*path)) {
        changes.insert(path, vec![Changed::Removed]);
    }
    for (path, file) in &is {
        let what = was.get(path).map_or_else(|| vec![Changed::Added], |was| file.changed(was));
        if !what.is_empty() {
            changes.insert(path, what);
        }
    }
    changes.into_iter().map(|(path, what)| Change { path: lossy(path), what }).collect()
}

/// The first bytes of a digest.
fn print(digest: &Digest) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

fn print_of(meta: &Meta) -> u64 {
    let mut bytes = Vec::new();
    for (name, value) in &meta.xattrs {
        put_bytes(&mut bytes, name);
        put_bytes(&mut bytes, value);
    }
    print(&Digest::of(&bytes))
}

fn read_print(input: &mut Input<'_>) -> Result<u64, CacheError> {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(input.take(8)?);
    Ok(u64::from_le_bytes(bytes))
}
