//! System calls on a layer's tree, by directory descriptors.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::CacheError;
use crate::tree::{Meta, Mtime, paths};

/// The attribute that makes a directory opaque, in overlays mounted with `userxattr`.
const OPAQUE: &str = "user.overlay.opaque";
/// The kernel's limit on a list of names and on a value.
const XATTR_MAX_BYTES: usize = 64 * 1024;

const DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory by its path on this machine.
pub(super) fn open_dir(path: &Path) -> Result<OwnedFd, CacheError> {
    rustix::fs::open(path, DIR, Mode::empty()).map_err(CacheError::io("open the directory", path))
}

/// Opens a directory inside another.
pub(super) fn open_dir_at(dir: impl AsFd, name: impl Arg) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir, name, DIR, Mode::empty())
}

/// Opens a file for reading by its path in a layer, following no link and leaving the layer by none.
pub(crate) fn open_below(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, CacheError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat_below(root, path, flags).map_err(CacheError::io("open in a layer", paths::host(path)))
}

/// Opens a directory by its path in a layer; empty for the root.
pub(super) fn open_dir_below(root: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    if path.is_empty() { open_dir_at(root, ".") } else { openat_below(root, path, DIR) }
}

fn openat_below(root: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), inside)
}

/// Opens what should be a regular file, without waiting for a pipe and, where it is allowed, without
/// touching its access time.
pub(super) fn open_file_at(
    dir: BorrowedFd<'_>,
    name: impl Arg + Copy,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        result => result,
    }
}

/// What an inode says of itself, without extended attributes.
pub(super) fn meta_of(stat: &Stat) -> Meta {
    Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        xattrs: BTreeMap::new(),
    }
}

/// When the content of an inode last changed.
pub(super) fn mtime_of(stat: &Stat) -> Mtime {
    Mtime { secs: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// The extended attributes of a file in an upper directory.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    /// Those that belong to a layer.
    pub(super) kept: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether overlayfs has marked the directory as opaque.
    pub(super) opaque: bool,
}

/// Reads the attributes that belong to a layer, and takes away those that a layer must not have: what
/// overlayfs noted for itself, and access control lists, which images do not carry.
pub(super) fn take_xattrs(file: BorrowedFd<'_>) -> io::Result<Xattrs> {
    let mut names = [0_u8; 512];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Xattrs::default()),
        Ok(length) => length,
        Err(Errno::RANGE) => {
            let mut names = vec![0_u8; XATTR_MAX_BYTES];
            let length = rustix::fs::flistxattr(file, &mut names[..])?;
            return sort_xattrs(file, &names[..length]);
        }
        Err(error) => return Err(error.into()),
    };
    sort_xattrs(file, &names[..length])
}

fn sort_xattrs(file: BorrowedFd<'_>, names: &[u8]) -> io::Result<Xattrs> {
    let mut xattrs = Xattrs::default();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"user.overlay.") {
            xattrs.opaque |= name == OPAQUE.as_bytes() && xattr(file, name)? == b"y";
            rustix::fs::fremovexattr(file, name)?;
        } else if name.starts_with(b"system.posix_acl_") {
            rustix::fs::fremovexattr(file, name)?;
        } else if is_kept(name) {
            xattrs.kept.insert(name.to_vec(), xattr(file, name)?);
        }
    }
    Ok(xattrs)
}

/// Whether an attribute is content, and no note of this machine's.
pub(super) fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn xattr(file: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut small = [0_u8; 256];
    match rustix::fs::fgetxattr(file, name, &mut small[..]) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error.into()),
    }
    let mut value = vec![0_u8; XATTR_MAX_BYTES];
    let length = rustix::fs::fgetxattr(file, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

/// Who this process is: what a new file belongs to, and which permissions it does not get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Creator {
    uid: u32,
    gid: u32,
    umask: u32,
}

impl Creator {
    /// Learns it by making a directory with all permissions.
    pub(super) fn probe(path: &Path) -> io::Result<Self> {
        rustix::fs::mkdir(path, Mode::from_raw_mode(0o777))?;
        let fresh = rustix::fs::lstat(path)?;
        Ok(Self { uid: fresh.st_uid, gid: fresh.st_gid, umask: 0o777 & !fresh.st_mode })
    }

    /// The mode for creating a file that is to have `meta`: never more than that.
    pub(super) fn create_mode(meta: &Meta) -> Mode {
        Mode::from_raw_mode(meta.mode & 0o777)
    }

    /// Gives a file that was made with [`Creator::create_mode`] its metadata. What the machine refuses
    /// is left out: the manifest has it.
    pub(super) fn finish_file(
        self,
        file: BorrowedFd<'_>,
        meta: &Meta,
        mtime: Mtime,
    ) -> io::Result<()> {
        // Writing clears the set-id bits and changing the owner the capabilities: the order matters.
        let owned = self.owns(meta);
        if !owned {
            tolerate(rustix::fs::fchown(file, Some(uid(meta)), Some(gid(meta))))?;
        }
        let plain = meta.mode & !0o777 == 0 && meta.mode & self.umask == 0;
        if !(owned && plain) {
            rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))?;
        }
        set_xattrs(file, meta)?;
        Ok(rustix::fs::futimens(file, &times(mtime))?)
    }

    /// Gives a directory its metadata.
    pub(super) fn finish_dir(
        self,
        dir: BorrowedFd<'_>,
        meta: &Meta,
        mtime: Mtime,
    ) -> io::Result<()> {
        if !self.owns(meta) {
            tolerate(rustix::fs::fchown(dir, Some(uid(meta)), Some(gid(meta))))?;
        }
        rustix::fs::fchmod(dir, Mode::from_raw_mode(meta.mode))?;
        set_xattrs(dir, meta)?;
        Ok(rustix::fs::futimens(dir, &times(mtime))?)
    }

    /// Gives a device or a pipe its metadata.
    pub(super) fn finish_special(
        self,
        dir: BorrowedFd<'_>,
        name: &CString,
        meta: &Meta,
        mtime: Mtime,
    ) -> io::Result<()> {
        self.finish_link(dir, name, meta, mtime)?;
        // Last, as changing the owner clears the set-id bits.
        Ok(rustix::fs::chmodat(dir, name, Mode::from_raw_mode(meta.mode), AtFlags::empty())?)
    }

    /// Gives a symbolic link its metadata.
    pub(super) fn finish_link(
        self,
        dir: BorrowedFd<'_>,
        name: &CString,
        meta: &Meta,
        mtime: Mtime,
    ) -> io::Result<()> {
        let itself = AtFlags::SYMLINK_NOFOLLOW;
        if !self.owns(meta) {
            let owners = (Some(uid(meta)), Some(gid(meta)));
            tolerate(rustix::fs::chownat(dir, name, owners.0, owners.1, itself))?;
        }
        Ok(rustix::fs::utimensat(dir, name, &times(mtime), itself)?)
    }

    fn owns(self, meta: &Meta) -> bool {
        self.uid == meta.uid && self.gid == meta.gid
    }
}

/// Marks a directory as hiding what lower layers have in it.
pub(super) fn set_opaque(dir: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())?)
}

/// Makes a whiteout.
pub(super) fn make_whiteout(dir: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    let device = rustix::fs::FileType::CharacterDevice;
    Ok(rustix::fs::mknodat(dir, name, device, Mode::empty(), 0)?)
}

/// Sets a modification time and leaves the access time alone.
pub(super) fn times(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) },
    }
}

/// A component as the kernel takes it. Clean components hold no NUL; one that did would be refused.
pub(super) fn c_name(name: &[u8]) -> CString {
    CString::new(name).unwrap_or_default()
}

/// Gives an open file that has no name one.
pub(super) fn link_open_file(
    file: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: &CStr,
) -> io::Result<()> {
    // By its descriptor alone (AT_EMPTY_PATH) needs a capability.
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(HOST, open, dir, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// The root of this machine, for absolute paths.
pub(super) const HOST: BorrowedFd<'static> = CWD;

fn uid(meta: &Meta) -> Uid {
    Uid::from_raw(meta.uid)
}

fn gid(meta: &Meta) -> Gid {
    Gid::from_raw(meta.gid)
}

fn set_xattrs(file: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
    for (name, value) in meta.xattrs.iter().filter(|(name, _)| is_kept(name)) {
        let name = name.as_slice();
        tolerate(rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
    }
    Ok(())
}

/// Takes a refusal for an answer: no privilege, an owner without a mapping, a filesystem without the
/// feature.
pub(super) fn tolerate(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::OVERFLOW | Errno::TOOBIG) => {
            tracing::debug!("the machine refuses an owner or an attribute of a layer's file");
            Ok(())
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_attributes_are_left_out() {
        assert!(tolerate(Err(Errno::NOTSUP)).is_ok() && tolerate(Err(Errno::PERM)).is_ok());
        assert_eq!(tolerate(Err(Errno::NOSPC)).unwrap_err().raw_os_error(), Some(28));
    }
}
