//! Reading an upper directory: all its entries with their digests, in parallel.
//!
//! A small tree is read by the calling thread; what is left after that goes to rayon's pool in pieces of
//! one directory or some files. Nothing recurses, however deep the tree. Every file is reached from the
//! descriptor of its directory.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_ir::Digest;
use rayon::Scope;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType};

use super::disk;
use super::remove::names;
use crate::CacheError;
use crate::tree::{Entry, Node, lossy, paths};

/// How many entries the calling thread reads before it asks for help.
const ALONE_MAX: usize = 48;
/// How many files make a piece of work.
const FILES_PER_TASK: usize = 48;

/// One entry as it was found.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The entry. An opaque directory is marked, though the mark on disk is gone by now.
    pub(super) entry: Entry,
    /// The inode of a file with several names.
    pub(super) inode: Option<u64>,
}

/// Reads everything in `root`, in byte order of the paths, and removes overlayfs's marks on the way. Hard
/// links are not found yet, and sockets are among the entries.
pub(super) fn scan(root: &Path) -> Result<Vec<Scanned>, CacheError> {
    let walk = Walk { host: root, shared: Mutex::default(), digests: Mutex::default() };
    let root = Arc::new(disk::open_dir(root)?);
    // A new upper directory bears marks too.
    disk::take_xattrs(root.as_fd()).map_err(walk.failed("read the attributes of", b""))?;
    let mut tasks = Vec::new();
    walk.list(&root, b"", &mut tasks)?;
    let mut found = Vec::new();
    while let Some(task) = tasks.pop() {
        if found.len() + task.size() > ALONE_MAX {
            tasks.push(task);
            break;
        }
        walk.perform(task, &mut found, &mut tasks)?;
    }
    drop(root);
    if !tasks.is_empty() {
        rayon::scope(|scope| {
            for task in tasks {
                walk.spawn(scope, task);
            }
        });
    }
    let shared = walk.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = shared.error {
        return Err(error);
    }
    found.extend(shared.found);
    found.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
    Ok(found)
}

/// One walk, shared by all threads at it.
struct Walk<'a> {
    /// The upper directory, for messages.
    host: &'a Path,
    shared: Mutex<Shared>,
    /// What is known of files with several names.
    digests: Mutex<HashMap<u64, Digest>>,
}

#[derive(Default)]
struct Shared {
    found: Vec<Scanned>,
    error: Option<CacheError>,
}

/// A piece of work.
enum Task {
    /// A directory: its own entry and the names in it.
    Dir { parent: Arc<OwnedFd>, name: CString, path: Vec<u8> },
    /// What is no directory in one directory.
    Files { dir: Arc<OwnedFd>, path: Arc<[u8]>, names: Vec<(CString, FileType)> },
}

impl Task {
    fn size(&self) -> usize {
        match self {
            Self::Dir { .. } => 1,
            Self::Files { names, .. } => names.len(),
        }
    }
}

impl Walk<'_> {
    fn spawn<'s>(&'s self, scope: &Scope<'s>, task: Task) {
        scope.spawn(move |scope| {
            if self.lock().error.is_some() {
                return;
            }
            let (mut found, mut more) = (Vec::new(), Vec::new());
            let result = self.perform(task, &mut found, &mut more);
            for task in more {
                self.spawn(scope, task);
            }
            let mut shared = self.lock();
            shared.found.append(&mut found);
            if let Err(error) = result {
                shared.error.get_or_insert(error);
            }
        });
    }

    fn perform(
        &self,
        task: Task,
        found: &mut Vec<Scanned>,
        more: &mut Vec<Task>,
    ) -> Result<(), CacheError> {
        match task {
            Task::Dir { parent, name, path } => {
                let dir = disk::open_dir_at(&parent, &name);
                drop(parent);
                let dir = Arc::new(dir.map_err(self.failed("open the directory", &path))?);
                found.push(self.read_dir(&dir, path.clone())?);
                self.list(&dir, &path, more)
            }
            Task::Files { dir, path, names } => {
                for name in names {
                    let path = paths::join(&path, name.0.to_bytes());
                    found.push(self.read(&dir, &name, path)?);
                }
                Ok(())
            }
        }
    }

    /// Makes tasks of what is in a directory.
    fn list(
        &self,
        dir: &Arc<OwnedFd>,
        path: &[u8],
        more: &mut Vec<Task>,
    ) -> Result<(), CacheError> {
        let mut files = Vec::new();
        for (name, kind) in names(dir).map_err(self.failed("list the directory", path))? {
            if kind != FileType::Directory {
                files.push((name, kind));
                continue;
            }
            let path = paths::join(path, name.to_bytes());
            if path.len() > paths::PATH_MAX_BYTES {
                let what = "is in directories too deep for a layer";
                return Err(CacheError::BadEntry { path: lossy(&path), what });
            }
            more.push(Task::Dir { parent: Arc::clone(dir), name, path });
        }
        let path: Arc<[u8]> = path.into();
        while !files.is_empty() {
            let names = files.split_off(files.len().saturating_sub(FILES_PER_TASK));
            more.push(Task::Files { dir: Arc::clone(dir), path: Arc::clone(&path), names });
        }
        Ok(())
    }

    fn read_dir(&self, dir: &OwnedFd, path: Vec<u8>) -> Result<Scanned, CacheError> {
        let stat = rustix::fs::fstat(dir).map_err(self.failed("look at", &path))?;
        let mut meta = disk::meta_of(&stat);
        let xattrs =
            disk::take_xattrs(dir.as_fd()).map_err(self.failed("read the attributes of", &path))?;
        meta.xattrs = xattrs.kept;
        let node = Node::Dir { opaque: xattrs.opaque };
        let entry = Entry { path, node, meta, mtime: disk::mtime_of(&stat) };
        Ok(Scanned { entry, inode: None })
    }

    fn read(
        &self,
        dir: &OwnedFd,
        (name, kind): &(CString, FileType),
        path: Vec<u8>,
    ) -> Result<Scanned, CacheError> {
        // Only what is a file for certain is opened: opening a device may set it in motion.
        if *kind == FileType::RegularFile {
            return self.read_file(dir, name, path);
        }
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.failed("look at", &path))?;
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let node = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return self.read_file(dir, name, path),
            FileType::Symlink => Node::Symlink {
                target: rustix::fs::readlinkat(dir, name, Vec::new())
                    .map_err(self.failed("read the link", &path))?
                    .into_bytes(),
            },
            FileType::CharacterDevice if stat.st_rdev == 0 => Node::Whiteout,
            FileType::CharacterDevice => Node::CharDevice { major, minor },
            FileType::BlockDevice => Node::BlockDevice { major, minor },
            FileType::Fifo => Node::Fifo,
            FileType::Socket => Node::Socket,
            FileType::Directory | FileType::Unknown => {
                return Err(CacheError::Changed { path: lossy(&path) });
            }
        };
        if node == Node::Whiteout {
            let (meta, mtime) = Default::default();
            return Ok(Scanned { entry: Entry { path, node, meta, mtime }, inode: None });
        }
        let (meta, mtime) = (disk::meta_of(&stat), disk::mtime_of(&stat));
        Ok(Scanned { entry: Entry { path, node, meta, mtime }, inode: None })
    }

    fn read_file(
        &self,
        dir: &OwnedFd,
        name: &CString,
        path: Vec<u8>,
    ) -> Result<Scanned, CacheError> {
        let file = disk::open_file_at(dir.as_fd(), name).map_err(self.failed("open", &path))?;
        let stat = rustix::fs::fstat(&file).map_err(self.failed("look at", &path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(CacheError::Changed { path: lossy(&path) });
        }
        let mut meta = disk::meta_of(&stat);
        let xattrs = disk::take_xattrs(file.as_fd())
            .map_err(self.failed("read the attributes of", &path))?;
        meta.xattrs = xattrs.kept;
        let size_bytes = stat.st_size.cast_unsigned();
        let inode = (stat.st_nlink > 1).then_some(stat.st_ino);
        let digest = match inode.and_then(|inode| self.digests().get(&inode).copied()) {
            Some(digest) => digest,
            None => super::digest_file(&file, size_bytes).map_err(self.failed("read", &path))?,
        };
        if let Some(inode) = inode {
            self.digests().insert(inode, digest);
        }
        let node = Node::File { digest, size_bytes };
        let entry = Entry { path, node, meta, mtime: disk::mtime_of(&stat) };
        Ok(Scanned { entry, inode })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn digests(&self) -> MutexGuard<'_, HashMap<u64, Digest>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed<E: Into<io::Error>>(
        &self,
        op: &'static str,
        path: &[u8],
    ) -> impl FnOnce(E) -> CacheError {
        let path = paths::host(path);
        move |error| CacheError::io(op, self.host.join(path))(error)
    }
}
