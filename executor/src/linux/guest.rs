//! Paths inside a root filesystem, found from a descriptor of its root and never outside it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

/// Symbolic links followed before a path is given up, as in the kernel.
const MAX_LINKS: usize = 40;
/// How often a path is tried that holds `..`: while anybody on the machine mounts or renames something, the
/// kernel cannot tell where that leads, and says so.
const MAX_TRIES: usize = 1000;
/// Mode of directories made for the sake of a mount point.
pub(super) const NEW_DIRECTORY: Mode = Mode::from_raw_mode(0o755);
/// Mode of files made for the sake of a mount point.
const NEW_FILE: Mode = Mode::from_raw_mode(0o644);

/// Opens what a path leads to, as a location only (`O_PATH`).
pub(super) fn open(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    open_as(root, path, OFlags::PATH)
}

/// Opens what a path leads to, links followed inside `root`.
pub(super) fn open_as(root: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let (root, flags) = (root.as_fd(), flags | OFlags::CLOEXEC);
    for _ in 1..MAX_TRIES {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// Whether this is overlay's mark of a removed file, which a single layer shows as a device.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whose something is.
pub(super) fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

/// Its mode, without its type.
pub(super) fn permissions(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

/// A path without links, part of which may not exist.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Names from the root down.
    pub(super) names: Vec<Vec<u8>>,
    /// How many of them exist.
    pub(super) existing: usize,
}

impl Resolved {
    /// A path, without links, of which nothing exists.
    pub(super) fn absent(path: &str) -> Self {
        Self { names: components(path.as_bytes()).collect(), existing: 0 }
    }

    /// The path of the first `count` names, relative; empty for the root.
    pub(super) fn prefix(&self, count: usize) -> Vec<u8> {
        self.names[..count].join(&b'/')
    }

    /// Whether nothing is missing.
    pub(super) fn exists(&self) -> bool {
        self.existing == self.names.len()
    }
}

/// Follows a path as far as it exists, dangling links included, and spells out the rest.
pub(super) fn resolve(root: BorrowedFd<'_>, path: &str) -> io::Result<Resolved> {
    let mut pending: VecDeque<Vec<u8>> = components(path.as_bytes()).collect();
    let mut found = Resolved { names: Vec::new(), existing: 0 };
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == b".." {
            found.names.pop();
            found.existing = found.existing.min(found.names.len());
            continue;
        }
        let all_exist = found.exists();
        found.names.push(name);
        if !all_exist {
            continue;
        }
        match look(root, &found.prefix(found.names.len()))? {
            None => {}
            Some(Seen::Other) => found.existing += 1,
            Some(Seen::Link(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                found.names.pop();
                if target.starts_with(b"/") {
                    found = Resolved { names: Vec::new(), existing: 0 };
                }
                for part in components(&target).collect::<Vec<_>>().into_iter().rev() {
                    pending.push_front(part);
                }
            }
        }
    }
    Ok(found)
}

/// Makes what a resolved path lacks: directories, and at its end a directory or an empty file.
pub(super) fn make(root: BorrowedFd<'_>, path: &Resolved, directory: bool) -> io::Result<()> {
    for count in path.existing + 1..=path.names.len() {
        let prefix = path.prefix(count);
        let made = if directory || count < path.names.len() {
            rustix::fs::mkdirat(root, prefix.as_slice(), NEW_DIRECTORY)
        } else {
            rustix::fs::mknodat(root, prefix.as_slice(), FileType::RegularFile, NEW_FILE, 0)
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

enum Seen {
    Link(Vec<u8>),
    Other,
}

/// What stands at a path that has no links before its end; nothing if nothing does.
fn look(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<Option<Seen>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let fd = match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH)?;
    if is_whiteout(&stat) {
        return Ok(None);
    }
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = rustix::fs::readlinkat(&fd, c"", Vec::new())?;
        return Ok(Some(Seen::Link(target.into_bytes())));
    }
    Ok(Some(Seen::Other))
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(root: &std::path::Path, path: &str, names: &str, existing: usize) {
        let fd = std::fs::File::open(root).unwrap();
        let found = resolve(fd.as_fd(), path).unwrap();
        let text = String::from_utf8(found.prefix(found.names.len())).unwrap();
        assert_eq!((text.as_str(), found.existing), (names, existing), "{path}");
    }

    #[test]
    fn follows_links_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run")).unwrap();
        std::fs::create_dir_all(root.path().join("var/a")).unwrap();
        symlink("/run", root.path().join("var/run")).unwrap();
        symlink("../../../../run/x/y", root.path().join("var/a/up")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        check(root.path(), "/", "", 0);
        check(root.path(), "/var/run", "run", 1);
        check(root.path(), "/var/run/secrets/key", "run/secrets/key", 1);
        check(root.path(), "/var/a/up", "run/x/y", 1);
        check(root.path(), "/var/a/up/../z", "run/x/z", 1);
        check(root.path(), "/new/../var/b", "var/b", 1);
        let fd = std::fs::File::open(root.path()).unwrap();
        assert_eq!(resolve(fd.as_fd(), "/loop").unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_path_is_found_while_others_rename() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let root = tempfile::tempdir().unwrap();
        for name in ["a/b", "names/one"] {
            std::fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let fd = std::fs::File::open(root.path()).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let names = root.path().join("names");
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(names.join("one"), names.join("two")).unwrap();
                    std::fs::rename(names.join("two"), names.join("one")).unwrap();
                }
            });
            let up = format!("/a{}", "/b/..".repeat(20));
            let opened: Vec<_> = (0..2_000).map(|_| open(&fd, &up).map(drop)).collect();
            done.store(true, Ordering::Relaxed);
            let failed: Vec<_> = opened.into_iter().filter_map(Result::err).collect();
            assert!(failed.is_empty(), "{} of 2,000: {:?}", failed.len(), failed[0]);
        });
    }

    #[test]
    fn makes_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(root.path()).unwrap();
        let file = resolve(fd.as_fd(), "/a/b/file").unwrap();
        make(fd.as_fd(), &file, false).unwrap();
        assert!(root.path().join("a/b/file").is_file());
        let directory = resolve(fd.as_fd(), "/a/c").unwrap();
        make(fd.as_fd(), &directory, true).unwrap();
        assert!(root.path().join("a/c").is_dir());
    }
}
