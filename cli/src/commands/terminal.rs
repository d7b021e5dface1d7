//! The terminal that Kiln was started on, lent to a command in a sandbox.
//!
//! It is in raw mode meanwhile: what is typed, Ctrl-C and Ctrl-Z among it, is the command's. Whatever ends Kiln, the
//! terminal is as it was: [`Raw`] is dropped, or [`restore`] is called by whoever ends the process.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::sync::{Mutex, PoisonError};

use kiln_engine::{Attachment, EngineError, Input, Visit, WindowSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// How the terminal was, while it is in raw mode.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
/// The size of a terminal that does not say.
const USUAL_SIZE: WindowSize = WindowSize { rows: 24, columns: 80 };

/// A terminal in raw mode.
#[derive(Debug)]
struct Raw;

impl Raw {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *before_mode() = Some(before);
        // What is noted is restored, should this fail half-way.
        let entered = Self;
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(entered)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was, if it was lent.
pub(crate) fn restore() {
    if let Some(before) = before_mode().take() {
        // One that is gone needs nothing.
        let _gone = tcsetattr(io::stdin(), OptionalActions::Drain, &before);
    }
}

fn before_mode() -> std::sync::MutexGuard<'static, Option<Termios>> {
    // There is no half of an assignment.
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there is a terminal to lend.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Lends the terminal, or standard input and outputs as they are, while `visit` lasts.
///
/// # Errors
/// When the terminal cannot be put into raw mode.
pub(crate) fn lend<T>(visit: impl FnOnce(&Visit<'_>) -> T) -> io::Result<T> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let attachment =
        Attachment { input: stdin.as_fd(), output: stdout.as_fd(), error: stderr.as_fd() };
    if !is_there() {
        return Ok(visit(&Visit { input: Input::Pipe, attachment }));
    }
    let size = tcgetwinsize(&stdout).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    let size =
        size.map_or(USUAL_SIZE, |size| WindowSize { rows: size.ws_row, columns: size.ws_col });
    let _raw = Raw::enter()?;
    Ok(visit(&Visit { input: Input::Terminal(size), attachment }))
}

/// What a terminal that cannot be lent comes to.
pub(crate) fn unusable(source: io::Error) -> EngineError {
    EngineError::ReadFile { what: "terminal", path: "/dev/tty".into(), source }
}

/// The variable by which programs know the terminal, if there is one.
pub(crate) fn variables() -> Vec<(String, String)> {
    let term = std::env::var("TERM").ok().filter(|_| is_there());
    term.map(|term| ("TERM".to_owned(), term)).into_iter().collect()
}
