//! What is known of every task: the fold that the views for people share.
//!
//! Everything textual in here is clean. Tasks without a name are nobody's business and left out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kiln_solver::{Event, EventKind, Stream, TaskId, Unit};

use super::clean::{LineCleaner, one_line};

/// Lines of a task's output that are kept.
const MAX_TAIL_LINES: usize = 10;

/// The state of a narration after some of its events.
#[derive(Debug, Default)]
pub(super) struct Board {
    tasks: BTreeMap<TaskId, Task>,
    /// Started and not ended, in the order of their start.
    running: Vec<TaskId>,
    next_number: u32,
    ended: usize,
    cached: usize,
}

/// One task.
#[derive(Debug, Default)]
pub(super) struct Task {
    /// Counts tasks in the order of their start, from 1; 0 before.
    pub(super) number: u32,
    pub(super) name: String,
    /// When it started, since the narration's start.
    pub(super) started: Duration,
    pub(super) progress: Option<(u64, Option<u64>, Unit)>,
    /// The last complete lines of output, oldest first.
    tail: VecDeque<String>,
    stdout: LineCleaner,
    stderr: LineCleaner,
}

impl Task {
    /// The last lines of output, oldest first, with those that are not complete yet.
    pub(super) fn tail(&self) -> impl DoubleEndedIterator<Item = &str> {
        let unfinished = [self.stdout.unfinished(), self.stderr.unfinished()];
        let unfinished = unfinished.into_iter().filter(|line| !line.is_empty());
        self.tail.iter().map(String::as_str).chain(unfinished)
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        match stream {
            Stream::Stdout => self.stdout.feed(bytes, &mut lines),
            Stream::Stderr => self.stderr.feed(bytes, &mut lines),
        }
        self.keep(&lines);
        lines
    }

    fn finish(&mut self) -> Vec<String> {
        let lines: Vec<_> = self.stdout.finish().into_iter().chain(self.stderr.finish()).collect();
        self.keep(&lines);
        lines
    }

    fn keep(&mut self, lines: &[String]) {
        let recent = lines.len().saturating_sub(MAX_TAIL_LINES);
        self.tail.extend(lines[recent..].iter().cloned());
        let surplus = self.tail.len().saturating_sub(MAX_TAIL_LINES);
        self.tail.drain(..surplus);
    }
}

impl Board {
    /// Takes in an event. Answers with its task and the lines of output that it completed, unless the
    /// task is left out.
    pub(super) fn apply(&mut self, event: &Event) -> Option<(&Task, Vec<String>)> {
        if let EventKind::Declared { name, .. } = &event.kind
            && !name.is_empty()
        {
            let task = Task { name: one_line(name), ..Task::default() };
            self.tasks.insert(event.task, task);
        }
        let task = self.tasks.get_mut(&event.task)?;
        let mut lines = Vec::new();
        match &event.kind {
            EventKind::Declared { .. } | EventKind::Warning { .. } | EventKind::Keyed { .. } => {}
            EventKind::Started => {
                self.next_number += 1;
                task.number = self.next_number;
                task.started = event.at;
                self.running.push(event.task);
            }
            EventKind::Output { stream, bytes } => lines = task.write(*stream, bytes),
            EventKind::Progress { current, total, unit } => {
                task.progress = Some((*current, *total, *unit));
            }
            EventKind::Cached
            | EventKind::Finished { .. }
            | EventKind::Failed { .. }
            | EventKind::Cancelled => {
                lines = task.finish();
                self.running.retain(|&running| running != event.task);
                self.ended += 1;
                self.cached += usize::from(event.kind == EventKind::Cached);
            }
        }
        Some((task, lines))
    }

    /// Tasks that started and did not end, in the order of their start.
    pub(super) fn running(&self) -> impl ExactSizeIterator<Item = &Task> {
        self.running.iter().map(|id| &self.tasks[id])
    }

    /// How many tasks there are, have ended, and of these were cached.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.tasks.len(), self.ended, self.cached)
    }
}
