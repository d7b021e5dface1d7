//! Driving a schedule: the calling thread coordinates, workers do the steps.
//!
//! The coordinator owns every state and is the only one to narrate. Workers get one step each over one
//! channel and answer over another; the coordinator never waits but for an answer or the caller's
//! token, and never holds more steps out than there are workers, so neither side can block the other.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, select};
use kiln_cache::RecordStore;
use kiln_ir::{Graph, OpId};

use crate::report::{CHANNEL_MESSAGES, Message, Reporter};
use crate::step::{Ending, Performed, Ports, Step};
use crate::{
    AfterFailure, Cancel, Canceller, EventKind, Failure, Narrator, Outcome, Runner, Schedule,
    SolveError, TaskId,
};

/// How much may be done at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps that run at the same time.
    pub jobs: NonZeroUsize,
}

/// What to solve.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What there is.
    pub graph: &'a Graph,
    /// The vertices whose results are wanted.
    pub targets: &'a [OpId],
    /// How much may be done at the same time.
    pub limits: Limits,
    /// How long each vertex is likely to take, by index, so that the longest way goes first. One that is not
    /// there is taken to need no time.
    pub expected: &'a [Duration],
    /// What becomes of the others when a vertex fails.
    pub after_failure: AfterFailure,
}

/// Makes the targets, and of the graph only what they need. The results come in the order of the
/// targets.
///
/// All failures are reported; [`Request::after_failure`] says what goes on after the first.
///
/// # Errors
/// When a step failed, or `cancel` fired before all results were there.
///
/// # Panics
/// When the runner does, once all other steps have stopped.
pub fn solve<R: Runner>(
    request: &Request<'_>,
    runner: &R,
    records: &dyn RecordStore,
    cancel: &Cancel,
    narrator: &mut Narrator<'_>,
) -> Result<Vec<R::Value>, SolveError<R::Error>> {
    let mut coordinator = Coordinator::new(request, narrator);
    let workers = request.limits.jobs.get().min(coordinator.tasks.len());
    let ports = Ports { runner, records };
    thread::scope(|scope| {
        let (steps, queue) = crossbeam_channel::bounded(workers);
        let (sender, messages) = crossbeam_channel::bounded(CHANNEL_MESSAGES);
        for _ in 0..workers {
            let (queue, sender, ports) = (queue.clone(), sender.clone(), &ports);
            scope.spawn(move || work(ports, &queue, &sender));
        }
        coordinator.drive(&steps, &messages, cancel);
    });
    coordinator.result()
}

/// How a worker's step ended; an error is the payload of its panic.
type Answer<R> = (OpId, thread::Result<Performed<R>>);

/// A worker: takes steps until there are no more.
fn work<R: Runner>(
    ports: &Ports<'_, R>,
    queue: &Receiver<(TaskId, Step<'_, R>)>,
    sender: &Sender<Message<Answer<R>>>,
) {
    for (task, step) in queue {
        let reporter = Reporter { task, sender };
        let performed = catch_unwind(AssertUnwindSafe(|| ports.perform(&step, &reporter)));
        // Nobody listens only if the coordinator is unwinding.
        let _unheard = sender.send(Message::Ended((step.id, performed)));
    }
}

/// A step that a worker has.
struct Active {
    since: Duration,
    /// Gone when the step was told to stop.
    canceller: Option<Canceller>,
}

struct Coordinator<'a, 'n, R: Runner> {
    request: &'a Request<'a>,
    narrator: &'a mut Narrator<'n>,
    schedule: Schedule,
    tasks: BTreeMap<OpId, TaskId>,
    values: BTreeMap<OpId, R::Value>,
    active: BTreeMap<OpId, Active>,
    failures: Vec<Failure<R::Error>>,
}

impl<'a, 'n, R: Runner> Coordinator<'a, 'n, R> {
    /// Declares each vertex that takes part.
    fn new(request: &'a Request<'a>, narrator: &'a mut Narrator<'n>) -> Self {
        let schedule =
            Schedule::new(request.graph, request.targets, request.expected, request.after_failure);
        let mut tasks = BTreeMap::new();
        for id in request.graph.ids().filter(|&id| schedule.state(id).is_some()) {
            let vertex = request.graph.vertex(id);
            let inputs = vertex.inputs.iter().map(|input| tasks[input]).collect();
            tasks.insert(id, narrator.declare(&vertex.meta.name, inputs, Some(id)));
        }
        Self {
            request,
            narrator,
            schedule,
            tasks,
            values: BTreeMap::new(),
            active: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// Hands out steps and takes answers until nothing runs and nothing can.
    fn drive(
        &mut self,
        steps: &Sender<(TaskId, Step<'a, R>)>,
        messages: &Receiver<Message<Answer<R>>>,
        cancel: &Cancel,
    ) {
        let mut token = cancel.signal().clone();
        let mut panic = None;
        if cancel.is_cancelled() {
            self.stop();
        }
        loop {
            while self.schedule.running() < self.request.limits.jobs.get()
                && let Some(id) = self.schedule.next_ready()
            {
                let step = self.start(id);
                steps
                    .send((self.tasks[&id], step))
                    .expect("workers outlive the coordinator's loop");
            }
            if self.schedule.running() == 0 {
                break;
            }
            select! {
                recv(messages) -> message => match message.expect("this end has a sender too") {
                    Message::Note(task, kind) => self.narrator.tell(task, kind),
                    Message::Ended((id, Ok(performed))) => self.end(id, performed, cancel),
                    Message::Ended((id, Err(payload))) => {
                        self.end(id, Performed::unknown(Ending::Stopped), cancel);
                        self.stop();
                        panic = Some(payload);
                    }
                },
                recv(token) -> _ => {
                    self.stop();
                    token = never();
                }
            }
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    fn start(&mut self, id: OpId) -> Step<'a, R> {
        let vertex = self.request.graph.vertex(id);
        let (canceller, cancel) = Cancel::new();
        let since = self.narrator.now();
        self.active.insert(id, Active { since, canceller: Some(canceller) });
        self.narrator.tell(self.tasks[&id], EventKind::Started);
        let inputs = vertex.inputs.iter().map(|input| self.values[input].clone()).collect();
        Step { id, vertex, inputs, cancel }
    }

    fn end(&mut self, id: OpId, performed: Performed<R>, cancel: &Cancel) {
        let Performed { ending, key, record } = performed;
        let since = self.active.remove(&id).map_or(Duration::ZERO, |active| active.since);
        if let Some(key) = key {
            self.narrator.tell(self.tasks[&id], EventKind::Keyed { key, record });
        }
        let (kind, outcome) = match ending {
            Ending::Ran(value) => {
                self.values.insert(id, value);
                let duration = self.narrator.now().saturating_sub(since);
                (EventKind::Finished { duration }, Outcome::Done)
            }
            Ending::Cached(value) => {
                self.values.insert(id, value);
                (EventKind::Cached, Outcome::Done)
            }
            Ending::Stopped => (EventKind::Cancelled, Outcome::Stopped),
            // To whoever gave the build up it matters no more.
            Ending::Failed(_) if cancel.is_cancelled() => (EventKind::Cancelled, Outcome::Stopped),
            Ending::Failed(error) => {
                let kind = self.narrator.ending(Some(&error), since);
                let name = self.request.graph.vertex(id).meta.name.clone();
                self.failures.push(Failure { op: id, name, error });
                (kind, Outcome::Failed)
            }
        };
        self.narrator.tell(self.tasks[&id], kind);
        for needless in self.schedule.finished(id, outcome) {
            if let Some(active) = self.active.get_mut(&needless) {
                drop(active.canceller.take());
            }
        }
    }

    /// Stops what runs and starts nothing more.
    fn stop(&mut self) {
        self.schedule.stop();
        for active in self.active.values_mut() {
            drop(active.canceller.take());
        }
    }

    fn result(self) -> Result<Vec<R::Value>, SolveError<R::Error>> {
        let values: Option<Vec<_>> =
            self.request.targets.iter().map(|target| self.values.get(target).cloned()).collect();
        match values {
            Some(values) => Ok(values),
            None if self.failures.is_empty() => Err(SolveError::Cancelled),
            None => Err(SolveError::Failed { failures: self.failures }),
        }
    }
}
