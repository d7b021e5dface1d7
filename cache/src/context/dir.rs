//! One open directory: its names, and the stat of one of them.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ops::Range;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, RawDir, Statx};
use rustix::io::Errno;

use crate::select::Kind;
use crate::stat::{self, StatKey};

/// Room for names in one system call: most directories need one.
const BUFFER_BYTES: usize = 32 * 1024;

/// ext2 to ext4, XFS, Btrfs, F2FS, tmpfs and overlayfs, as in Linux's `linux/magic.h`.
const DATING: [i64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x794c_7630];

/// The names in a directory, in byte order.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// Each with a NUL at its end: together, to be allocated once.
    text: Vec<u8>,
    index: Vec<Place>,
}

/// Where a name is in the text, and what it stands for.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
    kind: Kind,
}

impl Names {
    /// All names in an open directory.
    pub(super) fn read(dir: &OwnedFd) -> Result<Self, Errno> {
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER_BYTES];
        let mut entries = RawDir::new(dir, &mut buffer);
        let mut names = Self::default();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let mut named = entry.file_type();
            if named == FileType::Unknown {
                // Some filesystems do not say.
                named = match stat(dir, name) {
                    Ok(stat) => stat.file_type(),
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno),
                };
            }
            names.push(name.to_bytes(), kind(named));
        }
        let text = &names.text;
        names.index.sort_unstable_by(|a, b| text[a.start..a.end].cmp(&text[b.start..b.end]));
        Ok(names)
    }

    /// Adds a name, which comes after all others.
    pub(super) fn push(&mut self, name: &[u8], kind: Kind) {
        let start = self.text.len();
        self.text.extend_from_slice(name);
        let end = self.text.len();
        self.text.push(0);
        self.index.push(Place { start, end, kind });
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The names, each with what it stands for.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Kind)> {
        self.index.iter().map(|place| (&self.text[place.start..place.end], place.kind))
    }

    /// Where the name of this index is in the text.
    pub(super) fn place(&self, index: usize) -> Range<usize> {
        let Place { start, end, .. } = self.index[index];
        start..end
    }

    /// The text alone.
    pub(super) fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// The name of this index, as the kernel wants it.
    pub(super) fn name(&self, index: usize) -> &CStr {
        let Place { start, end, .. } = self.index[index];
        // It was one, so this never gives the empty name, which no file has.
        CStr::from_bytes_with_nul(&self.text[start..=end]).unwrap_or_default()
    }
}

/// What the kernel says of a name, as far as it counts: a third of what it gives, since it is handed on often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    pub(super) key: StatKey,
    /// How many names it has.
    pub(super) names: u32,
    /// Of a device's file: the device.
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Stat {
    pub(super) fn of(stat: &Statx) -> Self {
        Self {
            key: StatKey::of(stat),
            names: stat.stx_nlink,
            major: stat.stx_rdev_major,
            minor: stat.stx_rdev_minor,
        }
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.key.mode)
    }
}

/// The stat of `name` itself.
pub(super) fn stat(dir: &OwnedFd, name: &CStr) -> Result<Stat, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, stat::MASK).map(|stat| Stat::of(&stat))
}

/// Whether every change of a directory's names shows in its change time: known of these filesystems, and not to be had
/// of those that another machine or a program of somebody's keeps.
pub(super) fn dates_its_names(dir: &OwnedFd) -> bool {
    rustix::fs::fstatfs(dir).is_ok_and(|filesystem| DATING.contains(&filesystem.f_type))
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
