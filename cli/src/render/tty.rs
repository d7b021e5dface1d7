//! The view on a terminal: what ended scrolls away upwards, what runs is redrawn below it.

use std::fmt;
use std::io;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use kiln_solver::Event;

use super::Renderer;
use super::board::Board;
use super::view::{self, Canvas};

/// Drawings a second that indicatif lets through; [`Renderer::refresh`] asks for fewer.
const MAX_DRAWINGS_PER_SECOND: u8 = 60;

/// A terminal to draw on. A clone draws on the same one.
pub trait Terminal: TermLike {
    /// Another handle of the same terminal.
    fn handle(&self) -> Box<dyn TermLike>;
}

impl<T: TermLike + Clone + 'static> Terminal for T {
    fn handle(&self) -> Box<dyn TermLike> {
        Box::new(self.clone())
    }
}

/// Draws on a terminal.
pub struct Tty {
    terminal: Box<dyn Terminal>,
    colored: bool,
    board: Board,
    /// All lines that change are the message of one bar, so that they are drawn at once.
    bar: ProgressBar,
    /// Lines that stay, not yet written.
    lasting: Vec<String>,
}

impl fmt::Debug for Tty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tty").field("board", &self.board).finish_non_exhaustive()
    }
}

impl Tty {
    /// A view on `terminal`.
    #[must_use]
    pub fn new(terminal: Box<dyn Terminal>, colored: bool) -> Self {
        let target =
            ProgressDrawTarget::term_like_with_hz(terminal.handle(), MAX_DRAWINGS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(message_only());
        Self { terminal, colored, board: Board::default(), bar, lasting: Vec::new() }
    }

    fn canvas(&self) -> Canvas {
        Canvas {
            columns: self.terminal.width().into(),
            rows: self.terminal.height().into(),
            colored: self.colored,
        }
    }
}

fn message_only() -> ProgressStyle {
    ProgressStyle::with_template("{msg}").expect("the template is valid")
}

impl Renderer for Tty {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let canvas = self.canvas();
        if let Some((task, _)) = self.board.apply(event) {
            self.lasting.extend(view::lasting(task, &event.kind, event.at, canvas));
        }
        Ok(())
    }

    fn refresh(&mut self, now: Duration) -> io::Result<()> {
        let lines = view::changing(&self.board, now, self.canvas());
        self.bar.set_message(lines.join("\n"));
        if !self.lasting.is_empty() {
            self.bar.println(std::mem::take(&mut self.lasting).join("\n"));
        }
        self.bar.force_draw();
        Ok(())
    }

    fn suspend(&mut self, now: Duration, others: &mut dyn FnMut()) -> io::Result<()> {
        self.refresh(now)?;
        self.bar.suspend(others);
        Ok(())
    }

    fn finish(&mut self, now: Duration) -> io::Result<()> {
        self.lasting.push(view::summary(&self.board, now, self.canvas()));
        self.bar.println(std::mem::take(&mut self.lasting).join("\n"));
        self.bar.finish_and_clear();
        Ok(())
    }
}
