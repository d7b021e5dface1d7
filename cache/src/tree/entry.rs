//! One entry of a file tree: its path, what it is, and its metadata.
//!
//! Names are bytes, as in the kernel. Access times, inode numbers and the names of users and groups are
//! no part of an entry.

use std::collections::BTreeMap;

use kiln_ir::Digest;

/// One entry of a file tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path below the root: no leading or trailing slash, no empty, `.` or `..` component, no NUL,
    /// at most 4095 bytes. The root itself has no entry in a manifest; a selection may use an empty
    /// path for it.
    pub path: Vec<u8>,
    /// What is there.
    pub node: Node,
    /// Mode, owner and extended attributes; the default for a whiteout, that of its file for a hard
    /// link.
    pub meta: Meta,
    /// When the content last changed. No part of any digest.
    pub mtime: Mtime,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir {
        /// Whether it hides all that lower layers have in it.
        opaque: bool,
    },
    /// A regular file.
    File {
        /// BLAKE3 of its bytes.
        digest: Digest,
        /// Its length.
        size_bytes: u64,
    },
    /// A symbolic link.
    Symlink {
        /// What it says, as it says it: up to 4095 bytes, never empty.
        target: Vec<u8>,
    },
    /// One more name of a file of the same layer.
    Hardlink {
        /// The file's name that is first in the order of the layer; that entry is no hard link.
        to: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Its driver.
        major: u32,
        /// Its instance.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Its driver.
        major: u32,
        /// Its instance.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket. Seen in contexts; layers drop them.
    Socket,
    /// Hides what lower layers have under this name.
    Whiteout,
}

/// An entry's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// The low twelve bits of the mode: permissions, set-user-id, set-group-id, sticky.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Extended attributes by their full name. Of a file on disk only `user.*` (without overlayfs's own)
    /// and `security.capability` are taken.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mtime {
    /// Seconds since 1970, perhaps negative.
    pub secs: i64,
    /// Nanoseconds after `secs`, less than a milliard.
    pub nanos: u32,
}

impl Node {
    /// What a symbolic link says; nothing for all else.
    #[must_use]
    pub fn link_target(&self) -> Option<&[u8]> {
        if let Self::Symlink { target } = self { Some(target) } else { None }
    }

    /// A file's digest and length in bytes; nothing for all else, even for a hard link.
    #[must_use]
    pub fn file(&self) -> Option<(Digest, u64)> {
        if let Self::File { digest, size_bytes } = self {
            Some((*digest, *size_bytes))
        } else {
            None
        }
    }
}

impl Entry {
    /// Whether this is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        matches!(self.node, Node::Dir { .. })
    }

    /// The last component of the path.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        super::paths::split(&self.path).1
    }
}

impl Meta {
    /// Metadata of root's, without extended attributes.
    #[must_use]
    pub fn of_root(mode: u32) -> Self {
        Self { mode, ..Self::default() }
    }
}
