//! Driving a schedule: the calling thread coordinates, workers do the steps that take time.
//!
//! The coordinator owns every state and is the only one to narrate. What can be told of a vertex at once, such as
//! that its result is recorded, it looks up itself, for to hand it to a worker and back takes longer; between two
//! such vertices it listens. It never waits but for a message or the caller's token.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use kiln_cache::RecordStore;
use kiln_ir::{Graph, OpId};

use crate::pool::{Answer, Heard, Pool};
use crate::report::Message;
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
    let vertices = coordinator.tasks.iter().flatten().count();
    let most = request.limits.jobs.get().min(vertices);
    let ports = Ports { runner, records };
    thread::scope(|scope| coordinator.drive(Pool::new(scope, &ports, most), &ports, cancel));
    coordinator.result()
}

/// What a runner panicked with.
type Payload = Box<dyn std::any::Any + Send>;

/// A vertex that was begun.
enum Begun<'a, R: Runner> {
    /// And has ended.
    Ended(Answer<R>),
    /// And takes a worker.
    Takes(Step<'a, R>),
}

/// A step that is running.
struct Active {
    since: Duration,
    /// Gone when the step was told to stop, or no worker has it.
    canceller: Option<Canceller>,
}

struct Coordinator<'a, 'n, R: Runner> {
    request: &'a Request<'a>,
    narrator: &'a mut Narrator<'n>,
    schedule: Schedule,
    /// By index; nothing for a vertex that takes no part.
    tasks: Vec<Option<TaskId>>,
    /// By index, of those that have ended well.
    values: Vec<Option<R::Value>>,
    active: BTreeMap<OpId, Active>,
    failures: Vec<Failure<R::Error>>,
}

impl<'a, 'n, R: Runner> Coordinator<'a, 'n, R> {
    /// Declares each vertex that takes part.
    fn new(request: &'a Request<'a>, narrator: &'a mut Narrator<'n>) -> Self {
        let schedule =
            Schedule::new(request.graph, request.targets, request.expected, request.after_failure);
        let mut tasks = vec![None; request.graph.len()];
        for id in request.graph.ids().filter(|&id| schedule.state(id).is_some()) {
            let vertex = request.graph.vertex(id);
            let inputs = vertex.inputs.iter().filter_map(|input| tasks[input.index()]).collect();
            tasks[id.index()] = Some(narrator.declare(&vertex.meta.name, inputs, Some(id)));
        }
        Self {
            request,
            narrator,
            schedule,
            tasks,
            values: request.graph.ids().map(|_| None).collect(),
            active: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// Brings steps on their way and takes answers until nothing runs and nothing can.
    fn drive<'s>(&mut self, mut pool: Pool<'s, '_, 'a, R>, ports: &Ports<'_, R>, cancel: &Cancel)
    where
        'a: 's,
    {
        let mut token = cancel.clone();
        let mut panic = None;
        if cancel.is_cancelled() {
            self.stop();
        }
        loop {
            let heard = if let Some(id) = self.next() {
                match self.begin(id, ports) {
                    Begun::Ended(answer) => self.answer(answer, cancel, &mut panic),
                    Begun::Takes(step) => self.hand_over(step, &mut pool),
                }
                pool.heard(&token)
            } else if self.schedule.running() == 0 {
                break;
            } else {
                ports.records.end_peeking();
                pool.hear(&token)
            };
            match heard {
                Heard::Message(Message::Note(task, kind)) => self.narrator.tell(task, kind),
                Heard::Message(Message::Ended(answer)) => self.answer(answer, cancel, &mut panic),
                Heard::Stop => {
                    self.stop();
                    token = Cancel::never();
                }
                Heard::Nothing => {}
            }
        }
        ports.records.end_peeking();
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// The next vertex to begin, if another may run.
    fn next(&mut self) -> Option<OpId> {
        let is_free = self.schedule.running() < self.request.limits.jobs.get();
        if is_free { self.schedule.next_ready() } else { None }
    }

    /// Begins a vertex, and ends it where that takes no time.
    fn begin(&mut self, id: OpId, ports: &Ports<'_, R>) -> Begun<'a, R> {
        let vertex = self.request.graph.vertex(id);
        let since = self.narrator.now();
        self.active.insert(id, Active { since, canceller: None });
        self.tell(id, EventKind::Started);
        let value = |input: &OpId| self.values[input.index()].clone();
        let inputs =
            vertex.inputs.iter().map(|input| value(input).expect("it has ended")).collect();
        let mut step = Step { id, vertex, inputs, digests: None, cancel: Cancel::never() };
        match catch_unwind(AssertUnwindSafe(|| ports.at_once(&mut step))).transpose() {
            Some(performed) => Begun::Ended((id, performed)),
            None => Begun::Takes(step),
        }
    }

    fn hand_over<'s>(&mut self, mut step: Step<'a, R>, pool: &mut Pool<'s, '_, 'a, R>)
    where
        'a: 's,
    {
        let (canceller, cancel) = Cancel::new();
        step.cancel = cancel;
        if let Some(active) = self.active.get_mut(&step.id) {
            active.canceller = Some(canceller);
        }
        pool.hand_over(self.task(step.id), step, self.active.len());
    }

    fn answer(&mut self, (id, answer): Answer<R>, cancel: &Cancel, panic: &mut Option<Payload>) {
        match answer {
            Ok(performed) => self.end(id, performed, cancel),
            Err(payload) => {
                self.end(id, Performed::unknown(Ending::Stopped), cancel);
                self.stop();
                *panic = Some(payload);
            }
        }
    }

    fn end(&mut self, id: OpId, performed: Performed<R>, cancel: &Cancel) {
        let Performed { ending, key, record } = performed;
        let since = self.active.remove(&id).map_or(Duration::ZERO, |active| active.since);
        if let Some(key) = key {
            self.tell(id, EventKind::Keyed { key, record });
        }
        let (kind, outcome) = match ending {
            Ending::Ran(value) => {
                self.values[id.index()] = Some(value);
                let duration = self.narrator.now().saturating_sub(since);
                (EventKind::Finished { duration }, Outcome::Done)
            }
            Ending::Cached(value) => {
                self.values[id.index()] = Some(value);
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
        self.tell(id, kind);
        for needless in self.schedule.finished(id, outcome) {
            if let Some(active) = self.active.get_mut(&needless) {
                drop(active.canceller.take());
            }
        }
    }

    /// Tells of a vertex that takes part.
    fn tell(&mut self, id: OpId, kind: EventKind) {
        self.narrator.tell(self.task(id), kind);
    }

    fn task(&self, id: OpId) -> TaskId {
        self.tasks[id.index()].expect("it takes part")
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
            self.request.targets.iter().map(|target| self.values[target.index()].clone()).collect();
        match values {
            Some(values) => Ok(values),
            None if self.failures.is_empty() => Err(SolveError::Cancelled),
            None => Err(SolveError::Failed { failures: self.failures }),
        }
    }
}
