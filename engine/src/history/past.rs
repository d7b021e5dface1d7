//! A build of the past: the fold over the lines of its file.
//!
//! Whoever made the file, in a [`PastBuild`] tasks are in the order of their declaration, each one's inputs come
//! before it, and no time is before the one at which its task started.

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_cache::{CacheKey, Record};
use kiln_solver::{Event, EventKind, TaskId};

use super::line::{Asked, Begin, End, Line, Origin};
use super::reader::Extent;

/// The most tasks that a build may have.
const MAX_TASKS: usize = 4_000_000;

/// What is known of a build that ended, runs, or was killed.
#[derive(Debug, Clone, PartialEq)]
pub struct PastBuild {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// When it began, in milliseconds since 1970.
    pub created_ms: i64,
    /// The version of Kiln that built.
    pub kiln: String,
    /// What was asked for.
    pub asked: Asked,
    /// What was to be done, inputs first.
    pub tasks: Vec<PastTask>,
    /// How it ended; nothing when it runs or was killed.
    pub end: Option<End>,
    /// How much of the record there is.
    pub extent: Extent,
}

/// A task of a past build: a vertex of the graph, or something that the engine did around it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PastTask {
    /// Such as `[build 2/5] RUN make`; empty for one that people need not see.
    pub name: String,
    /// The indices of the tasks that it read.
    pub inputs: Vec<usize>,
    /// What vertex it is and where that comes from; nothing for the engine's own tasks.
    pub origin: Option<Origin>,
    /// How it stands.
    pub state: TaskState,
    /// When it started, since the build began.
    pub started: Option<Duration>,
    /// When it ended, since the build began.
    pub ended: Option<Duration>,
    /// What the cache knows it by; nothing for what is not recorded.
    pub key: Option<CacheKey>,
    /// What it gave, or had given when it was last made.
    pub record: Option<Record>,
    /// What there was to tell that did not stop it.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// How much it wrote.
    pub output_bytes: u64,
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskState {
    /// It never started.
    #[default]
    Waiting,
    /// It started, and nothing is known of its end.
    Running,
    /// A recorded result was taken.
    Cached,
    /// It was done.
    Done,
    /// It failed.
    Failed,
    /// It was stopped.
    Cancelled,
}

impl PastTask {
    /// How long it took; nothing when it never ended.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        Some(self.ended?.saturating_sub(self.started?))
    }

    /// Whether it is a step of the graph that people should see.
    #[must_use]
    pub fn is_step(&self) -> bool {
        self.origin.is_some() && !self.name.is_empty()
    }
}

impl PastBuild {
    /// How many steps there were, how many of them ended well, and how many of these were taken from the cache.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let steps = || self.tasks.iter().filter(|task| task.is_step());
        let cached = steps().filter(|task| task.state == TaskState::Cached).count();
        let done = steps().filter(|task| task.state == TaskState::Done).count();
        (steps().count(), done + cached, cached)
    }

    /// How long the build took; as far as is known when it did not end.
    #[must_use]
    pub fn duration(&self) -> Duration {
        let times = self.tasks.iter().flat_map(|task| [task.started, task.ended]).flatten();
        self.end.as_ref().map_or_else(|| times.max().unwrap_or_default(), |end| end.at)
    }
}

/// A fold on its way.
#[derive(Debug, Default)]
pub(super) struct Fold {
    origins: BTreeMap<usize, Origin>,
    tasks: Vec<PastTask>,
    end: Option<End>,
}

impl Fold {
    /// Takes in a line; answers the event that it tells of.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn line(&mut self, line: Line) -> Result<Option<Event>, String> {
        match line {
            Line::Begin(_) => Err("the build begins a second time".to_owned()),
            Line::Unknown => Ok(None),
            Line::Origin(origin) => {
                if self.origins.len() >= MAX_TASKS {
                    return Err("there are too many vertices".to_owned());
                }
                self.origins.insert(origin.vertex, origin);
                Ok(None)
            }
            Line::Event(happened) => {
                let name = self.tasks.get(happened.task()).map_or("", |task| task.name.as_str());
                let Some(event) = happened.event(name) else { return Ok(None) };
                self.event(&event)?;
                Ok(Some(event))
            }
            Line::End(end) => {
                self.end = Some(end);
                Ok(None)
            }
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        let TaskId(number) = event.task;
        let index = number as usize;
        if let EventKind::Declared { name, inputs, op } = &event.kind {
            let inputs: Vec<usize> = inputs.iter().map(|task| task.0 as usize).collect();
            let in_order = index == self.tasks.len() && inputs.iter().all(|input| *input < index);
            if !in_order || index >= MAX_TASKS {
                return Err(format!("the task {number} is declared out of order"));
            }
            let origin = op.map(|op| {
                let unknown = || Origin::unknown(op.index());
                self.origins.get(&op.index()).cloned().unwrap_or_else(unknown)
            });
            self.tasks.push(PastTask { name: name.clone(), inputs, origin, ..PastTask::default() });
            return Ok(());
        }
        match self.tasks.get_mut(index) {
            Some(task) => task.apply(event),
            None => return Err(format!("the task {number} was never declared")),
        }
        Ok(())
    }

    pub(super) fn finish(self, id: String, begin: Begin, extent: Extent) -> PastBuild {
        let Begin { v: _, kiln, created_ms, name, asked } = begin;
        PastBuild { id, name, created_ms, kiln, asked, tasks: self.tasks, end: self.end, extent }
    }
}

impl PastTask {
    fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Declared { .. } | EventKind::Progress { .. } => {}
            EventKind::Started => {
                self.state = TaskState::Running;
                self.started = Some(event.at);
            }
            EventKind::Output { bytes, .. } => self.output_bytes += bytes.len() as u64,
            EventKind::Warning { message } => self.warnings.push(message.clone()),
            EventKind::Keyed { key, record } => {
                self.key = Some(*key);
                self.record = record.as_deref().cloned();
            }
            EventKind::Cached => self.end(TaskState::Cached, event.at),
            EventKind::Finished { .. } => self.end(TaskState::Done, event.at),
            EventKind::Failed { message } => {
                self.error = Some(message.clone());
                self.end(TaskState::Failed, event.at);
            }
            EventKind::Cancelled => self.end(TaskState::Cancelled, event.at),
        }
    }

    fn end(&mut self, state: TaskState, at: Duration) {
        self.state = state;
        self.ended = Some(at.max(self.started.unwrap_or_default()));
    }
}
