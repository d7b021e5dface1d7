//! Stub layers: the mount points that an image lacks.
//!
//! The common one lies below the image's layers and holds all mount points, whatever the image has: what the image
//! has too hides it, and a directory that both have is the image's. It serves every image but those that
//! hide what they lack: by a whiteout, an opaque directory, or a link that leads to nothing.
//!
//! The exact one lies above. It holds the missing directories and empty files, and copies of the directories above
//! them that do exist, with their owner, mode, time and attributes, so that a copy of such a directory into the
//! upper layer is the same as without the stub. To find out what is missing the image must be mounted once more.
//!
//! A stub is named by the digest of all that it is made from, and kept: making one costs more than all the mounts of
//! a sandbox, and the commands of a build mostly lack the same. Nobody writes to a stub that has its name; it gets the
//! name when it is whole.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use kiln_ir::ContentHasher;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::guest::{self, Resolved};
use super::root::make_if_absent;

/// The largest list of attributes, and the largest attribute, that Linux allows.
const ATTRIBUTE_LIMIT: usize = 64 << 10;

/// A mount point with its kind settled.
pub(super) struct Point<'a> {
    pub(super) path: &'a str,
    pub(super) directory: bool,
}

/// A mount point that does not exist, and where it would.
struct Missing<'a> {
    place: Resolved,
    point: &'a Point<'a>,
}

/// A directory of the image's, above a mount point that is missing.
struct Parent {
    stat: Stat,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// All that a stub layer is made from.
struct Stub<'a> {
    missing: Vec<Missing<'a>>,
    /// By path. A directory sorts before what is in it.
    parents: BTreeMap<Vec<u8>, Parent>,
}

/// The stub layer that has all of `points`, found in `scratch` or made there by way of `work`.
pub(super) fn common(points: &[Point<'_>], scratch: &Path, work: &Path) -> io::Result<PathBuf> {
    let mut hasher = ContentHasher::new("kiln common stub layer");
    hasher.u64(points.len() as u64);
    for point in points {
        hasher.bytes(point.path.as_bytes());
        hasher.u64(u64::from(point.directory));
    }
    let name = format!("stub-common-{}", hasher.finish());
    keep(&name, scratch, work, |layer| {
        for point in points {
            let place = Resolved::absent(point.path);
            guest::make(layer, &place, point.directory)
                .map_err(|error| at_point(&error, point.path))?;
        }
        Ok(())
    })
}

/// The stub layer for what `survey` lacks of `points`, found in `scratch` or made there by way of
/// `work`; nothing if nothing is missing.
pub(super) fn exact(
    survey: BorrowedFd<'_>,
    points: &[Point<'_>],
    scratch: &Path,
    work: &Path,
) -> io::Result<Option<PathBuf>> {
    let stub = examine(survey, points)?;
    if stub.missing.is_empty() {
        return Ok(None);
    }
    keep(&stub.name(), scratch, work, |layer| build(&stub, layer)).map(Some)
}

/// The layer of that name in `scratch`, built in `work` first unless it is there.
fn keep(
    name: &str,
    scratch: &Path,
    work: &Path,
    build: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let kept = scratch.join(name);
    if kept.exists() {
        return Ok(kept);
    }
    let new = work.join(name);
    fs::create_dir(&new)?;
    build(fs::File::open(&new)?.as_fd())?;
    make_if_absent(scratch)?;
    match fs::rename(&new, &kept) {
        // Another run was faster; its stub is the same. Ours goes when the work directory does.
        Err(error) if kept.exists() => drop(error),
        renamed => renamed?,
    }
    Ok(kept)
}

/// Finds out what is missing, and what it takes to supply it.
fn examine<'a>(survey: BorrowedFd<'_>, points: &'a [Point<'a>]) -> io::Result<Stub<'a>> {
    let mut stub = Stub { missing: Vec::new(), parents: BTreeMap::new() };
    for point in points {
        if exists(survey, point.path)? {
            continue;
        }
        let at_this_point = |error: io::Error| at_point(&error, point.path);
        let place = guest::resolve(survey, point.path).map_err(at_this_point)?;
        for count in 1..=place.existing {
            let path = place.prefix(count);
            if let Entry::Vacant(slot) = stub.parents.entry(path) {
                let parent = Parent::read(survey, slot.key()).map_err(at_this_point)?;
                slot.insert(parent);
            }
        }
        stub.missing.push(Missing { place, point });
    }
    Ok(stub)
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

impl Stub<'_> {
    fn name(&self) -> String {
        let mut hasher = ContentHasher::new("kiln stub layer");
        hasher.u64(self.missing.len() as u64);
        for Missing { place, point } in &self.missing {
            hasher.bytes(&place.prefix(place.names.len()));
            hasher.u64(place.existing as u64);
            hasher.u64(u64::from(point.directory));
        }
        for (path, Parent { stat, attributes }) in &self.parents {
            hasher.bytes(path);
            for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
                hasher.u64(u64::from(number));
            }
            hasher.u64(stat.st_mtime.cast_unsigned());
            hasher.u64(stat.st_mtime_nsec);
            hasher.u64(attributes.len() as u64);
            for (name, value) in attributes {
                hasher.bytes(name);
                hasher.bytes(value);
            }
        }
        format!("stub-exact-{}", hasher.finish())
    }
}

impl Parent {
    fn read(survey: BorrowedFd<'_>, path: &[u8]) -> io::Result<Self> {
        let stat = rustix::fs::statat(survey, path, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Errno::NOTDIR.into());
        }
        Ok(Self { stat, attributes: read_attributes(survey, path)? })
    }
}

fn read_attributes(survey: BorrowedFd<'_>, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(survey, path, flags, Mode::empty())?;
    let mut names = vec![0; ATTRIBUTE_LIMIT];
    let length = rustix::fs::flistxattr(&source, names.as_mut_slice())?;
    let mut attributes = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| is_content(name)) {
        let mut value = vec![0; ATTRIBUTE_LIMIT];
        let size = rustix::fs::fgetxattr(&source, name, value.as_mut_slice())?;
        value.truncate(size);
        attributes.push((name.to_vec(), value));
    }
    Ok(attributes)
}

/// Whether an attribute is the image's, not overlay's or the security module's.
fn is_content(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.starts_with(b"user.overlay.")
        && !name.starts_with(b"trusted.")
        && (!name.starts_with(b"security.") || name == b"security.capability")
}

fn build(stub: &Stub<'_>, layer: BorrowedFd<'_>) -> io::Result<()> {
    for (path, parent) in &stub.parents {
        copy_parent(layer, path, parent)?;
    }
    for Missing { place, point } in &stub.missing {
        guest::make(layer, place, point.directory).map_err(|error| at_point(&error, point.path))?;
    }
    // What was made in them has changed their times.
    for (path, parent) in &stub.parents {
        copy_times(layer, path, &parent.stat)?;
    }
    Ok(())
}

/// Copies a directory, without what is in it, to the stub layer.
fn copy_parent(layer: BorrowedFd<'_>, path: &[u8], parent: &Parent) -> io::Result<()> {
    rustix::fs::mkdirat(layer, path, guest::NEW_DIRECTORY)?;
    let (uid, gid) = guest::owner(&parent.stat);
    rustix::fs::chownat(layer, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !parent.attributes.is_empty() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(layer, path, flags, Mode::empty())?;
        for (name, value) in &parent.attributes {
            rustix::fs::fsetxattr(&target, name.as_slice(), value, XattrFlags::empty())?;
        }
    }
    let mode = guest::permissions(&parent.stat);
    Ok(rustix::fs::chmodat(layer, path, mode, AtFlags::empty())?)
}

fn copy_times(layer: BorrowedFd<'_>, path: &[u8], stat: &Stat) -> io::Result<()> {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::utimensat(layer, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
