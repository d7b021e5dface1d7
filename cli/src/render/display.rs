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
/// The same while it is off the screen, which may be long: most builds then never wait. Most events are small.
const MAX_EVENTS_HELD: usize = 16 * 1024;

/// A view on its thread. Close it with [`Display::finish`], or the last events may not be shown.
#[derive(Debug)]
pub struct Display {
    inbox: Arc<Inbox>,
    /// None where nothing is shown.
    thread: Option<JoinHandle<io::Result<()>>>,
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
        Self { inbox, thread: Some(thread) }
    }

    /// Shows nothing, and takes no thread for it.
    #[must_use]
    pub fn nothing() -> Self {
        let inbox = Arc::new(Inbox::default());
        inbox.lock().unread = true;
        Self { inbox, thread: None }
    }

    /// Takes in the next event.
    pub fn show(&self, event: Event) {
        self.inbox.put(event);
    }

    /// Means to keep the view off the screen for a while.
    #[must_use]
    pub fn holder(&self) -> Holder {
        Holder(Arc::clone(&self.inbox))
    }

    /// Shows what is left and ends the view.
    ///
    /// # Errors
    /// When something could not be shown, then or earlier.
    pub fn finish(self) -> io::Result<()> {
        self.inbox.end();
        let Some(thread) = self.thread else { return Ok(()) };
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Keeps a view off the screen, from any thread.
#[derive(Debug, Clone)]
pub struct Holder(Arc<Inbox>);

/// As long as this is there a view is off the screen. What happens meanwhile is shown later.
#[derive(Debug)]
pub struct Held(Arc<Inbox>);

impl Holder {
    /// Waits until all that the view was told is shown, and the screen is free.
    #[must_use]
    pub fn hold(&self) -> Held {
        self.0.hold();
        Held(Arc::clone(&self.0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.let_go();
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
        let (events, next) = incoming.0.take(due);
        for event in events {
            renderer.event(&event)?;
        }
        let now = clock();
        match next {
            Next::StandAside => renderer.suspend(now, &mut || incoming.0.stand_aside())?,
            Next::Finish => return renderer.finish(now),
            Next::GoOn if now >= drawn + INTERVAL => {
                renderer.refresh(now)?;
                drawn = now;
            }
            Next::GoOn => {}
        }
    }
}

/// What a view does once it has shown its events.
#[derive(Debug, Clone, Copy)]
enum Next {
    GoOn,
    StandAside,
    Finish,
}

/// Events on their way.
#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<State>,
    /// For the view: there is reason to look.
    filled: Condvar,
    /// For the build: there is room.
    emptied: Condvar,
    /// For whoever wants the screen: it is free.
    stood_aside: Condvar,
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
    /// How many want the screen.
    holds: usize,
    /// The view is off the screen.
    aside: bool,
}

impl State {
    fn is_full(&self) -> bool {
        let most = if self.aside { MAX_EVENTS_HELD } else { MAX_EVENTS_BEHIND };
        self.events.len() >= most && !self.unread
    }

    fn next(&self) -> Next {
        match (self.ended, self.holds) {
            (true, _) => Next::Finish,
            (false, 0) => Next::GoOn,
            (false, _) => Next::StandAside,
        }
    }

    /// Whether the view can take its time.
    fn is_calm(&self) -> bool {
        matches!(self.next(), Next::GoOn)
    }
}

impl Inbox {
    fn put(&self, event: Event) {
        let waited = self.emptied.wait_while(self.lock(), |state| state.is_full());
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

    /// Waits for events, `at_most` so long or little longer.
    fn take(&self, at_most: Duration) -> (Vec<Event>, Next) {
        let few = |state: &State| state.is_calm() && state.events.len() < MANY_EVENTS;
        let mut state = self.wait(self.lock(), GATHERING, few);
        if state.events.is_empty() {
            state.idle = true;
            let none = |state: &State| state.is_calm() && state.events.is_empty();
            state = self.wait(state, at_most, none);
            state.idle = false;
        }
        let taken = (std::mem::take(&mut state.events), state.next());
        drop(state);
        self.emptied.notify_one();
        taken
    }

    /// Waits until the view is off the screen.
    fn hold(&self) {
        let mut state = self.lock();
        state.holds += 1;
        self.filled.notify_one();
        let waited = self.stood_aside.wait_while(state, |state| !state.aside && !state.unread);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn let_go(&self) {
        self.lock().holds -= 1;
        self.filled.notify_one();
    }

    /// The view is off the screen until nobody wants it any more.
    fn stand_aside(&self) {
        let mut state = self.lock();
        state.aside = true;
        self.stood_aside.notify_all();
        let waited = self.filled.wait_while(state, |state| state.holds > 0);
        waited.unwrap_or_else(PoisonError::into_inner).aside = false;
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

/// The view's end. When it goes, with a panic or without, nobody waits for the view any longer.
struct Reader(Arc<Inbox>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.lock().unread = true;
        self.0.emptied.notify_one();
        self.0.stood_aside.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use kiln_solver::{EventKind, TaskId};

    use super::*;

    /// Tells what it is asked to show.
    struct Teller(Sender<&'static str>);

    impl Renderer for Teller {
        fn event(&mut self, _: &Event) -> io::Result<()> {
            self.0.send("event").map_err(io::Error::other)
        }

        fn suspend(&mut self, _: Duration, others: &mut dyn FnMut()) -> io::Result<()> {
            self.0.send("suspend").map_err(io::Error::other)?;
            others();
            self.0.send("resume").map_err(io::Error::other)
        }
    }

    fn display() -> (Display, Receiver<&'static str>) {
        let (told, seen) = channel();
        (Display::start(Box::new(Teller(told)), || Duration::ZERO), seen)
    }

    fn event() -> Event {
        Event { seq: 0, at: Duration::ZERO, task: TaskId(0), kind: EventKind::Started }
    }

    #[test]
    fn a_view_that_is_held_shows_nothing_and_later_all() {
        let (display, seen) = display();
        display.show(event());
        let (one, two) = (display.holder().hold(), display.holder().hold());
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["event", "suspend"]);
        // More than a view may else be behind: the build need not wait.
        for _ in 0..2 * MAX_EVENTS_BEHIND {
            display.show(event());
        }
        drop(one);
        assert_eq!(seen.try_iter().count(), 0);
        drop(two);
        display.finish().unwrap();
        let after: Vec<_> = seen.iter().collect();
        assert_eq!((after[0], after.len()), ("resume", 1 + 2 * MAX_EVENTS_BEHIND));
    }

    #[test]
    fn nothing_is_shown_without_anybody_to_wait_for() {
        let display = Display::nothing();
        let holder = display.holder();
        for _ in 0..2 * MAX_EVENTS_BEHIND {
            display.show(event());
        }
        drop(holder.hold());
        assert!(display.thread.is_none() && display.inbox.lock().events.is_empty());
        display.finish().unwrap();
    }

    #[test]
    fn a_view_that_failed_holds_nobody_up() {
        let (display, seen) = display();
        drop(seen);
        let holder = display.holder();
        display.show(event());
        drop((holder.hold(), holder.hold()));
        assert!(display.finish().is_err());
    }
}
