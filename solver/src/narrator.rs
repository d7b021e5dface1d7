//! The one voice of a build: numbers and times events and hands them to a sink, in order.
//!
//! Everything that happens in a build is told here, be it a vertex of the graph or something that the
//! engine does around it. The clock is the caller's, so that a narration can be replayed in tests.

use std::collections::BTreeMap;
use std::error::Error;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use kiln_ir::OpId;

use crate::report::{CHANNEL_MESSAGES, Message, Reporter};
use crate::{Event, EventKind, Report, TaskId, error};

/// Makes events and gives them to a sink. Lives on one thread.
pub struct Narrator<'a> {
    clock: &'a dyn Fn() -> Duration,
    sink: &'a mut dyn FnMut(Event),
    next_seq: u64,
    next_task: u32,
}

impl std::fmt::Debug for Narrator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Narrator")
            .field("next_seq", &self.next_seq)
            .field("next_task", &self.next_task)
            .finish_non_exhaustive()
    }
}

impl<'a> Narrator<'a> {
    /// A narration that begins now. `clock` tells the time since its start and never goes back.
    pub fn new(clock: &'a dyn Fn() -> Duration, sink: &'a mut dyn FnMut(Event)) -> Self {
        Self { clock, sink, next_seq: 0, next_task: 0 }
    }

    /// The time since the narration's start.
    #[must_use]
    pub fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Declares a task.
    pub fn declare(&mut self, name: &str, inputs: Vec<TaskId>, op: Option<OpId>) -> TaskId {
        let task = TaskId(self.next_task);
        self.next_task += 1;
        self.tell(task, EventKind::Declared { name: name.to_owned(), inputs, op });
        task
    }

    /// Tells what happened to a task. Keeping the order that [`EventKind`] promises is the caller's
    /// business.
    pub fn tell(&mut self, task: TaskId, kind: EventKind) {
        let event = Event { seq: self.next_seq, at: self.now(), task, kind };
        self.next_seq += 1;
        (self.sink)(event);
    }

    /// Does a piece of work outside the graph as a task of its own, on a thread of its own.
    ///
    /// # Errors
    /// The work's own.
    pub fn perform<T, E, W>(&mut self, name: &str, work: W) -> Result<T, E>
    where
        T: Send,
        E: Error + Send + 'static,
        W: FnOnce(&dyn Report) -> Result<T, E> + Send,
    {
        let mut result = None;
        self.perform_each(NonZeroUsize::MIN, vec![(name.to_owned(), work)], |_, ended| {
            result = Some(ended);
        });
        result.expect("each work ends once")
    }

    /// Does a short piece of work as a task of its own, on this thread: to wake another takes longer. What it
    /// reports is told when it has ended.
    ///
    /// # Errors
    /// The work's own.
    pub fn perform_here<T, E: Error>(
        &mut self,
        name: &str,
        work: impl FnOnce(&dyn Report) -> Result<T, E>,
    ) -> Result<T, E> {
        let task = self.declare(name, Vec::new(), None);
        let since = self.now();
        self.tell(task, EventKind::Started);
        let (sender, messages) = crossbeam_channel::unbounded::<Message<()>>();
        let result = work(&Reporter { task, sender: &sender });
        for message in messages.try_iter() {
            if let Message::Note(task, kind) = message {
                self.tell(task, kind);
            }
        }
        self.tell(task, self.ending(result.as_ref().err(), since));
        result
    }

    /// Does several pieces of work as [`Narrator::perform`] does, up to `jobs` at the same time. The
    /// results come in the order of the works.
    pub fn perform_all<T, E, W>(
        &mut self,
        jobs: NonZeroUsize,
        works: Vec<(String, W)>,
    ) -> Vec<Result<T, E>>
    where
        T: Send,
        E: Error + Send + 'static,
        W: FnOnce(&dyn Report) -> Result<T, E> + Send,
    {
        let mut results: Vec<_> = works.iter().map(|_| None).collect();
        self.perform_each(jobs, works, |index, ended| results[index] = Some(ended));
        results.into_iter().map(|result| result.expect("each work ends once")).collect()
    }

    fn perform_each<T, E, W>(
        &mut self,
        jobs: NonZeroUsize,
        works: Vec<(String, W)>,
        mut ended: impl FnMut(usize, Result<T, E>),
    ) where
        T: Send,
        E: Error + Send + 'static,
        W: FnOnce(&dyn Report) -> Result<T, E> + Send,
    {
        let (queue, waiting) = crossbeam_channel::bounded(works.len());
        let (sender, messages) = crossbeam_channel::bounded(CHANNEL_MESSAGES);
        let threads = jobs.get().min(works.len());
        for (index, (name, work)) in works.into_iter().enumerate() {
            let task = self.declare(&name, Vec::new(), None);
            queue.send((index, task, work)).expect("the other end is alive in this function");
        }
        drop(queue);
        thread::scope(|scope| {
            for _ in 0..threads {
                let (waiting, sender) = (waiting.clone(), sender.clone());
                scope.spawn(move || {
                    for (index, task, work) in waiting {
                        let reporter = Reporter { task, sender: &sender };
                        reporter.send(EventKind::Started);
                        let result = work(&reporter);
                        // Nobody listens only if the narrating thread is unwinding.
                        let _unheard = sender.send(Message::Ended((index, task, result)));
                    }
                });
            }
            drop(sender);
            let mut started = BTreeMap::new();
            for message in messages {
                match message {
                    Message::Note(task, kind) => {
                        if kind == EventKind::Started {
                            started.insert(task, self.now());
                        }
                        self.tell(task, kind);
                    }
                    Message::Ended((index, task, result)) => {
                        let since = started.remove(&task).unwrap_or_default();
                        self.tell(task, self.ending(result.as_ref().err(), since));
                        ended(index, result);
                    }
                }
            }
        });
    }

    /// How a task that started at `since` ended.
    pub(crate) fn ending<E: Error>(&self, error: Option<&E>, since: Duration) -> EventKind {
        match error {
            None => EventKind::Finished { duration: self.now().saturating_sub(since) },
            Some(error) => EventKind::Failed { message: error::chain(error) },
        }
    }
}
