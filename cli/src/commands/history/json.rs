//! A past build as JSON: the members of `docker buildx history inspect --format json`, with the steps besides.

use jiff::Timestamp;
use kiln_cli::render::state_name;
use kiln_engine::history::{BuildState, Extent, How, PastBuild, PastTask, RecordedFault};
use serde_json::{Map, Value, json};

use super::inspect::status;

/// All that is known of a build.
pub(super) fn build(past: &PastBuild, state: &BuildState) -> Value {
    let asked = &past.asked;
    let (steps, completed, cached) = past.counts();
    let pairs = |pairs: &mut dyn Iterator<Item = (&String, Option<&str>)>| -> Value {
        pairs.map(|(name, value)| json!({"Name": name, "Value": value})).collect()
    };
    let duration = past.duration();
    let ended_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let end = past.end.as_ref();
    let image = end.and_then(|end| end.image.as_ref());
    let remarks = end.map(|end| end.remarks.iter().map(fault).collect::<Vec<_>>());
    pruned(json!({
        "Name": past.name,
        "Ref": past.id,
        "Context": asked.context,
        "Dockerfile": asked.dockerfile,
        "Target": asked.target,
        "Platform": asked.platforms,
        "NamedContexts": pairs(&mut asked.contexts.iter().map(|(name, value)| (name, Some(value.as_str())))),
        "StartedAt": time(past.created_ms),
        "CompletedAt": end.map(|_| time(past.created_ms.saturating_add(ended_ms))),
        "Duration": u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
        "Status": status(state).to_lowercase(),
        "Error": end.and_then(|end| end.error.as_ref()).map(|error| pruned(json!({
            "Message": error.message,
            "Faults": error.faults.iter().map(fault).collect::<Vec<_>>(),
        }))),
        "NumCompletedSteps": completed,
        "NumTotalSteps": steps,
        "NumCachedSteps": cached,
        "BuildArgs": pairs(&mut asked.build_args.iter().map(|(name, value)| (name, value.as_deref()))),
        "Labels": pairs(&mut asked.labels.iter().map(|(name, value)| (name, Some(value.as_str())))),
        "Config": config(&asked.how),
        "Tags": asked.tags,
        "Outputs": asked.outputs,
        "Secrets": asked.secrets,
        "Agents": asked.agents,
        "Image": image.map(|image| pruned(json!({"Digest": image.manifest, "Config": image.config}))),
        "Remarks": remarks,
        "Steps": past.tasks.iter().map(step).collect::<Vec<_>>(),
        "CriticalPath": past.critical_path(),
        "Kiln": past.kiln,
        "Damage": match &past.extent {
            Extent::Whole | Extent::Cut => None,
            Extent::Damaged { line, reason } => Some(json!({"Line": line, "Reason": reason})),
        },
    }))
}

fn config(how: &How) -> Value {
    let How { no_cache, no_cache_filter, pull, jobs, require_cached } = how;
    json!({
        "NoCache": no_cache, "NoCacheFilter": no_cache_filter, "RequireCached": require_cached,
        "Pull": pull, "Jobs": jobs,
    })
}

/// A task; its number is its place in the list, counted from 0.
fn step(task: &PastTask) -> Value {
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let origin = task.origin.as_ref();
    let record = task.record.as_ref();
    pruned(json!({
        "Name": task.name,
        "Inputs": task.inputs,
        "Vertex": origin.map(|origin| origin.vertex),
        "Op": origin.map(|origin| origin.op.as_str()),
        "File": origin.map(|origin| origin.file.as_str()),
        "Line": origin.map(|origin| origin.at).filter(|line| *line > 0),
        "Status": state_name(task.state),
        "StartedUs": task.started.map(micros),
        "DurationUs": task.duration().map(micros),
        "Key": task.key.map(|key| key.to_string()),
        "Layers": record.map(|record| {
            record.layers.iter().map(|layer| layer.digest.to_string()).collect::<Vec<_>>()
        }),
        "Size": record.map(|record| record.size_bytes),
        "MadeInMs": record.map(|record| record.duration_ms),
        "Warnings": task.warnings,
        "Error": task.error,
        "OutputBytes": Some(task.output_bytes).filter(|bytes| *bytes > 0),
    }))
}

fn fault(fault: &RecordedFault) -> Value {
    pruned(json!({
        "Code": fault.code,
        "Message": fault.message,
        "File": fault.file,
        "Line": Some(fault.at).filter(|line| *line > 0),
        "Source": fault.source,
        "Logs": fault.output,
    }))
}

/// A time, in milliseconds since 1970, as RFC 3339 has it.
pub(super) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| time.to_string())
}

/// An object without members that say nothing.
fn pruned(object: Value) -> Value {
    let Value::Object(members) = object else { return object };
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    members.into_iter().filter(|(_, value)| says(value)).collect::<Map<_, _>>().into()
}
