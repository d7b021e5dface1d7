//! The screen as lines of text: a pure function of what is known, the time and the terminal's size.

use std::time::Duration;

use console::Style;
use kiln_solver::EventKind;

use super::board::{Board, Task};
use super::clean::{in_words, one_line};
use super::text::{fit, progress, seconds};

/// Lines of output shown below a running step, at the most.
const MAX_TAIL_LINES: usize = 6;
/// On a wide terminal times stand in this column, where the eye still finds their line.
const MAX_COLUMNS: usize = 110;
/// Below this many columns a line has no time.
const MIN_COLUMNS_FOR_TIME: usize = 30;
/// The marks of something that goes on, and how long each is shown.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const SPINNER_INTERVAL: Duration = Duration::from_millis(100);

/// What a view is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Canvas {
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Whether to use colours.
    pub(super) colored: bool,
}

impl Canvas {
    fn paint(self, style: &Style, text: &str) -> String {
        style.clone().force_styling(self.colored).apply_to(text).to_string()
    }

    /// `mark name                time`, within the canvas.
    fn line(self, (mark, style): (char, &Style), name: &str, time: &str) -> String {
        let columns = self.usable();
        let mark = self.paint(style, &mark.to_string());
        if columns < MIN_COLUMNS_FOR_TIME {
            return format!("{mark} {}", fit(name, columns.saturating_sub(2)).0);
        }
        let room = columns - 2 - 2 - time.len();
        let (name, width) = fit(name, room);
        let gap = " ".repeat(room - width + 2);
        format!("{mark} {name}{gap}{}", self.paint(&Style::new().dim(), time))
    }

    /// The last column stays free: writing there makes some terminals wrap.
    fn usable(self) -> usize {
        self.columns.saturating_sub(1).min(MAX_COLUMNS)
    }
}

/// What stays on the screen of an event; nothing for most.
pub(super) fn lasting(
    task: &Task,
    kind: &EventKind,
    at: Duration,
    canvas: Canvas,
) -> Option<String> {
    let since = seconds(at.saturating_sub(task.started));
    let green = Style::new().green();
    let red = Style::new().red();
    let yellow = Style::new().yellow();
    match kind {
        EventKind::Cached => Some(canvas.line(('✔', &green), &task.name, "CACHED")),
        EventKind::Finished { duration } => {
            Some(canvas.line(('✔', &green), &task.name, &seconds(*duration)))
        }
        EventKind::Failed { .. } => {
            Some(canvas.line(('✘', &red), &task.name, &format!("ERROR {since}")))
        }
        EventKind::Cancelled => {
            Some(canvas.line(('✘', &yellow), &task.name, &format!("CANCELED {since}")))
        }
        EventKind::Warning { message } => {
            let message = in_words(&one_line(message));
            Some(format!("{} {}: {message}", canvas.paint(&yellow, "!"), task.name))
        }
        EventKind::Declared { .. }
        | EventKind::Started
        | EventKind::Output { .. }
        | EventKind::Progress { .. }
        | EventKind::Keyed { .. } => None,
    }
}

/// What changes all the time: the running steps with the last lines of their output, and a summary.
pub(super) fn changing(board: &Board, now: Duration, canvas: Canvas) -> Vec<String> {
    // One row for the summary, and one that terminals need below what is redrawn.
    let rows = canvas.rows.saturating_sub(2);
    let running = board.running().len();
    let shown = if running > rows { rows.saturating_sub(1) } else { running };
    let tail = (rows - shown).checked_div(shown).unwrap_or(0).min(MAX_TAIL_LINES);
    let mut lines = Vec::new();
    for task in board.running().take(shown) {
        lines.push(running_line(task, now, canvas));
        let output: Vec<_> = task.tail().rev().take(tail).collect();
        lines.extend(output.into_iter().rev().map(|line| output_line(line, canvas)));
    }
    if shown < running {
        lines.push(fit(&format!("  … and {} more", running - shown), canvas.usable()).0);
    }
    lines.push(summary(board, now, canvas));
    lines
}

fn running_line(task: &Task, now: Duration, canvas: Canvas) -> String {
    let elapsed = now.saturating_sub(task.started);
    let frame = elapsed.as_millis() / SPINNER_INTERVAL.as_millis();
    let mark = SPINNER[usize::try_from(frame).unwrap_or(0) % SPINNER.len()];
    let time = match task.progress {
        Some((current, total, unit)) => {
            format!("{} {}", progress(current, total, unit), seconds(elapsed))
        }
        None => seconds(elapsed),
    };
    canvas.line((mark, &Style::new().cyan()), &task.name, &time)
}

fn output_line(line: &str, canvas: Canvas) -> String {
    let (line, _) = fit(line, canvas.usable().saturating_sub(4));
    canvas.paint(&Style::new().dim(), &format!("  │ {line}"))
}

/// What is left on the screen at the end.
pub(super) fn summary(board: &Board, now: Duration, canvas: Canvas) -> String {
    let (tasks, ended, cached) = board.counts();
    let text = format!("  {ended}/{tasks} done, {cached} cached, {}", seconds(now));
    fit(&text, canvas.usable()).0
}
