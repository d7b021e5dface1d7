//! Removing a tree that somebody else filled.
//!
//! Links are removed and never followed; directories without permissions are given some; a tree deeper
//! than there are descriptors is taken apart in pieces.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, RawDir, SeekFrom};
use rustix::io::Errno;

use super::disk::{HOST, open_dir_at};
use crate::CacheError;

/// How many levels are open at once.
const DEPTH_MAX: usize = 64;

/// Removes `path` and all in it. That it is not there is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), CacheError> {
    let removed = match rustix::fs::unlinkat(HOST, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            let emptied = open_any_dir(HOST, path).and_then(|dir| empty_dir(&dir));
            emptied.and_then(|()| Ok(rustix::fs::unlinkat(HOST, path, AtFlags::REMOVEDIR)?))
        }
        Err(Errno::NOENT) => Ok(()),
        result => result.map_err(io::Error::from),
    };
    removed.map_err(CacheError::io("remove the directory", path))
}

/// Removes all that is in a directory.
pub(super) fn empty_dir(root: &OwnedFd) -> io::Result<()> {
    let mut moved = 0_u64;
    // What was too deep has been moved up into the root, where the next round finds it.
    while remove_children(root, root, 0, &mut moved)? > 0 {
        rustix::fs::seek(root, SeekFrom::Start(0))?;
    }
    Ok(())
}

/// Removes what is in `dir`, and tells how many names there were.
fn remove_children(
    root: &OwnedFd,
    dir: &OwnedFd,
    depth: usize,
    moved: &mut u64,
) -> io::Result<usize> {
    let children = names(dir)?;
    for (name, kind) in &children {
        if *kind == FileType::Directory {
            remove_dir(root, dir, (name, depth), moved)?;
            continue;
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            // The filesystem did not tell what it is.
            Err(Errno::ISDIR | Errno::PERM) if *kind == FileType::Unknown => {
                remove_dir(root, dir, (name, depth), moved)?;
            }
            Err(Errno::NOENT) => {}
            result => result?,
        }
    }
    Ok(children.len())
}

fn remove_dir(
    root: &OwnedFd,
    parent: &OwnedFd,
    (name, depth): (&CString, usize),
    moved: &mut u64,
) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
        Err(Errno::NOENT) => return Ok(()),
        result => return Ok(result?),
    }
    if depth >= DEPTH_MAX {
        return move_up(root, parent, name, moved);
    }
    let dir = open_any_dir(parent, name)?;
    remove_children(root, &dir, depth + 1, moved)?;
    drop(dir);
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

fn move_up(root: &OwnedFd, parent: &OwnedFd, name: &CString, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        let up = format!(".deep-{moved}");
        match rustix::fs::renameat(parent, name, root, up.as_str()) {
            // The tree's maker chose the same name.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            result => return Ok(result?),
        }
    }
}

/// Opens a directory, giving its owner the permissions that are missing.
fn open_any_dir(parent: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    let owner = Mode::RWXU;
    let dir = match open_dir_at(&parent, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(&parent, name, owner, AtFlags::empty())?;
            return Ok(open_dir_at(parent, name)?);
        }
        result => result?,
    };
    if rustix::process::geteuid().is_root() {
        return Ok(dir);
    }
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode);
    if !mode.contains(owner) {
        rustix::fs::fchmod(&dir, mode | owner)?;
    }
    Ok(dir)
}

/// The names in a directory, but for itself and its parent, with their types as far as the filesystem
/// tells them.
pub(super) fn names(dir: impl AsFd) -> io::Result<Vec<(CString, FileType)>> {
    let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
    let dir: BorrowedFd<'_> = dir.as_fd();
    let mut list = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = list.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}
