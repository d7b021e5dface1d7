//! A past build as text, in the manner of `docker buildx history inspect`.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kiln_cli::render::state_name;
use kiln_engine::history::{
    BuildState, BuildStatus, PastBuild, PastTask, RecordedError, RecordedFault, TaskState,
};
use kiln_frontend::steers;

use super::super::table::{size, table};

/// Characters of a step's name that are shown.
const STEP_MAX: usize = 76;
/// Lines of an instruction that are shown.
const SOURCE_MAX: usize = 20;

/// All that people want to know of a build.
pub(super) fn build(past: &PastBuild, state: &BuildState) -> String {
    let parts = [
        head(past),
        contexts(past),
        course(past, state),
        arguments(past),
        steps(past),
        critical_path(past),
        past.end.as_ref().and_then(|end| end.error.as_ref()).map(error).unwrap_or_default(),
        remarks(past),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn head(past: &PastBuild) -> String {
    let asked = &past.asked;
    let lines = [
        ("Name", past.name.clone()),
        ("Ref", past.id.clone()),
        ("Context", asked.context.clone()),
        ("Dockerfile", asked.dockerfile.clone()),
        ("Target", asked.target.clone().unwrap_or_default()),
        ("Platforms", asked.platforms.join(", ")),
        ("Tags", asked.tags.join(", ")),
        ("Secrets", asked.secrets.join(", ")),
        ("SSH", asked.agents.join(", ")),
    ];
    fields(&lines)
}

fn course(past: &PastBuild, state: &BuildState) -> String {
    let (steps, completed, cached) = past.counts();
    let percent = (cached * 100).checked_div(steps).unwrap_or(0);
    let image = past.end.as_ref().and_then(|end| end.image.as_ref());
    let lines = [
        ("Started", local_time(past.created_ms)),
        ("Duration", span(past.duration())),
        ("Status", status(state).to_owned()),
        ("Build Steps", format!("{completed}/{steps} ({percent}% cached)")),
        ("Image", image.map(|image| image.manifest.clone()).unwrap_or_default()),
        ("No Cache", if past.asked.how.no_cache { "true".to_owned() } else { String::new() }),
        ("No Cache Filter", past.asked.how.no_cache_filter.join(", ")),
        ("Kiln", past.kiln.clone()),
    ];
    fields(&lines)
}

/// `Name:  value` for all that have one.
fn fields(lines: &[(&str, String)]) -> String {
    let shown: Vec<_> = lines.iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let line = |(name, value): &&(&str, String)| {
        format!("{:<width$}  {}\n", format!("{name}:"), clean(value))
    };
    shown.iter().map(line).collect()
}

fn contexts(past: &PastBuild) -> String {
    pairs("NAMED CONTEXT", past.asked.contexts.iter().map(|(name, value)| (name, value.as_str())))
}

fn arguments(past: &PastBuild) -> String {
    let shown = |(name, value): (&'_ String, &'_ Option<String>)| {
        (name.clone(), value.clone().unwrap_or_else(|| "(not recorded)".to_owned()))
    };
    let all: Vec<_> = past.asked.build_args.iter().map(shown).collect();
    let mut text = pairs("BUILD ARG", all.iter().map(|(name, value)| (name, value.as_str())));
    let labels = past.asked.labels.iter().map(|(name, value)| (name, value.as_str()));
    text.push_str(&pairs("LABEL", labels));
    text
}

fn pairs<'a>(head: &str, pairs: impl Iterator<Item = (&'a String, &'a str)>) -> String {
    let mut rows: Vec<[String; 2]> =
        pairs.map(|(name, value)| [clean(name), clean(value)]).collect();
    if rows.is_empty() {
        return String::new();
    }
    rows.insert(0, [head.to_owned(), "VALUE".to_owned()]);
    table(&rows)
}

fn steps(past: &PastBuild) -> String {
    let mut rows = vec![["STEP", "STATUS", "DURATION", "SIZE"].map(str::to_owned)];
    for task in past.tasks.iter().filter(|task| !task.name.is_empty()) {
        let record = task.record.as_ref();
        rows.push([
            shortened(&clean(&task.name), STEP_MAX),
            state_name(task.state).to_uppercase(),
            task.duration().map(span).unwrap_or_default(),
            record.map(|record| size(record.size_bytes)).unwrap_or_default(),
        ]);
    }
    if rows.len() > 1 { table(&rows) } else { String::new() }
}

fn critical_path(past: &PastBuild) -> String {
    let path = past.critical_path();
    let took = |index: &usize| past.tasks[*index].duration().unwrap_or_default();
    let whole: Duration = path.iter().map(took).sum();
    if whole.is_zero() {
        return String::new();
    }
    let mut rows =
        vec![["CRITICAL PATH".to_owned(), format!("{} of {}", span(whole), span(past.duration()))]];
    rows.extend(path.iter().map(|index| {
        let task: &PastTask = &past.tasks[*index];
        [shortened(&clean(&task.name), STEP_MAX), span(took(index))]
    }));
    table(&rows) + &saved(past)
}

/// How long the steps once took that were taken from the cache.
fn saved(past: &PastBuild) -> String {
    let cached = past.tasks.iter().filter(|task| task.state == TaskState::Cached);
    let saved_ms: u64 = cached.flat_map(|task| &task.record).map(|record| record.duration_ms).sum();
    if saved_ms == 0 {
        return String::new();
    }
    format!("The cache saved {} of work.\n", span(Duration::from_millis(saved_ms)))
}

fn error(error: &RecordedError) -> String {
    let mut text = format!("Error: {}\n", clean(&error.message));
    for fault in &error.faults {
        text.push('\n');
        text.push_str(&placed(fault));
    }
    text
}

fn remarks(past: &PastBuild) -> String {
    let remarks = past.end.as_ref().map(|end| end.remarks.as_slice()).unwrap_or_default();
    remarks.iter().map(placed).collect::<Vec<_>>().join("\n")
}

/// A fault with its lines of the Dockerfile.
fn placed(fault: &RecordedFault) -> String {
    let code = if fault.code.is_empty() { String::new() } else { format!("[{}] ", fault.code) };
    let mut text = format!("{code}{}\n", clean(&fault.message));
    if fault.at > 0 {
        let last = fault.at.saturating_add(fault.source.lines().count());
        let width = last.to_string().len();
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{:width$}--> {}:{}", "", clean(&fault.file), fault.at);
        for (number, line) in (fault.at..).zip(fault.source.lines().take(SOURCE_MAX)) {
            let _written = writeln!(text, "{number:>width$} | {}", clean(line));
        }
    }
    for line in &fault.output {
        let _written = writeln!(text, "      {}", clean(line));
    }
    text
}

/// How a build stands, as buildx has it where it has the word.
pub(super) const fn status(state: &BuildState) -> &'static str {
    match state {
        BuildState::Ended(row) => match row.status {
            BuildStatus::Completed => "Completed",
            BuildStatus::Failed => "Error",
            BuildStatus::Cancelled => "Canceled",
        },
        BuildState::Running => "Running",
        BuildState::Killed => "Killed",
    }
}

/// A duration as buildx has it: `0.3s`, `1m 12s`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", duration.as_secs_f64()),
        60..3600 => format!("{}m {:>2}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:>2}m {:>2}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

fn local_time(ms: i64) -> String {
    let zoned = Timestamp::from_millisecond(ms).map(|time| time.to_zoned(TimeZone::system()));
    zoned.map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// On one line, and without what could steer a terminal: a record's text may be anybody's.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_buildx() {
        for (ms, shown) in [
            (0, "0.0s"),
            (340, "0.3s"),
            (59_940, "59.9s"),
            (61_000, "1m  1s"),
            (3_725_000, "1h  2m  5s"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), shown);
        }
    }

    #[test]
    fn faults_have_their_lines() {
        let fault = RecordedFault {
            message: "`RUN a` failed\u{1b}[1m".to_owned(),
            file: "Dockerfile".to_owned(),
            at: 9,
            source: "RUN a \\\n  b".to_owned(),
            output: vec!["why".to_owned()],
            ..RecordedFault::default()
        };
        let expected =
            "`RUN a` failed [1m\n  --> Dockerfile:9\n 9 | RUN a \\\n10 |   b\n      why\n";
        assert_eq!(placed(&fault), expected);
    }
}
