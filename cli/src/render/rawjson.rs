//! One JSON object a line for each event, for other programs.
//!
//! The form is this module's own and versioned by `v`: within a version, fields and events are only
//! added. Each object has `v`, `seq` (counts from 0), `at_us` (microseconds since the start), `task`
//! and `event`; what else it has goes by `event`:
//!
//! | `event` | fields |
//! |---|---|
//! | `declared` | `name`; `inputs`: tasks; `vertex`: index in the build graph, absent for other tasks |
//! | `started`, `cached`, `cancelled` | |
//! | `output` | `stream`: `stdout` or `stderr`; `data`: bytes in standard base64 |
//! | `progress` | `current`; `total`, absent where unknown; `unit`: `bytes` or `items` |
//! | `warning`, `failed` | `message` |
//! | `keyed` | `key`: the cache key; `layers`: digests, lowest first, and `size_bytes` of their content, absent when there is no result |
//! | `finished` | `duration_us` |
//!
//! With `--explain` a line for each step says why it ran or did not: `event` is `why`, and its members are those of
//! [`crate::why`].
//!
//! At the end, remarks on the Dockerfile follow: `event` is `diagnostic`, and beside `v` each has the members
//! of [`Told`], but no `seq`, `at_us` or `task`.

use std::io::{self, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_frontend::visible;
use kiln_solver::{Event, EventKind, Stream, Unit};
use serde::Serialize;

use super::Renderer;
use crate::answers::Told;

/// The version of the form.
pub const VERSION: u32 = 1;

/// Writes one line of JSON for each event.
#[derive(Debug)]
pub struct RawJson<W> {
    out: W,
}

impl<W: Write> RawJson<W> {
    /// A view that writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write + Send> Renderer for RawJson<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let line = Line {
            v: VERSION,
            seq: event.seq,
            at_us: micros(event.at),
            task: event.task.0,
            kind: Kind::from(&event.kind),
        };
        let text = serde_json::to_string(&line)?;
        writeln!(self.out, "{}", visible(&text))?;
        self.out.flush()
    }
}

/// The line for a remark on the Dockerfile.
#[must_use]
pub fn diagnostic_line(told: &Told<'_>) -> String {
    let line = DiagnosticLine { v: VERSION, event: "diagnostic", told };
    let text = serde_json::to_string(&line).expect("texts and numbers can be written as JSON");
    format!("{text}\n")
}

#[derive(Serialize)]
struct DiagnosticLine<'a> {
    v: u32,
    event: &'static str,
    #[serde(flatten)]
    told: &'a Told<'a>,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    seq: u64,
    at_us: u64,
    task: u32,
    #[serde(flatten)]
    kind: Kind<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Kind<'a> {
    Declared {
        name: &'a str,
        inputs: Vec<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        vertex: Option<usize>,
    },
    Started,
    Cached,
    Output {
        stream: &'static str,
        data: String,
    },
    Progress {
        current: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        unit: &'static str,
    },
    Warning {
        message: &'a str,
    },
    Keyed {
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        layers: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        size_bytes: Option<u64>,
    },
    Finished {
        duration_us: u64,
    },
    Failed {
        message: &'a str,
    },
    Cancelled,
}

impl<'a> From<&'a EventKind> for Kind<'a> {
    fn from(kind: &'a EventKind) -> Self {
        match kind {
            EventKind::Declared { name, inputs, op } => Self::Declared {
                name,
                inputs: inputs.iter().map(|task| task.0).collect(),
                vertex: op.map(|op| op.index()),
            },
            EventKind::Started => Self::Started,
            EventKind::Cached => Self::Cached,
            EventKind::Output { stream, bytes } => Self::Output {
                stream: match stream {
                    Stream::Stdout => "stdout",
                    Stream::Stderr => "stderr",
                },
                data: STANDARD.encode(bytes),
            },
            EventKind::Progress { current, total, unit } => Self::Progress {
                current: *current,
                total: *total,
                unit: match unit {
                    Unit::Bytes => "bytes",
                    Unit::Items => "items",
                },
            },
            EventKind::Warning { message } => Self::Warning { message },
            EventKind::Keyed { key, record } => Self::Keyed {
                key: key.to_string(),
                layers: record.as_ref().map(|record| {
                    record.layers.iter().map(|layer| layer.digest.to_string()).collect()
                }),
                size_bytes: record.as_ref().map(|record| record.size_bytes),
            },
            EventKind::Finished { duration } => Self::Finished { duration_us: micros(*duration) },
            EventKind::Failed { message } => Self::Failed { message },
            EventKind::Cancelled => Self::Cancelled,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
