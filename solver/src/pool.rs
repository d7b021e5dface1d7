//! The threads for steps that take time: one is started when there is a step and nobody free for it.
//!
//! Workers get one step each over one channel and answer over another. There are never more steps out than
//! workers, so that neither side can block the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, Scope};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select};
use kiln_ir::OpId;

use crate::report::{CHANNEL_MESSAGES, Message, Reporter};
use crate::step::{Performed, Ports, Step};
use crate::{Cancel, Runner, TaskId};

/// How a step ended; an error is the payload of its panic.
pub(crate) type Answer<R> = (OpId, thread::Result<Performed<R>>);

/// What the coordinator hears.
pub(crate) enum Heard<R: Runner> {
    /// Something of a step.
    Message(Message<Answer<R>>),
    /// The caller's token has fired.
    Stop,
    /// Nothing so far.
    Nothing,
}

/// The workers of one solve, seen from the coordinator. They end when this is dropped.
pub(crate) struct Pool<'scope, 'env, 'a, R: Runner> {
    scope: &'scope Scope<'scope, 'env>,
    ports: &'env Ports<'env, R>,
    steps: Sender<(TaskId, Step<'a, R>)>,
    queue: Receiver<(TaskId, Step<'a, R>)>,
    sender: Sender<Message<Answer<R>>>,
    messages: Receiver<Message<Answer<R>>>,
    workers: usize,
}

impl<'scope, 'env, 'a: 'scope, R: Runner> Pool<'scope, 'env, 'a, R> {
    /// A pool without a worker yet, for up to `most` steps at the same time.
    pub(crate) fn new(
        scope: &'scope Scope<'scope, 'env>,
        ports: &'env Ports<'env, R>,
        most: usize,
    ) -> Self {
        let (steps, queue) = crossbeam_channel::bounded(most);
        let (sender, messages) = crossbeam_channel::bounded(CHANNEL_MESSAGES);
        Self { scope, ports, steps, queue, sender, messages, workers: 0 }
    }

    /// Gives a step to a worker. `busy` is how many steps are out, this one included.
    pub(crate) fn hand_over(&mut self, task: TaskId, step: Step<'a, R>, busy: usize) {
        if self.workers < busy {
            self.workers += 1;
            let (ports, queue, sender) = (self.ports, self.queue.clone(), self.sender.clone());
            self.scope.spawn(move || work(ports, &queue, &sender));
        }
        self.steps.send((task, step)).expect("this end has a receiver too");
    }

    /// Waits for what comes next. `token` is the caller's, or one that never fires.
    pub(crate) fn hear(&self, token: &Cancel) -> Heard<R> {
        select! {
            recv(self.messages) -> message => {
                Heard::Message(message.expect("this end has a sender too"))
            }
            recv(token.signal()) -> _ => Heard::Stop,
        }
    }

    /// What has come by now; does not wait.
    pub(crate) fn heard(&self, token: &Cancel) -> Heard<R> {
        match self.messages.try_recv() {
            Ok(message) => Heard::Message(message),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) if token.is_cancelled() => {
                Heard::Stop
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Heard::Nothing,
        }
    }
}

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
