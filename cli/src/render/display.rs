//! Keeps a view up to date from a thread of its own.
//!
//! The build hands over its events and goes on; the view also moves while nothing happens. Only when
//! the view is far behind does the build wait for it. The view takes events many at a time: to wake a thread
//! for each costs a build of many short steps more than to say what they did.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiln_solver::Event;

use super::Renderer;

/// Time between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long events are gathered. Too short for anybody to see.
const GATHERING: Duration = Duration::from_millis(10);
/// Events that are not gathered any longer.
const MANY_EVENTS: usize = 512;
/// Events that the view may be behind.
const MAX_EVENTS_BEHIND: usize = 1024;

/// A view on its thread. Close it with [`Display::finish`], or the last events may not be shown.
#[derive(Debug)]
pub struct Display {
    inbox: Arc<Inbox>,
    thread: JoinHandle<io::Result<()>>,
}

impl Display {
    /// Shows events with `renderer`. `clock` tells the time since the narration's start.
    pub fn start<C>(renderer: Box<dyn Renderer>, clock: C) -> Self
    where
        C: Fn() -> Duration + Send + 'static,
    {
        let inbox = Arc::new(Inbox::default());
        let outbox = Reader(Arc::clone(&inbox));
        let thread = thread::spawn(move || run(renderer, &clock, &outbox));
        Self { inbox, thread }
    }

    /// Takes in the next event.
    pub fn show(&self, event: Event) {
        self.inbox.put(event);
    }

    /// Shows what is left and ends the view.
    ///
    /// # Errors
    /// When something could not be shown, then or earlier.
    pub fn finish(self) -> io::Result<()> {
        self.inbox.end();
        self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

fn run(
    mut renderer: Box<dyn Renderer>,
    clock: &dyn Fn() -> Duration,
    incoming: &Reader,
) -> io::Result<()> {
    let mut drawn = Duration::ZERO;
    loop {
        let due = (drawn + INTERVAL).saturating_sub(clock());
        let Some(events) = incoming.0.take(due) else { return renderer.finish(clock()) };
        for event in events {
            renderer.event(&event)?;
        }
        let now = clock();
        if now >= drawn + INTERVAL {
            renderer.refresh(now)?;
            drawn = now;
        }
    }
}

/// Events on their way.
#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<State>,
    /// For the view: there is reason to look.
    filled: Condvar,
    /// For the build: there is room.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    /// The view waits for any event, not for many.
    idle: bool,
    /// No event comes after these.
    ended: bool,
    /// Nobody reads any more.
    unread: bool,
}

impl Inbox {
    fn put(&self, event: Event) {
        let full = |state: &mut State| state.events.len() >= MAX_EVENTS_BEHIND && !state.unread;
        let waited = self.emptied.wait_while(self.lock(), full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        // A view that failed is gone; the build goes on, and `finish` tells.
        if state.unread {
            return;
        }
        state.events.push(event);
        if state.idle || state.events.len() >= MANY_EVENTS {
            drop(state);
            self.filled.notify_one();
        }
    }

    fn end(&self) {
        self.lock().ended = true;
        self.filled.notify_one();
    }

    /// Waits for events, `at_most` so long or little longer; nothing once there will be none.
    fn take(&self, at_most: Duration) -> Option<Vec<Event>> {
        let mut state = self
            .wait(self.lock(), GATHERING, |state| !state.ended && state.events.len() < MANY_EVENTS);
        if state.events.is_empty() {
            state.idle = true;
            state = self.wait(state, at_most, |state| !state.ended && state.events.is_empty());
            state.idle = false;
        }
        if state.ended && state.events.is_empty() {
            return None;
        }
        let events = std::mem::take(&mut state.events);
        drop(state);
        self.emptied.notify_one();
        Some(events)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        at_most: Duration,
        unsatisfied: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.filled.wait_timeout_while(state, at_most, |state| unsatisfied(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// A panic elsewhere leaves the events as whole as before.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The view's end. When it goes, with a panic or without, the build waits for the view no longer.
struct Reader(Arc<Inbox>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().unread = true;
        self.0.emptied.notify_one();
    }
}
