//! `kiln graph`.

use std::collections::VecDeque;
use std::fs;

use kiln_cli::args::{BuildArgs, GraphArgs, GraphFormat};
use kiln_cli::graph::{self, Detail, View};
use kiln_cli::render::LineCleaner;
use kiln_engine::history::PastBuild;
use kiln_engine::{Engine, EngineError};
use kiln_solver::{Event, EventKind, Stream};

use super::build::request;
use super::{Failure, Place, history, print, signals};

/// Lines of a step's log that a page shows.
const MAX_LOG_LINES: usize = 500;
/// Lines of all logs together.
const MAX_ALL_LINES: usize = 50_000;
/// Files of a layer that a page shows.
const MAX_FILES: usize = 300;
/// Files of all layers together.
const MAX_ALL_FILES: usize = 50_000;

/// Shows the graph of a Dockerfile, or of a past build.
pub(super) fn graph(place: &Place, arguments: GraphArgs) -> Result<(), Failure> {
    let engine = place.open()?;
    let (format, output) = (arguments.format, arguments.output.clone());
    let (view, details) = match &arguments.build {
        Some(build) => past(&engine, build, format)?,
        None => (planned(&engine, arguments)?, Vec::new()),
    };
    let text = match format {
        GraphFormat::Tree => graph::tree(&view),
        GraphFormat::Dot => graph::dot(&view),
        GraphFormat::Mermaid => graph::mermaid(&view),
        GraphFormat::Json => graph::json(&view),
        GraphFormat::Html => graph::html(&view, &details),
    };
    let Some(path) = output else {
        print(&text);
        return Ok(());
    };
    Ok(fs::write(&path, text).map_err(|source| EngineError::WriteFile {
        what: "graph",
        path,
        source,
    })?)
}

fn planned(engine: &Engine, arguments: GraphArgs) -> Result<View, Failure> {
    // Without a context there is a build; clap sees to it.
    let context = arguments.context.ok_or(Failure::Told(kiln_cli::exit_code::ExitCode::Usage))?;
    let request = request(&BuildArgs::plain(context, arguments.source))?;
    let cancel = signals::cancel_on_signals();
    // What is looked up is nobody's question.
    Ok(View::of_plan(&engine.plan_build(&request, &cancel, &mut |_| {})?))
}

fn past(engine: &Engine, build: &str, format: GraphFormat) -> Result<(View, Vec<Detail>), Failure> {
    let build = engine.find_build(Some(build))?;
    let mut logs = Logs::default();
    let past = engine.replay_build(&build.id, &mut |event| {
        if format == GraphFormat::Html {
            logs.event(&event);
        }
    })?;
    history::warn(&past, &build.state);
    let details = match format {
        GraphFormat::Html => details(engine, &past, logs)?,
        GraphFormat::Tree | GraphFormat::Dot | GraphFormat::Mermaid | GraphFormat::Json => {
            Vec::new()
        }
    };
    Ok((View::of_past(&past), details))
}

fn details(engine: &Engine, past: &PastBuild, mut logs: Logs) -> Result<Vec<Detail>, EngineError> {
    let mut details = Vec::with_capacity(past.tasks.len());
    let mut lines_left = MAX_ALL_LINES;
    let mut files_left = MAX_ALL_FILES;
    for (index, task) in past.tasks.iter().enumerate() {
        let mut detail = logs.take(index, lines_left);
        lines_left -= detail.log.len();
        for layer in task.record.iter().flat_map(|record| &record.layers) {
            let contents = engine.layer_contents(&layer.digest, MAX_FILES.min(files_left))?;
            files_left -= contents.as_ref().map_or(0, |contents| contents.files.len());
            detail.layers.push((layer.digest.to_string(), contents));
        }
        details.push(detail);
    }
    Ok(details)
}

/// The last lines of all tasks.
#[derive(Default)]
struct Logs {
    tasks: Vec<Log>,
}

#[derive(Default)]
struct Log {
    lines: VecDeque<String>,
    left_out: usize,
    stdout: LineCleaner,
    stderr: LineCleaner,
}

impl Logs {
    fn event(&mut self, event: &Event) {
        let EventKind::Output { stream, bytes } = &event.kind else { return };
        let index = event.task.0 as usize;
        if index >= self.tasks.len() {
            self.tasks.resize_with(index + 1, Log::default);
        }
        let log = &mut self.tasks[index];
        let mut lines = Vec::new();
        match stream {
            Stream::Stdout => log.stdout.feed(bytes, &mut lines),
            Stream::Stderr => log.stderr.feed(bytes, &mut lines),
        }
        log.keep(lines);
    }

    /// What a page shows of a task, at most so many lines.
    fn take(&mut self, index: usize, most: usize) -> Detail {
        let Some(log) = self.tasks.get_mut(index) else { return Detail::default() };
        let last: Vec<_> = log.stdout.finish().into_iter().chain(log.stderr.finish()).collect();
        log.keep(last);
        let surplus = log.lines.len().saturating_sub(most);
        log.lines.drain(..surplus);
        let lines = std::mem::take(&mut log.lines);
        Detail { log: lines.into(), log_left_out: log.left_out + surplus, layers: Vec::new() }
    }
}

impl Log {
    fn keep(&mut self, lines: Vec<String>) {
        self.lines.extend(lines);
        let surplus = self.lines.len().saturating_sub(MAX_LOG_LINES);
        self.lines.drain(..surplus);
        self.left_out += surplus;
    }
}
