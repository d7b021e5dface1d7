//! What the frontend made of a Dockerfile, as JSON: `kiln debug plan` prints it, and the comparison with
//! the reference reads it.
//!
//! The keys are those of the comparison's corpus, so that plans of other builders can be laid beside it. What
//! is empty, false or zero is left out. It is for people and tests who look at plans, not for scripts: it
//! changes with the plan. Plans themselves know nothing of JSON.

mod refusal;
mod sources;
mod steps;

use kiln_engine::Faulty;
use kiln_frontend::{Check, HistoryEntry, Plan};
use kiln_image::ImageConfig;
use serde_json::{Map, Value, json};

pub use refusal::{first_syntax_error, refused};

/// A plan:
///
/// | key | what |
/// |---|---|
/// | `config` | the `config` part of the image's config |
/// | `author`, `platform` | as text |
/// | `history` | what the build adds to it, oldest first: `created_by` and `empty_layer` |
/// | `steps` | what is done, as a sorted bag of `run`, `copy`, `mkdir`, `mkfile` and `source` |
#[must_use]
pub fn accepted(plan: &Plan) -> Value {
    prune(json!({
        "config": prune(json!(plan.config.config)),
        "author": plan.config.author,
        "platform": plan.platform.to_string(),
        "history": plan.history.iter().map(entry).collect::<Vec<_>>(),
        "steps": steps::steps(plan),
    }))
}

/// Adds what the build checks say, `lint`: names with the lines that they speak of, sorted. It stands in plans
/// and refusals alike, and is left out when they say nothing.
pub fn add_lint(document: &mut Value, checked: &Faulty) {
    let checks = checked.diagnostics.iter().filter(|one| Check::of_code(one.code).is_some());
    let mut lines: Vec<(&str, usize)> = checks
        .filter_map(|one| {
            let at = one.line_span()?.start;
            Some((one.code, checked.source.position(at).0))
        })
        .collect();
    lines.sort_unstable();
    if !lines.is_empty() {
        document["lint"] = json!(lines);
    }
}

/// Reads the config that base images are taken to have: a config document, or its `config` part alone.
///
/// # Errors
/// When the bytes are no JSON, or a member has another type than in an image's config.
pub fn base_config(bytes: &[u8]) -> Result<ImageConfig, serde_json::Error> {
    let document: Value = serde_json::from_slice(bytes)?;
    let is_whole =
        ["config", "rootfs", "architecture"].iter().any(|key| document.get(key).is_some());
    serde_json::from_value(if is_whole { document } else { json!({"config": document}) })
}

fn entry(entry: &HistoryEntry) -> Value {
    let mut members = Map::new();
    members.insert("created_by".to_owned(), json!(entry.created_by));
    if entry.empty_layer {
        members.insert("empty_layer".to_owned(), json!(true));
    }
    Value::Object(members)
}

/// An object without its empty and false members, sorted by name; anything else as it is.
#[must_use]
pub fn prune(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(_) => false,
    };
    let mut kept: Vec<_> = members.into_iter().filter(|(_, value)| !empty(value)).collect();
    kept.sort_by(|left, right| left.0.cmp(&right.0));
    Value::Object(kept.into_iter().collect())
}

/// Values of any order as a list of one order.
#[must_use]
pub fn bag(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by_cached_key(Value::to_string);
    values
}
