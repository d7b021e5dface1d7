//! A past build in Chrome's trace format, for `chrome://tracing`, Perfetto and speedscope.
//!
//! A row is a job slot: what stands in one row ran one after the other. Times are microseconds since the build began.
//! The format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.

use std::time::Duration;

use kiln_engine::history::{PastBuild, PastTask};
use serde_json::{Map, Value, json};

use crate::render::state_name;

use crate::render::one_line;

/// The number of the one process.
const PROCESS: u32 = 1;

/// The trace as one JSON object.
#[must_use]
pub fn chrome(past: &PastBuild) -> String {
    let slots = past.slots();
    let rows = slots.iter().flatten().max().map_or(0, |last| last + 1);
    let name = format!("kiln build {}", one_line(&past.name));
    let mut events = vec![metadata("process_name", None, json!({"name": name}))];
    for row in 0..rows {
        let name = format!("job {}", row + 1);
        events.push(metadata("thread_name", Some(row), json!({"name": name})));
        events.push(metadata("thread_sort_index", Some(row), json!({"sort_index": row})));
    }
    let ran = past.tasks.iter().zip(&slots).enumerate();
    events.extend(ran.filter_map(|(index, (task, slot))| complete(past, index, task, (*slot)?)));
    let trace = json!({
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"build": past.id, "kiln": past.kiln, "created_ms": past.created_ms},
    });
    format!("{trace}\n")
}

fn metadata(name: &str, row: Option<usize>, arguments: Value) -> Value {
    json!({"ph": "M", "name": name, "pid": PROCESS, "tid": row.unwrap_or(0), "args": arguments})
}

fn complete(past: &PastBuild, index: usize, task: &PastTask, row: usize) -> Option<Value> {
    let started = task.started?;
    let ended = task.ended.unwrap_or_else(|| past.duration()).max(started);
    let origin = task.origin.as_ref();
    let record = task.record.as_ref();
    let arguments = [
        ("task", json!(index)),
        ("inputs", json!(task.inputs)),
        ("state", json!(state_name(task.state))),
        ("key", json!(task.key.map(|key| key.to_string()))),
        ("size_bytes", json!(record.map(|record| record.size_bytes))),
        ("made_in_ms", json!(record.map(|record| record.duration_ms))),
        ("file", json!(origin.map(|origin| &origin.file).filter(|file| !file.is_empty()))),
        ("line", json!(origin.map(|origin| origin.at).filter(|line| *line > 0))),
        ("error", json!(task.error)),
    ];
    let known = arguments.into_iter().filter(|(_, value)| !value.is_null());
    let arguments: Map<String, Value> =
        known.map(|(name, value)| (name.to_owned(), value)).collect();
    Some(json!({
        "ph": "X",
        "name": one_line(&task.name),
        "cat": origin.map_or("kiln", |origin| origin.op.as_str()),
        "pid": PROCESS,
        "tid": row,
        "ts": micros(started),
        "dur": micros(ended.saturating_sub(started)),
        "args": arguments,
    }))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
