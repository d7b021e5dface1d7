//! The sandbox's root filesystem, with a mount point for everything and none of them in the layer.
//!
//! A mount point that the image lacks is supplied by a *stub layer*, the topmost of the lower ones:
//! it holds the missing directories and empty files, and copies of the directories above them that do
//! exist, with their owner, mode, time and attributes, so that a copy of such a directory into the
//! upper layer is the same as without the stub.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::fs::{CWD, Gid, Uid};
use rustix::io::Errno;

use super::guest::{self, Resolved};
use super::overlay;
use crate::plan::RootMount;

/// The largest list of attributes, and the largest attribute, that Linux allows.
const ATTRIBUTE_LIMIT: usize = 64 << 10;

/// A mount point with its kind settled.
pub(super) struct Point<'a> {
    pub(super) path: &'a str,
    pub(super) directory: bool,
}

/// Mounts the root outside the sandbox's and returns a descriptor of it.
pub(super) fn mount(root: &RootMount, points: &[Point<'_>]) -> io::Result<OwnedFd> {
    let empty = root.scratch.join("empty");
    let stub = root.scratch.join("stub");
    fs::create_dir(&root.at)?;
    let mut lowers: Vec<&Path> = root.lowers.iter().map(AsRef::as_ref).collect();
    if lowers.is_empty() {
        fs::create_dir(&empty)?;
        lowers.push(&empty);
    }
    let survey = survey(&lowers)?;
    mirror_root(survey.as_fd(), &root.upper)?;
    if build_stub(survey.as_fd(), &stub, points)? {
        lowers.push(&stub);
    }
    drop(survey);
    let mounted = overlay::mount(&lowers, Some((&root.upper, &root.work)))?;
    overlay::attach(&mounted, &root.at)?;
    Ok(mounted)
}

/// A view of the root as it is without the sandbox, read-only.
fn survey(lowers: &[&Path]) -> io::Result<OwnedFd> {
    let [single] = lowers else { return overlay::mount(lowers, None) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(*single, flags, Mode::empty())?)
}

/// Gives the upper directory the owner and mode of the root it will stand for.
fn mirror_root(survey: BorrowedFd<'_>, upper: &Path) -> io::Result<()> {
    let stat = rustix::fs::statat(survey, c"", AtFlags::EMPTY_PATH)?;
    let (uid, gid) = owner(&stat);
    rustix::fs::chownat(CWD, upper, Some(uid), Some(gid), AtFlags::empty())?;
    Ok(rustix::fs::chmodat(CWD, upper, permissions(&stat), AtFlags::empty())?)
}

/// Builds the stub layer; says whether there is anything in it.
fn build_stub(survey: BorrowedFd<'_>, stub: &Path, points: &[Point<'_>]) -> io::Result<bool> {
    let mut missing = Vec::new();
    for point in points {
        if !exists(survey, point.path)? {
            let resolved =
                guest::resolve(survey, point.path).map_err(|error| at_point(&error, point.path))?;
            missing.push((resolved, point));
        }
    }
    if missing.is_empty() {
        return Ok(false);
    }
    fs::create_dir(stub)?;
    let layer = fs::File::open(stub)?;
    let mut mirrored = BTreeSet::new();
    for (resolved, point) in &missing {
        mirror_parents(survey, layer.as_fd(), resolved, &mut mirrored)
            .and_then(|()| guest::make(layer.as_fd(), resolved, point.directory))
            .map_err(|error| at_point(&error, point.path))?;
    }
    for path in &mirrored {
        copy_times(survey, layer.as_fd(), path)?;
    }
    Ok(true)
}

fn exists(survey: BorrowedFd<'_>, path: &str) -> io::Result<bool> {
    match guest::open(survey, path) {
        Ok(fd) => Ok(!guest::is_whiteout(&rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH)?)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(at_point(&error, path)),
    }
}

fn at_point(error: &io::Error, path: &str) -> io::Error {
    io::Error::new(error.kind(), format!("the mount point `{path}`: {error}"))
}

fn mirror_parents(
    survey: BorrowedFd<'_>,
    layer: BorrowedFd<'_>,
    resolved: &Resolved,
    mirrored: &mut BTreeSet<Vec<u8>>,
) -> io::Result<()> {
    for count in 1..=resolved.existing {
        let path = resolved.prefix(count);
        if !mirrored.contains(&path) {
            mirror(survey, layer, &path)?;
            mirrored.insert(path);
        }
    }
    Ok(())
}

/// Copies a directory, without what is in it, from the view to the stub layer.
fn mirror(survey: BorrowedFd<'_>, layer: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
    let stat = rustix::fs::statat(survey, path, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR.into());
    }
    match rustix::fs::mkdirat(layer, path, guest::NEW_DIRECTORY) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let (uid, gid) = owner(&stat);
    rustix::fs::chownat(layer, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    copy_attributes(survey, layer, path)?;
    Ok(rustix::fs::chmodat(layer, path, permissions(&stat), AtFlags::empty())?)
}

fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, path, flags, Mode::empty())?;
    let mut names = vec![0; ATTRIBUTE_LIMIT];
    let length = rustix::fs::flistxattr(&source, names.as_mut_slice())?;
    if length == 0 {
        return Ok(());
    }
    let target = rustix::fs::openat(to, path, flags, Mode::empty())?;
    let mut value = vec![0; ATTRIBUTE_LIMIT];
    for name in names[..length].split(|&byte| byte == 0).filter(|name| is_content(name)) {
        let size = rustix::fs::fgetxattr(&source, name, value.as_mut_slice())?;
        rustix::fs::fsetxattr(&target, name, &value[..size], XattrFlags::empty())?;
    }
    Ok(())
}

/// Whether an attribute is the image's, not overlay's or the security module's.
fn is_content(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.starts_with(b"user.overlay.")
        && !name.starts_with(b"trusted.")
        && (!name.starts_with(b"security.") || name == b"security.capability")
}

fn copy_times(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
    let stat = rustix::fs::statat(from, path, AtFlags::SYMLINK_NOFOLLOW)?;
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::utimensat(to, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn permissions(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}
