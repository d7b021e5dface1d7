//! Removing what is no longer needed while the build goes on.
//!
//! Removing a directory waits for the filesystem, milliseconds on some, and nobody needs the result. What is much is
//! removed at once, by a thread of its own; what is little waits for a moment in which the build itself waits, since
//! between two commands every processor has something to do that the next one needs. The work directory of a mount is only
//! emptied, and serves the next. The thread starts with the first directory and ends, with its work done, when the last
//! store does; what it does not reach because the process is killed stands in the staging directory, like any rubbish.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::disk::open_dir;
use super::remove::{empty_dir, remove_tree};
use crate::CacheError;

/// So many small directories are not left to wait.
const WAITING_MAX: usize = 16;

/// A thread that removes directories one after the other.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    state: Mutex<State>,
    clean: Arc<CleanDirs>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Task>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    tasks: Sender<Vec<Task>>,
    thread: JoinHandle<()>,
}

/// What is to become of a directory.
#[derive(Debug)]
enum Task {
    Remove(PathBuf),
    Empty(PathBuf),
}

impl Task {
    fn into_path(self) -> PathBuf {
        match self {
            Self::Remove(path) | Self::Empty(path) => path,
        }
    }
}

/// Work directories with nothing in them.
type CleanDirs = Mutex<Vec<PathBuf>>;

impl Sweeper {
    /// Removes a directory and all in it, soon.
    pub(super) fn remove(&self, path: PathBuf) {
        let mut state = lock(&self.state);
        state.waiting.push(Task::Remove(path));
        state.go(&self.clean);
    }

    /// Removes a directory with little in it, when the build waits the next time.
    pub(super) fn remove_little(&self, path: PathBuf) {
        self.wait_with(Task::Remove(path));
    }

    /// Empties the work directory of a mount that is gone, when the build waits the next time.
    pub(super) fn clean(&self, work: PathBuf) {
        self.wait_with(Task::Empty(work));
    }

    /// A work directory that was emptied, if there is one. It is the caller's.
    pub(super) fn clean_work(&self) -> Option<PathBuf> {
        lock(&self.clean).pop()
    }

    fn wait_with(&self, task: Task) {
        let mut state = lock(&self.state);
        state.waiting.push(task);
        if state.waiting.len() >= WAITING_MAX {
            state.go(&self.clean);
        }
    }

    /// Tells that the build waits.
    pub(super) fn go(&self) {
        lock(&self.state).go(&self.clean);
    }

    /// Waits until all is removed that was to be.
    pub(super) fn settle(&self) {
        let State { waiting, running } = std::mem::take(&mut *lock(&self.state));
        // Nobody will want a work directory. They may be gone with all that the process was making.
        let waiting = waiting.into_iter().map(|task| Task::Remove(task.into_path()));
        sweep(waiting.collect(), &self.clean);
        if let Some(Running { tasks, thread }) = running {
            drop(tasks);
            if thread.join().is_err() {
                tracing::warn!("staging directories stay behind: their removal failed");
            }
        }
        let clean = std::mem::take(&mut *lock(&self.clean));
        sweep(clean.into_iter().map(Task::Remove).collect(), &self.clean);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn go(&mut self, clean: &Arc<CleanDirs>) {
        if self.waiting.is_empty() {
            return;
        }
        if self.running.is_none() {
            self.running = start(clean);
        }
        let waiting = std::mem::take(&mut self.waiting);
        let unsent = match &self.running {
            Some(running) => running.tasks.send(waiting).err().map(|unsent| unsent.0),
            None => Some(waiting),
        };
        sweep(unsent.unwrap_or_default(), clean);
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Nothing when the machine allows no further thread.
fn start(clean: &Arc<CleanDirs>) -> Option<Running> {
    let (tasks, received) = mpsc::channel();
    let clean = Arc::clone(clean);
    let work = move || received.iter().for_each(|tasks| sweep(tasks, &clean));
    let thread = thread::Builder::new().name("kiln-sweeper".to_owned()).spawn(work).ok()?;
    Some(Running { tasks, thread })
}

fn sweep(tasks: Vec<Task>, clean: &CleanDirs) {
    for task in tasks {
        let done = match &task {
            Task::Remove(path) => remove_tree(path),
            // As when the store goes meanwhile.
            Task::Empty(path) if !path.exists() => Ok(()),
            Task::Empty(path) => empty(path).map(|()| lock(clean).push(path.clone())),
        };
        if let Err(error) = done {
            tracing::warn!(?task, %error, "a staging directory stays behind");
        }
    }
}

fn empty(dir: &Path) -> Result<(), CacheError> {
    empty_dir(&open_dir(dir)?).map_err(CacheError::io("empty the directory", dir))
}
