//! The sandbox's root filesystem, with a mount point for everything and none of them in the layer.
//!
//! A mount point that the image lacks is supplied by a stub layer (see [`super::stub`]), the topmost of
//! the lower ones.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::stub::{self, Point};
use super::{guest, overlay};
use crate::plan::RootMount;

/// Mounts the root outside the sandbox's and returns a descriptor of it.
pub(super) fn mount(root: &RootMount, points: &[Point<'_>]) -> io::Result<OwnedFd> {
    fs::create_dir(&root.at)?;
    let mut lowers: Vec<&Path> = root.lowers.iter().map(AsRef::as_ref).collect();
    let empty;
    if lowers.is_empty() {
        empty = empty_layer(&root.scratch, 0)?;
        lowers.push(&empty);
    }
    let survey = survey(&lowers)?;
    mirror_root(survey.as_fd(), &root.upper)?;
    let stub = stub::provide(survey.as_fd(), points, &root.scratch, &root.work)?;
    lowers.extend(stub.as_deref());
    drop(survey);
    let mounted = overlay::mount(&lowers, Some((&root.upper, &root.work)))?;
    overlay::attach(&mounted, &root.at)?;
    Ok(mounted)
}

/// A stack that is high enough for a read-only mount, which takes two layers: empty ones make up for
/// those missing.
pub(super) fn padded(lowers: &[&Path], scratch: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = 2_usize.saturating_sub(lowers.len());
    let empty = (0..missing).map(|number| empty_layer(scratch, number));
    empty.chain(lowers.iter().map(|&lower| Ok(lower.to_owned()))).collect()
}

/// An empty directory that serves every run. On the disk: a stack must lie on one filesystem for its
/// inode numbers to be as expected.
fn empty_layer(scratch: &Path, number: usize) -> io::Result<PathBuf> {
    let path = scratch.join(format!("empty-{number}"));
    make_if_absent(&path)?;
    Ok(path)
}

/// Makes a directory, unless an earlier run or another has made it.
pub(super) fn make_if_absent(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
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
    let (uid, gid) = guest::owner(&stat);
    rustix::fs::chownat(CWD, upper, Some(uid), Some(gid), AtFlags::empty())?;
    Ok(rustix::fs::chmodat(CWD, upper, guest::permissions(&stat), AtFlags::empty())?)
}
