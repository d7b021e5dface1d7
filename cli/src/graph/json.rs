//! A graph for programs: one object with `nodes` and `edges`.
//!
//! Times are microseconds, sizes bytes; what is not known is left out. Within a `version`, members are only added.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::view::{Node, View};
use crate::render::state_name;

/// The version of the form.
const VERSION: u32 = 1;

pub(super) fn render(view: &View) -> String {
    let edges = view.nodes.iter().enumerate().flat_map(|(index, node)| {
        node.inputs.iter().map(move |&input| json!({"from": input, "to": index}))
    });
    let graph = json!({
        "version": VERSION,
        "title": view.title,
        "duration_us": view.duration.map(micros),
        "nodes": view.nodes.iter().enumerate().map(node).collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
        "critical_path": view.critical_path,
    });
    format!("{:#}\n", pruned(graph))
}

fn node((id, node): (usize, &Node)) -> Value {
    pruned(json!({
        "id": id,
        "name": node.name,
        "op": node.op,
        "place": node.place,
        "status": node.state.map(state_name),
        "started_us": node.started.map(micros),
        "duration_us": node.duration.map(micros),
        "size_bytes": node.size_bytes,
        "key": node.key,
        "layers": node.layers,
        "error": node.error,
    }))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Without what is not known.
fn pruned(object: Value) -> Value {
    let Value::Object(members) = object else { return object };
    let is_known = |value: &Value| !value.is_null() && *value != json!("");
    members.into_iter().filter(|(_, value)| is_known(value)).collect::<Map<_, _>>().into()
}
