//! Lines of text for logs and pipes, in BuildKit's form.
//!
//! Each line begins with the task's number, counted in the order in which tasks start. Output comes
//! with the seconds since the task's start.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use kiln_solver::{Event, EventKind};

use super::Renderer;
use super::board::{Board, Task};
use super::clean::{in_words, one_line};
use super::text::{progress, seconds};

/// How often a task's progress gets a line.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Writes one line for each thing that happens.
#[derive(Debug)]
pub struct Plain<W> {
    out: W,
    board: Board,
    /// When each task's progress last got a line.
    told: BTreeMap<u32, Duration>,
    /// Tasks that began and of which nothing is told yet: a cached step begins and ends in one breath, and
    /// its two lines belong together.
    untold: BTreeMap<u32, String>,
    /// Whether the last line ended its task, so that a blank line follows.
    gap: bool,
}

impl<W: Write> Plain<W> {
    /// A view that writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            board: Board::default(),
            told: BTreeMap::new(),
            untold: BTreeMap::new(),
            gap: false,
        }
    }
}

impl<W: Write + Send> Renderer for Plain<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some((task, lines)) = self.board.apply(event) else { return Ok(()) };
        let number = task.number;
        if event.kind == EventKind::Started {
            self.untold.insert(number, format!("#{number} {}\n", task.name));
            return Ok(());
        }
        let mut text = self.untold.get(&number).cloned().unwrap_or_default();
        let untold = text.len();
        for line in lines {
            let line = format!("#{number} {:.3} {line}", since(task, event.at).as_secs_f64());
            text += line.trim_end();
            text.push('\n');
        }
        let last = match &event.kind {
            EventKind::Declared { .. }
            | EventKind::Started
            | EventKind::Output { .. }
            | EventKind::Keyed { .. } => None,
            EventKind::Cached => Some("CACHED".to_owned()),
            EventKind::Progress { current, total, unit } => {
                let told = self.told.entry(number).or_insert(task.started);
                let due = event.at.saturating_sub(*told) >= PROGRESS_INTERVAL;
                due.then(|| {
                    *told = event.at;
                    progress(*current, *total, *unit)
                })
            }
            EventKind::Warning { message } => Some(format!("WARNING: {}", one_line(message))),
            EventKind::Finished { duration } => Some(format!("DONE {}", seconds(*duration))),
            EventKind::Failed { message } => {
                Some(format!("ERROR: {}", in_words(&one_line(message))))
            }
            EventKind::Cancelled => Some("CANCELED".to_owned()),
        };
        if let Some(last) = last {
            text += &format!("#{number} {last}\n");
        }
        if text.len() == untold {
            return Ok(());
        }
        self.untold.remove(&number);
        self.write(text, ends(&event.kind))
    }

    fn refresh(&mut self, _now: Duration) -> io::Result<()> {
        while let Some((_, text)) = self.untold.pop_first() {
            self.write(text, false)?;
        }
        Ok(())
    }
}

impl<W: Write> Plain<W> {
    /// Writes lines of one task; `ended` says whether they are its last.
    fn write(&mut self, mut text: String, ended: bool) -> io::Result<()> {
        if std::mem::replace(&mut self.gap, ended) {
            text.insert(0, '\n');
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

fn since(task: &Task, at: Duration) -> Duration {
    at.saturating_sub(task.started)
}

fn ends(kind: &EventKind) -> bool {
    match kind {
        EventKind::Cached
        | EventKind::Finished { .. }
        | EventKind::Failed { .. }
        | EventKind::Cancelled => true,
        EventKind::Declared { .. }
        | EventKind::Started
        | EventKind::Output { .. }
        | EventKind::Progress { .. }
        | EventKind::Warning { .. }
        | EventKind::Keyed { .. } => false,
    }
}
