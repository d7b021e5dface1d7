//! Views of a build: folds over its events.
//!
//! A [`Renderer`] sees the events one by one and shows what it makes of them; none asks anything back,
//! so a recorded stream shows the same again. [`Display`] keeps one on a thread of its own.

mod board;
mod clean;
mod display;
mod plain;
mod quiet;
mod rawjson;
mod text;
mod tty;
mod view;

#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use kiln_solver::Event;

pub use clean::{LineCleaner, escaped, in_words, one_line, output_line};
pub use display::{Display, Held, Holder};
pub use plain::Plain;
pub use quiet::Quiet;
pub use rawjson::{RawJson, VERSION, diagnostic_line};
pub use text::state_name;
pub use tty::{Terminal, Tty};

use crate::args::ProgressMode;

/// Shows a narration.
pub trait Renderer: Send {
    /// Takes in the next event.
    ///
    /// # Errors
    /// When it cannot be shown.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Lets time pass: `now` is the time since the narration's start. Called a few times a second.
    ///
    /// # Errors
    /// When it cannot be shown.
    fn refresh(&mut self, now: Duration) -> io::Result<()> {
        let _ = now;
        Ok(())
    }

    /// Leaves the screen to `others` until they return.
    ///
    /// # Errors
    /// When what came before cannot be shown.
    fn suspend(&mut self, now: Duration, others: &mut dyn FnMut()) -> io::Result<()> {
        self.refresh(now)?;
        others();
        Ok(())
    }

    /// Ends the view: there are no more events.
    ///
    /// # Errors
    /// When it cannot be shown.
    fn finish(&mut self, now: Duration) -> io::Result<()> {
        self.refresh(now)
    }
}

/// The view on standard error that was asked for. Without a terminal there, the one for terminals
/// gives way to plain lines. `clock` tells the time since the narration's start.
#[must_use]
pub fn on_stderr(mode: ProgressMode, clock: impl Fn() -> Duration + Send + 'static) -> Display {
    let terminal = console::Term::stderr();
    let renderer: Box<dyn Renderer> = match mode {
        ProgressMode::Quiet => return Display::nothing(),
        ProgressMode::Rawjson => Box::new(RawJson::new(io::stderr())),
        ProgressMode::Auto | ProgressMode::Tty if terminal.is_term() => {
            Box::new(Tty::new(Box::new(terminal), console::colors_enabled_stderr()))
        }
        ProgressMode::Plain | ProgressMode::Auto | ProgressMode::Tty => {
            Box::new(Plain::new(io::stderr()))
        }
    };
    Display::start(renderer, clock)
}
