//! Removing what is no longer needed while the build goes on.
//!
//! Removing a directory waits for the filesystem, milliseconds on some, and nobody needs the result. The
//! thread starts with the first directory and ends, with its work done, when the last store does; what it
//! does not reach because the process is killed stands in the staging directory, like any rubbish.

use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::remove::remove_tree;

/// A thread that removes directories one after the other.
#[derive(Debug, Default)]
pub(super) struct Sweeper(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    paths: Sender<PathBuf>,
    thread: JoinHandle<()>,
}

impl Sweeper {
    /// Removes a directory and all in it, soon.
    pub(super) fn remove(&self, path: PathBuf) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            *running = start();
        }
        let unsent = match &*running {
            Some(running) => running.paths.send(path).err().map(|unsent| unsent.0),
            None => Some(path),
        };
        drop(running);
        if let Some(path) = unsent {
            sweep(&path);
        }
    }

    /// Waits until all is removed that was to be.
    pub(super) fn settle(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { paths, thread }) = running {
            drop(paths);
            if thread.join().is_err() {
                tracing::warn!("staging directories stay behind: their removal failed");
            }
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Nothing when the machine allows no further thread.
fn start() -> Option<Running> {
    let (paths, removals) = mpsc::channel::<PathBuf>();
    let work = move || removals.iter().for_each(|path| sweep(&path));
    let thread = thread::Builder::new().name("kiln-sweeper".to_owned()).spawn(work).ok()?;
    Some(Running { paths, thread })
}

fn sweep(path: &std::path::Path) {
    if let Err(error) = remove_tree(path) {
        tracing::warn!(path = %path.display(), %error, "a staging directory stays behind");
    }
}
