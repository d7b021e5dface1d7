//! Leases: a process's directory under `staging/`, locked as long as the process lives.
//!
//! The lock is on the directory itself, so that it ends with its holder, whatever ended that. A directory
//! that can be locked by someone else belongs to nobody and is rubbish. A new directory is unlocked for a
//! moment; whoever finds its own one swept in that moment makes another.

use std::fs::{File, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use super::lock::{Sharing, attempt, is_at};
use crate::CacheError;
use crate::layer::remove_tree;

/// A directory of one's own, kept from the sweep.
#[derive(Debug)]
pub(super) struct Lease {
    dir: PathBuf,
    /// Locked; nothing when the lease was released.
    lock: Option<File>,
    made: AtomicU64,
}

impl Lease {
    /// Makes and locks a new directory under `staging`.
    pub(super) fn take(staging: &Path) -> Result<Self, CacheError> {
        loop {
            let dir = staging.join(fresh_name());
            match std::fs::create_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(CacheError::io("create the directory", &dir))?,
            }
            if let Some(lock) = claim(&dir)? {
                return Ok(Self { dir, lock: Some(lock), made: AtomicU64::new(0) });
            }
        }
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A name in the directory that nobody has.
    pub(super) fn fresh_path(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{kind}-{}", self.made.fetch_add(1, Ordering::Relaxed)))
    }

    /// Deletes the directory with all that is in it.
    pub(super) fn release(&mut self) -> Result<(), CacheError> {
        match self.lock.take() {
            Some(lock) => delete(&Rubbish { path: self.dir.clone(), _lock: Some(lock) }),
            None => Ok(()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            // The next process to open the store sweeps it.
            tracing::debug!(path = %self.dir.display(), %error, "staging directory not deleted");
        }
    }
}

/// The process's number, for people who look; then the time and a count, so that no name comes twice.
fn fresh_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{:x}-{count}", std::process::id(), now.as_nanos())
}

/// Locks a directory, unless it is somebody's or gone.
fn claim(dir: &Path) -> Result<Option<File>, CacheError> {
    let file = match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(CacheError::io("open the directory", dir))?,
    };
    let claimed = attempt(&file, dir, Sharing::Exclusive)? && is_at(&file, dir)?;
    Ok(claimed.then_some(file))
}

/// Something to delete.
#[derive(Debug)]
pub(super) struct Rubbish {
    path: PathBuf,
    /// Keeps other processes from deleting the same.
    _lock: Option<File>,
}

impl Rubbish {
    /// Its name.
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Something in this process's own staging directory.
    pub(super) fn own(path: PathBuf) -> Self {
        Self { path, _lock: None }
    }
}

/// What dead processes left under `staging`.
pub(super) fn dead(staging: &Path) -> Result<Vec<Rubbish>, CacheError> {
    let list = CacheError::io("list the directory", staging);
    let names: Vec<(PathBuf, FileType)> = std::fs::read_dir(staging)
        .and_then(|entries| {
            entries
                .map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))))
                .collect()
        })
        .map_err(list)?;
    let mut rubbish = Vec::new();
    for (path, kind) in names {
        if !kind.is_dir() {
            rubbish.push(Rubbish { path, _lock: None });
        } else if let Some(lock) = claim(&path)? {
            rubbish.push(Rubbish { path, _lock: Some(lock) });
        }
    }
    Ok(rubbish)
}

/// Deletes on a thread of its own, if there is anything to delete.
pub(super) fn delete_in_background(rubbish: Vec<Rubbish>) -> Option<JoinHandle<()>> {
    if rubbish.is_empty() {
        return None;
    }
    let sweep = move || {
        for item in rubbish {
            if let Err(error) = delete(&item) {
                tracing::warn!(%error, "rubbish stays behind in the staging directory");
            }
        }
    };
    // Without a thread it stays for the next process.
    std::thread::Builder::new().name("kiln-sweep".to_owned()).spawn(sweep).ok()
}

/// Deletes at once.
pub(super) fn delete(rubbish: &Rubbish) -> Result<(), CacheError> {
    let path = &rubbish.path;
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => remove_tree(path),
        Ok(_) => std::fs::remove_file(path).map_err(CacheError::io("delete", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CacheError::io("look at", path)(error)),
    }
}
