//! A build context's directory, read safely.
//!
//! Every access starts at the root's descriptor and is resolved by `openat2` below it with symbolic links
//! refused, or is of one name in an open directory: nothing outside is reached, whatever moves meanwhile.
//! Only what is asked for is touched. Owners are not taken over: all is root's, as in the reference, so
//! that whoever checked the files out makes the same image. Of extended attributes `user.*` and
//! `security.capability` count; those of the host's security modules and overlays do not.
//!
//! A [`StatCache`] saves reading what did not change since an earlier build.

mod ahead;
mod dir;
mod hash;
mod stat_cache;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_ir::Digest;
use rayon::prelude::*;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

pub use crate::stat::StatKey;
pub use ahead::AheadTree;
pub use stat_cache::StatCache;

use crate::CacheError;
use crate::layer::{AheadCopy, KERNEL_COPY_MIN_BYTES};
use crate::select::{
    Child, Found, Kind, LinkId, Listed, Peek, Plain, SelectError, SourceTree, shown,
};
use crate::stat;
use crate::tree::{Meta, Node, paths};
use dir::{Names, Stat};
use stat_cache::{Known, KnownFile, Recalled};

/// How often a file that changes under the reader is read again.
const ATTEMPTS: usize = 3;
/// Directories of more names than this are cut in pieces of as many for the threads.
const NAMES_PER_TASK: usize = 256;

/// A directory of this machine that files are copied from.
#[derive(Debug)]
pub struct LocalTree {
    root: OwnedFd,
    /// For messages only.
    path: PathBuf,
    cache: StatCache,
}

impl LocalTree {
    /// Opens the directory at `path`; `cache` is that of an earlier build of the same directory, or empty.
    ///
    /// # Errors
    /// When `path` is no directory or may not be opened.
    pub fn open(path: &Path, cache: StatCache) -> Result<Self, CacheError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(CacheError::io("open the build context", path))?;
        Ok(Self { root, path: path.to_owned(), cache })
    }

    /// The directory, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The stat cache with all that was learned, to be saved.
    #[must_use]
    pub fn stat_cache(&self) -> &StatCache {
        &self.cache
    }

    fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let below: &[u8] = if path.is_empty() { b"." } else { path };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, below, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, SelectError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.open_at(path, flags).map_err(self.failed("read the directory", path))
    }

    /// Makes the adapter for `map_err` that names a path as the user knows it.
    fn failed(&self, op: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> SelectError {
        let path = self.path.join(paths::host(path));
        move |errno| CacheError::io(op, path)(errno).into()
    }

    /// One child of an open directory; nothing when it has gone.
    fn load(&self, at: &At<'_>) -> Result<Option<Found>, SelectError> {
        let failed = |errno| self.failed("read", &at.path())(errno);
        for _ in 0..ATTEMPTS {
            let stat = match dir::stat(at.fd, at.name) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(failed(errno)),
            };
            match self.describe(at, &stat) {
                Ok(Some(found)) => return Ok(Some(found)),
                // It was replaced or written to since: look again.
                Ok(None) | Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(SelectError::Changed { path: shown(&at.path()) })
    }

    /// Nothing when the file is no longer what `stat` says.
    fn describe(&self, at: &At<'_>, stat: &Stat) -> Result<Option<Found>, Errno> {
        let key = stat.key;
        let mut content = Content::default();
        let node = match stat.file_type() {
            FileType::RegularFile => {
                let Some(read) = self.content(at, &key)? else { return Ok(None) };
                content = read;
                Node::File { digest: content.known.digest, size_bytes: key.size_bytes }
            }
            FileType::Directory => {
                let Some(read) = self.content(&At { ahead: None, ..*at }, &key)? else {
                    return Ok(None);
                };
                content = read;
                Node::Dir { opaque: false }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(at.fd, at.name, Vec::new())?;
                Node::Symlink { target: target.into_bytes() }
            }
            FileType::CharacterDevice => Node::CharDevice { major: stat.major, minor: stat.minor },
            FileType::BlockDevice => Node::BlockDevice { major: stat.major, minor: stat.minor },
            FileType::Fifo => Node::Fifo,
            FileType::Socket | FileType::Unknown => Node::Socket,
        };
        let many_names = stat.names > 1 && matches!(node, Node::File { .. });
        Ok(Some(Found {
            node,
            meta: Meta { mode: key.mode & 0o7777, uid: 0, gid: 0, xattrs: content.known.xattrs },
            mtime: key.mtime,
            link: many_names
                .then(|| Box::new(LinkId::Inode { device: key.device, inode: key.inode })),
            // Smaller ones are hashed again in no time.
            settled: (content.is_settled && key.size_bytes >= KERNEL_COPY_MIN_BYTES)
                .then(|| Box::new(key)),
            ahead: content.ahead,
        }))
    }

    /// The content and attributes of a file, the attributes of a directory: from the cache, else read.
    fn content(&self, at: &At<'_>, key: &StatKey) -> Result<Option<Content>, Errno> {
        if let Some(known) = at.known.and_then(|file| file.if_same(key)) {
            return Ok(Some(Content { known, is_settled: true, ahead: None }));
        }
        let now = self.cache.now();
        let copy_to = at.ahead.and_then(|ahead| ahead.copy_to(key, at.known));
        let Some((known, ahead)) = hash::read(at.fd, at.name, key, copy_to)? else {
            return Ok(None);
        };
        let is_settled = !key.is_racy(now);
        if is_settled {
            self.cache.learn(at.parent, at.name.to_bytes(), *key, known.clone());
        }
        Ok(Some(Content { known, is_settled, ahead }))
    }

    fn entry_of(
        &self,
        path: &[u8],
        ahead: Option<&AheadTree<'_>>,
    ) -> Result<Option<Found>, SelectError> {
        let (parent, name) = paths::split(path);
        let fd = self.open_dir(parent)?;
        let Some(name) = CString::new(name).ok().filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let known = self.cache.entry(parent, name.to_bytes());
        self.load(&At { fd: &fd, parent, name: &name, known: known.as_ref(), ahead })
    }

    /// All names in an open directory: those of an earlier build if its stat is the same, else read.
    fn names_in(&self, dir: &[u8], fd: &OwnedFd) -> Result<Recalled<'_>, Errno> {
        let now = self.cache.now();
        let key = StatKey::now(fd)?;
        if let Some(recalled) = self.cache.recall(dir, &key) {
            return Ok(recalled);
        }
        let names = Names::read(fd)?;
        let is_lasting = !key.is_racy(now) && dir::dates_its_names(fd);
        Ok(self.cache.listed(dir, is_lasting.then_some(key), names))
    }

    fn list_of(
        &self,
        dir: &[u8],
        want: &mut dyn FnMut(&[u8], Kind) -> bool,
        ahead: Option<&AheadTree<'_>>,
    ) -> Result<Listed, SelectError> {
        let fd = self.open_dir(dir)?;
        let recalled = self.names_in(dir, &fd).map_err(self.failed("read the directory", dir))?;
        let Recalled { names, known } = recalled;
        let load = |index: usize| {
            let (name, known) = (names.name(index), known[index].as_ref());
            let at = At { fd: &fd, parent: dir, name, known, ahead };
            let place = names.place(index);
            if let Some(child) = unchanged(&at, &place) {
                return Ok(Some(child));
            }
            Ok(self.load(&at)?.map(|found| Child::new(place, found)))
        };
        let wanted = names.iter().enumerate().filter(|(_, (name, kind))| want(name, *kind));
        let wanted = wanted.map(|(index, _)| index);
        if names.len() > NAMES_PER_TASK {
            let wanted: Vec<usize> = wanted.collect();
            let tasks = wanted.into_par_iter().with_min_len(NAMES_PER_TASK);
            let children: Result<_, SelectError> =
                tasks.filter_map(|index| load(index).transpose()).collect();
            return Ok(Listed::of(names.into_text(), children?));
        }
        // Other threads have directories of their own.
        let mut children = Vec::with_capacity(names.len());
        for index in wanted {
            if let Some(child) = load(index)? {
                children.push(child);
            }
        }
        Ok(Listed::of(names.into_text(), children))
    }
}

/// A file as nearly all are, if it is what is remembered of it: as [`LocalTree::load`] has it, in fewer words.
fn unchanged(at: &At<'_>, name: &Range<usize>) -> Option<Child> {
    let known = at.known.filter(|file| file.is_plain())?;
    let Stat { key, names, .. } = dir::stat(at.fd, at.name).ok()?;
    let is_plain = names == 1 && key.size_bytes < KERNEL_COPY_MIN_BYTES;
    (is_plain && known.is_same(&key)).then(|| {
        let (digest, mode) = (known.digest(), key.mode & 0o7777);
        Child::plain(
            name.clone(),
            Plain { digest, size_bytes: key.size_bytes, mode, mtime: key.mtime },
        )
    })
}

/// What reading a file or directory gave.
#[derive(Default)]
struct Content {
    known: Known,
    /// Whether any later change would show in the stat.
    is_settled: bool,
    /// The copy that was made while it was read.
    ahead: Option<Arc<AheadCopy>>,
}

/// A name in an open directory.
struct At<'a> {
    fd: &'a OwnedFd,
    /// The directory's path below the root.
    parent: &'a [u8],
    name: &'a CStr,
    known: Option<&'a KnownFile<'a>>,
    /// Who may want a copy of it.
    ahead: Option<&'a AheadTree<'a>>,
}

impl At<'_> {
    fn path(&self) -> Vec<u8> {
        paths::join(self.parent, self.name.to_bytes())
    }
}

impl SourceTree for LocalTree {
    fn peek(&self, path: &[u8]) -> Result<Option<Peek>, SelectError> {
        let fd = match self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => fd,
            // With links refused, a link in the middle is as good as absent.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(self.failed("look up", path)(errno)),
        };
        let stat = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, stat::MASK)
            .map_err(self.failed("look up", path))?;
        let file_type = Stat::of(&stat).file_type();
        if file_type == FileType::Symlink {
            let target = rustix::fs::readlinkat(&fd, c"", Vec::new())
                .map_err(self.failed("read the link", path))?;
            return Ok(Some(Peek::Symlink(target.into_bytes())));
        }
        Ok(Some(if file_type == FileType::Directory { Peek::Dir } else { Peek::Other }))
    }

    fn entry(&self, path: &[u8]) -> Result<Option<Found>, SelectError> {
        self.entry_of(path, None)
    }

    fn list(
        &self,
        dir: &[u8],
        want: &mut dyn FnMut(&[u8], Kind) -> bool,
    ) -> Result<Listed, SelectError> {
        self.list_of(dir, want, None)
    }

    fn open(&self, path: &[u8]) -> Result<File, SelectError> {
        // O_NONBLOCK: were it swapped for a fifo, opening would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        self.open_at(path, flags).map(File::from).map_err(self.failed("open", path))
    }

    fn is_mutable(&self) -> bool {
        true
    }
}

/// The digest that stands for "no content", of directories.
pub(crate) const NO_CONTENT: Digest = Digest::from_bytes([0; 32]);

#[cfg(test)]
mod tests;
