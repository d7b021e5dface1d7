//! Keeps a view up to date from a thread of its own.
//!
//! The build hands over its events and goes on; the view also moves while nothing happens. Only when
//! the view is far behind does the build wait for it.

use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiln_solver::Event;

use super::Renderer;

/// Time between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);
/// Events that the view may be behind.
const MAX_EVENTS_BEHIND: usize = 1024;

/// A view on its thread. Close it with [`Display::finish`], or the last events may not be shown.
#[derive(Debug)]
pub struct Display {
    events: SyncSender<Event>,
    thread: JoinHandle<io::Result<()>>,
}

impl Display {
    /// Shows events with `renderer`. `clock` tells the time since the narration's start.
    pub fn start<C>(renderer: Box<dyn Renderer>, clock: C) -> Self
    where
        C: Fn() -> Duration + Send + 'static,
    {
        let (events, incoming) = sync_channel(MAX_EVENTS_BEHIND);
        let thread = thread::spawn(move || run(renderer, &clock, &incoming));
        Self { events, thread }
    }

    /// Takes in the next event.
    pub fn show(&self, event: Event) {
        // A view that failed is gone; the build goes on, and `finish` tells.
        let _unseen = self.events.send(event);
    }

    /// Shows what is left and ends the view.
    ///
    /// # Errors
    /// When something could not be shown, then or earlier.
    pub fn finish(self) -> io::Result<()> {
        drop(self.events);
        self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

fn run(
    mut renderer: Box<dyn Renderer>,
    clock: &dyn Fn() -> Duration,
    incoming: &Receiver<Event>,
) -> io::Result<()> {
    let mut drawn = Duration::ZERO;
    loop {
        let due = (drawn + INTERVAL).saturating_sub(clock());
        match incoming.recv_timeout(due) {
            Ok(event) => renderer.event(&event)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return renderer.finish(clock()),
        }
        let now = clock();
        if now >= drawn + INTERVAL {
            renderer.refresh(now)?;
            drawn = now;
        }
    }
}
