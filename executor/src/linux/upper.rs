//! Whether a command has changed anything in its root filesystem.
//!
//! All that it changes leaves a trace in overlay's upper directory: a file, a copy of one, a mark of a removed one, or
//! another owner, mode, flag, attribute or time of the directory itself, which stands for the root.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{IFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

/// Room for the names in an empty directory, and for those of a directory's attributes: small, since each page of memory
/// that is touched costs as much as a system call. What does not fit is a change.
const NAMES_BYTES: usize = 512;

/// An upper directory, and what it was like before the command.
#[derive(Debug)]
pub(super) struct Upper {
    dir: OwnedFd,
    before: State,
}

/// What a layer has no entry for: the directory itself.
#[derive(Debug, PartialEq, Eq)]
struct State {
    mode: u32,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    mtime: (i64, u64),
    flags: IFlags,
    /// Names of attributes, without overlay's own.
    attributes: Vec<Vec<u8>>,
}

impl Upper {
    /// Takes hold of a directory that overlay has just been given.
    pub(super) fn watch(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())?;
        let before = State::of(&dir)?;
        Ok(Self { dir, before })
    }

    /// Whether it is empty, and as it was.
    pub(super) fn is_untouched(&self) -> io::Result<bool> {
        rustix::fs::seek(&self.dir, rustix::fs::SeekFrom::Start(0))?;
        let mut buffer = [const { MaybeUninit::uninit() }; NAMES_BYTES];
        let mut entries = RawDir::new(&self.dir, &mut buffer);
        while let Some(entry) = entries.next() {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(State::of(&self.dir)? == self.before)
    }
}

impl State {
    fn of(dir: impl AsFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&dir)?;
        let flags = match rustix::fs::ioctl_getflags(&dir) {
            // A filesystem without flags.
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => IFlags::empty(),
            flags => flags?,
        };
        let attributes = attributes(dir)?;
        let (owner, mtime) = ((stat.st_uid, stat.st_gid), (stat.st_mtime, stat.st_mtime_nsec));
        Ok(Self { mode: stat.st_mode, owner, mtime, flags, attributes })
    }
}

fn attributes(dir: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = [0; NAMES_BYTES];
    let length = match rustix::fs::flistxattr(dir, &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let names = names[..length].split(|&byte| byte == 0);
    let names = names.filter(|name| !name.is_empty() && !name.starts_with(b"user.overlay."));
    Ok(names.map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Whether a new directory still counts as untouched after something was done to it.
    fn untouched_after(change: impl FnOnce(&Path)) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let upper = Upper::watch(dir.path()).unwrap();
        change(dir.path());
        upper.is_untouched().unwrap()
    }

    #[test]
    fn every_trace_counts() {
        assert!(untouched_after(|_| ()));
        let long_ago = std::time::UNIX_EPOCH;
        assert!(!untouched_after(|dir| {
            fs::File::open(dir).unwrap().set_modified(long_ago).unwrap();
        }));
        assert!(!untouched_after(|dir| fs::write(dir.join("file"), "").unwrap()));
        assert!(!untouched_after(|dir| fs::create_dir(dir.join(".hidden")).unwrap()));
        assert!(!untouched_after(|dir| {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o711)).unwrap();
        }));
        let set = |dir: &Path, name: &str| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(dir, name, b"y", flags)
        };
        assert!(untouched_after(|dir| set(dir, "user.overlay.impure").unwrap()));
        assert!(!untouched_after(|dir| set(dir, "user.mine").unwrap()));
        assert!(!untouched_after(|dir| {
            let dir = fs::File::open(dir).unwrap();
            let flags = rustix::fs::ioctl_getflags(&dir).unwrap();
            rustix::fs::ioctl_setflags(&dir, flags | IFlags::NOATIME).unwrap();
        }));
    }
}
