//! Reasons as JSON, one object for each step.
//!
//! Within version `v` members are only added. Each object has `v`, `event` (`why`), `vertex` (the step's index in
//! the build graph), `name` and `outcome`: `cached`, `ran`, `unrecorded` (looked at in each build) or `not-reached`.
//! What else it has, where it applies:
//!
//! | member | what |
//! |---|---|
//! | `file`, `line` | where the step is in the Dockerfile |
//! | `key` | its cache key |
//! | `made_ms`, `duration_ms` | of a cached one: when its result was made, and how long that took |
//! | `reason` | of one that ran: `no-cache`, `no-cache-filter`, `first`, `collected`, `restart`, `damaged`, `content-gone`, `unfinished`, `forgotten` (what it was made of is not kept), `refused` (it was not to run) or `differs` |
//! | `causes` | the vertices that lie at the root of it |
//! | `nearest` | for `differs`: `key`, `name` and `made_ms` of the record that comes nearest |
//! | `differences` | for `differs`: the list of what differs |
//!
//! A difference has `kind`. `field`: `what`, `name`, `aspect`, `was` and `is` (a text or a list of texts; absent
//! where there is none, and where it may be a credential). `order`: `what`. `read`: `how` (`root`, `bind`, `copy`
//! or `secret`), `name`, `was_name`, `cause` (`itself`, `new`, `gone`, `ran`, `other-part`, `made-anew`, `cached` or
//! `unknown`), the `vertex` that is the cause, `differences` of a cached one, and `files`: each with `path` and `changes`.

use kiln_engine::{
    Changed, Difference, Distinction, ExplainedStep, Explanation, Gone, How, ReadCause,
    ReadDistinction, Reason, Shown, StepOutcome,
};
use serde_json::{Map, Value, json};

use crate::render::VERSION;

/// One line for each step.
#[must_use]
pub fn lines(explanation: &Explanation) -> String {
    (0..explanation.steps.len()).map(|index| line(explanation, index)).collect()
}

/// The line for one step.
#[must_use]
pub fn line(explanation: &Explanation, index: usize) -> String {
    format!("{}\n", object(explanation, index))
}

fn object(explanation: &Explanation, index: usize) -> Value {
    let step = &explanation.steps[index];
    let ExplainedStep { vertex, name, place, key, outcome } = step;
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    put("v", json!(VERSION));
    put("event", json!("why"));
    put("vertex", json!(vertex));
    put("name", json!(name));
    if let Some(place) = place {
        put("file", json!(place.file));
        put("line", json!(place.line));
    }
    if let Some(key) = key {
        put("key", json!(key.to_string()));
    }
    match outcome {
        StepOutcome::Cached { made_ms, duration_ms } => {
            put("outcome", json!("cached"));
            if let Some(made_ms) = made_ms {
                put("made_ms", json!(made_ms));
                put("duration_ms", json!(duration_ms));
            }
        }
        StepOutcome::Unrecorded => put("outcome", json!("unrecorded")),
        StepOutcome::NotReached => put("outcome", json!("not-reached")),
        StepOutcome::Missed(reason) => {
            put("outcome", json!("ran"));
            put("reason", json!(word(reason)));
            let causes = explanation.causes_of(index);
            let causes: Vec<_> = causes.iter().map(|&at| explanation.steps[at].vertex).collect();
            put("causes", json!(causes));
            if let Reason::Differs(nearest) = reason {
                let (key, name) = (nearest.key.to_string(), &nearest.name);
                put("nearest", json!({"key": key, "name": name, "made_ms": nearest.made_ms}));
                put("differences", differences(explanation, &nearest.differences));
            }
        }
    }
    Value::Object(object)
}

const fn word(reason: &Reason) -> &'static str {
    match reason {
        Reason::NoCache => "no-cache",
        Reason::NoCacheFilter => "no-cache-filter",
        Reason::First => "first",
        Reason::Gone(Gone::Collected) => "collected",
        Reason::Gone(Gone::Restart) => "restart",
        Reason::Gone(Gone::Damaged) => "damaged",
        Reason::Husk => "content-gone",
        Reason::Unfinished => "unfinished",
        Reason::Forgotten => "forgotten",
        Reason::Refused => "refused",
        Reason::Differs(_) => "differs",
    }
}

fn differences(explanation: &Explanation, differences: &[Distinction]) -> Value {
    differences.iter().map(|one| difference(explanation, one)).collect()
}

fn difference(explanation: &Explanation, difference: &Distinction) -> Value {
    let mut value = match difference {
        Difference::Field { what, name, aspect, was, is } => json!({
            "kind": "field", "what": what, "name": name, "aspect": aspect,
            "was": was.as_ref().and_then(shown), "is": is.as_ref().and_then(shown),
        }),
        Difference::Order { what } => json!({"kind": "order", "what": what}),
        Difference::Read(ReadDistinction { how, name, was_name, cause, files }) => {
            let how = match how {
                How::Root => "root",
                How::Bind => "bind",
                How::Copy => "copy",
                How::Secret => "secret",
            };
            let vertex = |step: &usize| explanation.steps.get(*step).map(|step| step.vertex);
            let (cause, vertex, nested) = match cause {
                ReadCause::Itself => ("itself", None, None),
                ReadCause::New => ("new", None, None),
                ReadCause::Gone => ("gone", None, None),
                ReadCause::Unknown => ("unknown", None, None),
                ReadCause::Ran { step, .. } => ("ran", vertex(step), None),
                ReadCause::OtherPart { step } => ("other-part", vertex(step), None),
                ReadCause::MadeAnew { step } => ("made-anew", vertex(step), None),
                ReadCause::Cached { step, was: _, differences: nested } => {
                    ("cached", vertex(step), Some(differences(explanation, nested)))
                }
            };
            let files: Option<Vec<Value>> = files.as_ref().map(|files| {
                let file = |file: &kiln_engine::Change| {
                    let changes: Vec<Value> = file.what.iter().map(change).collect();
                    json!({"path": file.path, "changes": changes})
                };
                files.iter().map(file).collect()
            });
            json!({
                "kind": "read", "how": how, "name": name, "was_name": was_name, "cause": cause,
                "vertex": vertex, "differences": nested, "files": files,
            })
        }
    };
    if let Value::Object(members) = &mut value {
        members.retain(|_, value| !value.is_null() && *value != json!(""));
    }
    value
}

fn shown(shown: &Shown) -> Option<Value> {
    match shown {
        Shown::Nothing | Shown::Sealed(_) => None,
        Shown::Text(text) => Some(json!(text)),
        Shown::List(texts) => Some(json!(texts)),
        Shown::Long { size_bytes, digest, .. } => {
            Some(json!({"size_bytes": size_bytes, "digest": digest.to_string()}))
        }
    }
}

fn change(change: &Changed) -> Value {
    match change {
        Changed::Added => json!({"what": "added"}),
        Changed::Removed => json!({"what": "removed"}),
        Changed::Sort { was, is } => json!({"what": "type", "was": was, "is": is}),
        Changed::Content { was_bytes, is_bytes } => {
            json!({"what": "content", "was_bytes": was_bytes, "is_bytes": is_bytes})
        }
        Changed::Mode { was, is } => json!({"what": "mode", "was": was, "is": is}),
        Changed::Owner { was, is } => {
            json!({"what": "owner", "was": [was.0, was.1], "is": [is.0, is.1]})
        }
        Changed::Target { was, is } => json!({"what": "target", "was": was, "is": is}),
        Changed::Links => json!({"what": "links"}),
        Changed::Attributes => json!({"what": "attributes"}),
        Changed::Device => json!({"what": "device"}),
    }
}
