//! `kiln history ls`.

use kiln_cli::args::{BuildFilter, Format, HistoryLsArgs};
use kiln_engine::Engine;
use kiln_engine::history::{BuildRow, BuildState, ListedBuild, PastBuild};
use serde_json::json;

use super::super::table::{age, table};
use super::super::{Failure, print};
use super::inspect::{clean, span, status};
use super::json::time;

/// Characters of a name that a table shows: the last ones tell more.
const NAME_MAX: usize = 36;

/// A build with what a list says of it.
struct Listed {
    id: String,
    status: &'static str,
    name: String,
    created_ms: i64,
    duration: String,
    /// Nothing for a build that did not end.
    row: Option<BuildRow>,
}

/// Lists builds, those that run first, then the latest first.
pub(super) fn ls(engine: &Engine, arguments: &HistoryLsArgs) -> Result<(), Failure> {
    let mut builds: Vec<Listed> =
        engine.builds()?.into_iter().map(|build| listed(engine, build)).collect();
    builds.retain(|build| arguments.filters.iter().all(|filter| fits(build, filter)));
    builds.sort_by_key(|build| build.status != "Running");
    if arguments.format == Format::Json {
        print(&builds.iter().map(|build| format!("{}\n", object(build))).collect::<String>());
        return Ok(());
    }
    let heads = ["BUILD ID", "NAME", "STATUS", "CREATED AT", "DURATION"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(builds.iter().map(|build| {
        let name = clean(&build.name);
        [
            build.id.clone(),
            if arguments.no_trunc { name } else { shortened(&name) },
            build.status.to_owned(),
            age(build.created_ms),
            build.duration.clone(),
        ]
    }));
    print(&table(&rows));
    Ok(())
}

fn listed(engine: &Engine, build: ListedBuild) -> Listed {
    let status = status(&build.state);
    let ListedBuild { id, state } = build;
    match state {
        BuildState::Ended(row) => Listed {
            id,
            status,
            name: row.name.clone(),
            created_ms: row.created_ms,
            duration: span(std::time::Duration::from_millis(row.duration_ms)),
            row: Some(row),
        },
        BuildState::Running | BuildState::Killed => {
            // What cannot be read has no name, and is listed all the same.
            let past = engine.past_build(&id).ok();
            let duration = past.as_ref().map(PastBuild::duration).unwrap_or_default();
            Listed {
                status,
                name: past.as_ref().map(|past| past.name.clone()).unwrap_or_default(),
                created_ms: past.map_or(0, |past| past.created_ms),
                duration: span(duration) + "+",
                row: None,
                id,
            }
        }
    }
}

fn fits(build: &Listed, filter: &BuildFilter) -> bool {
    match filter {
        BuildFilter::Status(status) => build.status.eq_ignore_ascii_case(status),
        BuildFilter::Name(name) => build.name.contains(name.as_str()),
    }
}

fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME_MAX {
        return name.to_owned();
    }
    ['…'].into_iter().chain(name.chars().skip(count - NAME_MAX + 1)).collect()
}

fn object(build: &Listed) -> serde_json::Value {
    let mut object = json!({
        "ref": build.id,
        "name": build.name,
        "status": build.status,
        "created_at": time(build.created_ms),
    });
    if let Some(row) = &build.row {
        let duration_ms = i64::try_from(row.duration_ms).unwrap_or(i64::MAX);
        object["completed_at"] = json!(time(row.created_ms.saturating_add(duration_ms)));
        object["duration_ms"] = json!(row.duration_ms);
        object["total_steps"] = json!(row.steps);
        object["cached_steps"] = json!(row.cached_steps);
        object["image"] = json!(row.image);
    }
    object
}
