//! How work on another thread gets its events to the one that narrates.
//!
//! Messages go over one bounded channel whose reader does nothing but read and hand on, so a slow
//! sink slows the programs that write and never blocks for good. Output comes in chunks of limited
//! size, which bounds the memory in flight.

use crossbeam_channel::{Sender, TrySendError};

use crate::{EventKind, Stream, TaskId, Unit};

/// The most bytes of output in one event.
pub(crate) const MAX_CHUNK_BYTES: usize = 16 * 1024;

/// Messages in flight; with chunks of [`MAX_CHUNK_BYTES`], 4 MiB at the most.
pub(crate) const CHANNEL_MESSAGES: usize = 256;

/// Where a task tells what happens to it. May be used from several threads at once.
pub trait Report: Sync {
    /// Passes on what the task's program wrote. Waits while the narrator is behind.
    fn output(&self, stream: Stream, bytes: &[u8]);

    /// Tells how far the task is. May be called often: notes are dropped while the narrator is behind.
    fn progress(&self, current: u64, total: Option<u64>, unit: Unit);

    /// Tells of something that does not stop the task.
    fn warning(&self, message: &str);
}

/// What a worker sends to the thread that narrates.
#[derive(Debug)]
pub(crate) enum Message<T> {
    /// Something happened to a running task.
    Note(TaskId, EventKind),
    /// A task ended.
    Ended(T),
}

/// The [`Report`] of one task.
#[derive(Debug)]
pub(crate) struct Reporter<'a, T> {
    pub(crate) task: TaskId,
    pub(crate) sender: &'a Sender<Message<T>>,
}

impl<T> Reporter<'_, T> {
    pub(crate) fn send(&self, kind: EventKind) {
        // The reader outlives all work; were it gone, nobody would be left to tell.
        let _unheard = self.sender.send(Message::Note(self.task, kind));
    }
}

impl<T: Send> Report for Reporter<'_, T> {
    fn output(&self, stream: Stream, bytes: &[u8]) {
        for chunk in bytes.chunks(MAX_CHUNK_BYTES) {
            self.send(EventKind::Output { stream, bytes: chunk.to_vec() });
        }
    }

    fn progress(&self, current: u64, total: Option<u64>, unit: Unit) {
        let note = Message::Note(self.task, EventKind::Progress { current, total, unit });
        match self.sender.try_send(note) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    fn warning(&self, message: &str) {
        self.send(EventKind::Warning { message: message.to_owned() });
    }
}
