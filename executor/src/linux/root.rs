//! The sandbox's root filesystem, with a mount point for everything and none of them in the layer.
//!
//! A mount point that the image lacks is supplied by a stub layer, see [`super::stub`]: by one below the image's
//! own, which is the same for all images, or where that does not do, by one made for the image and laid on top.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::stub::{self, Point};
use super::{guest, overlay};
use crate::plan::RootMount;

/// Mounts the root outside the sandbox's and returns a descriptor of it.
pub(super) fn mount(root: &RootMount, points: &[Point<'_>]) -> io::Result<OwnedFd> {
    fs::create_dir(&root.at)?;
    let common = stub::common(points, &root.scratch, &root.work)?;
    let mut lowers = vec![common.as_path()];
    lowers.extend(root.lowers.iter().map(AsRef::<Path>::as_ref));
    mirror_root(root.lowers.last().unwrap_or(&common), &root.upper)?;
    let mut mounted = overlay::mount(&lowers, Some((&root.upper, &root.work)))?;
    if !points.iter().all(|point| guest::open(&mounted, point.path).is_ok()) {
        drop(mounted);
        mounted = mount_exact(root, points)?;
    }
    overlay::attach(&mounted, &root.at)?;
    Ok(mounted)
}

/// Mounts the root with a stub that is made for it: where the image has removed a mount point, or a link leads
/// from it to nothing.
fn mount_exact(root: &RootMount, points: &[Point<'_>]) -> io::Result<OwnedFd> {
    let mut lowers: Vec<&Path> = root.lowers.iter().map(AsRef::as_ref).collect();
    let empty;
    if lowers.is_empty() {
        empty = empty_layer(&root.scratch, 0)?;
        lowers.push(&empty);
    }
    let survey = survey(&lowers)?;
    let stub = stub::exact(survey.as_fd(), points, &root.scratch, &root.work)?;
    lowers.extend(stub.as_deref());
    drop(survey);
    // Overlay takes no work directory a second time after a volatile mount.
    let work = root.work.join("exact");
    fs::create_dir(&work)?;
    overlay::mount(&lowers, Some((&root.upper, &work)))
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

/// Gives the upper directory the owner and mode of the root it will stand for, which are those of the topmost layer's.
fn mirror_root(top: &Path, upper: &Path) -> io::Result<()> {
    let stat = rustix::fs::stat(top)?;
    let (uid, gid) = guest::owner(&stat);
    rustix::fs::chownat(CWD, upper, Some(uid), Some(gid), AtFlags::empty())?;
    Ok(rustix::fs::chmodat(CWD, upper, guest::permissions(&stat), AtFlags::empty())?)
}
