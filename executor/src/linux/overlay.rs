//! Overlay mounts by the new mount interface, which takes any number of layers one at a time.
//!
//! Always with `userxattr`: layers written as root and without privilege have one form on disk. Never
//! with redirects, metadata-only copies or an index: a layer must mean the same in every stack.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

/// The longest value that fsconfig(2) takes, without its terminator.
const LONGEST_VALUE: usize = 255;

/// Mounts a stack of layers, lowest first, outside the tree; `writable` holds the upper and the work
/// directory. A read-only stack needs two layers, a writable one needs one.
pub(super) fn mount(lowers: &[&Path], writable: Option<(&Path, &Path)>) -> io::Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    configure(&fs, lowers, writable).map_err(|error| with_log(error, &fs))?;
    let attributes = match writable {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Puts a mount that is outside the tree at a directory.
pub(super) fn attach(mount: &OwnedFd, at: &Path) -> io::Result<()> {
    Ok(move_mount(mount, c"", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn configure(fs: &OwnedFd, lowers: &[&Path], writable: Option<(&Path, &Path)>) -> io::Result<()> {
    // The descriptors must live until the filesystem is made, which is when paths are looked up.
    let mut opened = Vec::new();
    let mut set = |key: &str, path: &Path| -> io::Result<()> {
        let short = shorten(path, &mut opened)?;
        Ok(fsconfig_set_string(fs.as_fd(), key, short.as_path())?)
    };
    // The topmost comes first.
    for lower in lowers.iter().rev() {
        set("lowerdir+", lower)?;
    }
    if let Some((upper, work)) = writable {
        set("upperdir", upper)?;
        set("workdir", work)?;
        // What the command syncs need not be on the disk before the layer is recorded.
        fsconfig_set_flag(fs, "volatile")?;
    }
    fsconfig_set_flag(fs, "userxattr")?;
    fsconfig_set_string(fs, "index", "off")?;
    Ok(fsconfig_create(fs)?)
}

/// A path that fsconfig takes: itself, or that of a descriptor if it is too long.
fn shorten(path: &Path, opened: &mut Vec<OwnedFd>) -> io::Result<PathBuf> {
    if path.as_os_str().as_bytes().len() <= LONGEST_VALUE {
        return Ok(path.to_owned());
    }
    let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    opened.push(fd);
    Ok(short)
}

/// Adds what the kernel wrote to the filesystem's own log, if anything.
fn with_log(error: io::Error, fs: &OwnedFd) -> io::Error {
    let Ok(fs) = fs.try_clone() else { return error };
    let mut message = [0; 512];
    match std::fs::File::from(fs).read(&mut message) {
        Ok(length) if length > 2 => {
            // A level letter and a space come first.
            let text = String::from_utf8_lossy(&message[2..length]);
            io::Error::new(error.kind(), format!("{error}: {}", text.trim()))
        }
        _ => error,
    }
}
