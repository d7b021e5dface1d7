//! One entry of a layer archive, as it is packed or as it was read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

/// One entry of a layer archive.
///
/// The path is relative, slash-separated, without `.`, `..`, empty components and leading or trailing
/// slashes; empty is the root itself, which only a directory or an opaque marker can be.
#[derive(Debug)]
pub struct PackEntry<'a> {
    /// Where the entry is.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind<'a>,
    /// Its mode, owner, time and extended attributes.
    pub meta: EntryMeta,
}

/// What an entry is.
pub enum EntryKind<'a> {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Its size in bytes; `content` yields exactly as many when packed, and when read.
        size_bytes: u64,
        /// Its bytes, read once, from start to end.
        content: Box<dyn Read + 'a>,
    },
    /// A symbolic link.
    Symlink {
        /// The link's text, as it is.
        target: Vec<u8>,
    },
    /// Another name of a file, which is an earlier entry of this archive or of a lower layer.
    Hardlink {
        /// The file's path, in the same form as [`PackEntry::path`].
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The path is removed from the lower layers. Metadata but for the time is not packed.
    Whiteout,
    /// The directory at the path hides all that lower layers have in it. Metadata but for the time is not
    /// packed; the directory itself is an entry of its own.
    OpaqueMarker,
}

impl fmt::Debug for EntryKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = String::from_utf8_lossy;
        match self {
            Self::Dir => f.write_str("Dir"),
            Self::File { size_bytes, .. } => write!(f, "File({size_bytes})"),
            Self::Symlink { target } => write!(f, "Symlink({:?})", lossy(target)),
            Self::Hardlink { target } => write!(f, "Hardlink({:?})", lossy(target)),
            Self::CharDevice { major, minor } => write!(f, "CharDevice({major}, {minor})"),
            Self::BlockDevice { major, minor } => write!(f, "BlockDevice({major}, {minor})"),
            Self::Fifo => f.write_str("Fifo"),
            Self::Whiteout => f.write_str("Whiteout"),
            Self::OpaqueMarker => f.write_str("OpaqueMarker"),
        }
    }
}

/// What an entry has besides its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryMeta {
    /// Permission, set-id and sticky bits: 07777 and no more.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of modification, in whole seconds since 1970: archives keep no more.
    pub mtime_seconds: i64,
    /// Extended attributes by their full names (`user.x`, `security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}
