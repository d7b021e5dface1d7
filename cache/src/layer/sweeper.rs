//! Removing what is no longer needed while the build goes on.
//!
//! Removing a directory waits for the filesystem, milliseconds on some, and nobody needs the result. What is much is
//! removed at once, by a thread of its own; what is little waits for a moment in which the build itself waits, since
//! between two commands every processor has something to do that the next one needs. The thread starts with the first
//! directory and ends, with its work done, when the last store does; what it does not reach because the process is
//! killed stands in the staging directory, like any rubbish.

use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::remove::remove_tree;

/// So many small directories are not left to wait.
const WAITING_MAX: usize = 16;

/// A thread that removes directories one after the other.
#[derive(Debug, Default)]
pub(super) struct Sweeper(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<PathBuf>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    paths: Sender<Vec<PathBuf>>,
    thread: JoinHandle<()>,
}

impl Sweeper {
    /// Removes a directory and all in it, soon.
    pub(super) fn remove(&self, path: PathBuf) {
        let mut state = self.lock();
        state.waiting.push(path);
        state.go();
    }

    /// Removes a directory with little in it, when the build waits the next time.
    pub(super) fn remove_little(&self, path: PathBuf) {
        let mut state = self.lock();
        state.waiting.push(path);
        if state.waiting.len() >= WAITING_MAX {
            state.go();
        }
    }

    /// Tells that the build waits.
    pub(super) fn go(&self) {
        self.lock().go();
    }

    /// Waits until all is removed that was to be.
    pub(super) fn settle(&self) {
        let State { waiting, running } = std::mem::take(&mut *self.lock());
        sweep(waiting);
        if let Some(Running { paths, thread }) = running {
            drop(paths);
            if thread.join().is_err() {
                tracing::warn!("staging directories stay behind: their removal failed");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn go(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if self.running.is_none() {
            self.running = start();
        }
        let waiting = std::mem::take(&mut self.waiting);
        let unsent = match &self.running {
            Some(running) => running.paths.send(waiting).err().map(|unsent| unsent.0),
            None => Some(waiting),
        };
        sweep(unsent.unwrap_or_default());
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Nothing when the machine allows no further thread.
fn start() -> Option<Running> {
    let (paths, removals) = mpsc::channel();
    let work = move || removals.iter().for_each(sweep);
    let thread = thread::Builder::new().name("kiln-sweeper".to_owned()).spawn(work).ok()?;
    Some(Running { paths, thread })
}

fn sweep(paths: Vec<PathBuf>) {
    for path in paths {
        if let Err(error) = remove_tree(&path) {
            tracing::warn!(path = %path.display(), %error, "a staging directory stays behind");
        }
    }
}
