//! One open directory: its names, and the stat of one of them.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, RawDir, Statx, StatxFlags};
use rustix::io::Errno;

use crate::select::Kind;

/// What a selection needs to know of a file.
pub(super) const MASK: StatxFlags =
    StatxFlags::BASIC_STATS.difference(StatxFlags::ATIME.union(StatxFlags::BLOCKS));

/// Room for names in one system call: most directories need one.
const BUFFER_BYTES: usize = 32 * 1024;

/// A name in a directory.
#[derive(Debug, Clone)]
pub(super) struct Name {
    text: CString,
    kind: Kind,
}

impl Name {
    /// A name by itself, its kind not known. Nothing when it holds a NUL or is empty.
    pub(super) fn new(name: &[u8]) -> Option<Self> {
        let text = CString::new(name).ok().filter(|text| !text.is_empty())?;
        Some(Self { text, kind: Kind::Other })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        &self.text
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

/// All names in the directory, in byte order.
pub(super) fn names(dir: &OwnedFd) -> Result<Vec<Name>, Errno> {
    let mut buffer = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut named = entry.file_type();
        if named == FileType::Unknown {
            // Some filesystems do not say.
            named = match statx(dir, name) {
                Ok(stat) => file_type(&stat),
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            };
        }
        names.push(Name { text: name.to_owned(), kind: kind(named) });
    }
    names.sort_unstable_by(|a, b| a.text.cmp(&b.text));
    Ok(names)
}

/// The stat of `name` itself.
pub(super) fn stat(dir: &OwnedFd, name: &Name) -> Result<Statx, Errno> {
    statx(dir, &name.text)
}

fn statx(dir: &OwnedFd, name: &CStr) -> Result<Statx, Errno> {
    rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, MASK)
}

pub(super) fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

fn kind(file_type: FileType) -> Kind {
    if file_type == FileType::Directory {
        Kind::Dir
    } else if file_type == FileType::Symlink {
        Kind::Symlink
    } else {
        Kind::Other
    }
}
