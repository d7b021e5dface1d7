//! `kiln history`: lists and shows the builds that are recorded.

mod inspect;
mod json;
mod list;
mod logs;
mod trace;

use std::fs::File;
use std::io::{self, BufWriter, Read};

use kiln_cli::args::{
    History, HistoryArgs, HistoryExportArgs, HistoryImportArgs, HistoryInspectArgs, HistoryRmArgs,
    InspectFormat,
};
use kiln_cli::exit_code::ExitCode;
use kiln_engine::history::{BuildState, Extent, PastBuild};
use kiln_engine::{Engine, EngineError};

use super::report::note;
use super::{Failure, Place, print};

/// Does what is asked of the history.
pub(super) fn history(place: &Place, arguments: HistoryArgs) -> Result<(), Failure> {
    let engine = place.open()?;
    match arguments.what {
        History::Ls(ls) => list::ls(&engine, &ls),
        History::Inspect(inspect) => show(&engine, &inspect),
        History::Logs(logs) => logs::logs(&engine, &logs),
        History::Trace(trace) => trace::trace(&engine, &trace),
        History::Rm(rm) => remove(&engine, &rm),
        History::Export(export) => write(&engine, &export),
        History::Import(import) => read(&engine, &import),
    }
}

fn show(engine: &Engine, arguments: &HistoryInspectArgs) -> Result<(), Failure> {
    let build = engine.find_build(arguments.build.as_deref())?;
    let past = engine.past_build(&build.id)?;
    match arguments.format {
        InspectFormat::Json => print(&format!("{:#}\n", json::build(&past, &build.state))),
        InspectFormat::Pretty => print(&inspect::build(&past, &build.state)),
    }
    warn(&past, &build.state);
    Ok(())
}

/// Tells on standard error what a record lacks.
pub(in crate::commands) fn warn(past: &PastBuild, state: &BuildState) {
    match (&past.extent, state) {
        (Extent::Whole, _) => {}
        (Extent::Cut, BuildState::Running) => note("note", "the build is running"),
        (Extent::Cut, _) => {
            note("warning", "the build was killed: the end of its record is missing")
        }
        (Extent::Damaged { line, reason }, _) => note(
            "warning",
            &format!("the record is damaged, and nothing is known after its line {line}: {reason}"),
        ),
    }
    let left_out = past.end.as_ref().map_or(0, |end| end.left_out_bytes);
    if left_out > 0 {
        note("warning", &format!("{left_out} bytes of output were not recorded"));
    }
}

fn remove(engine: &Engine, arguments: &HistoryRmArgs) -> Result<(), Failure> {
    let builds = if arguments.all {
        let builds = engine.builds()?.into_iter();
        builds.filter(|build| build.state != BuildState::Running).collect()
    } else {
        // All are looked up first: what `^1` means changes with each that goes.
        let found = arguments.builds.iter().map(|build| engine.find_build(Some(build)));
        found.collect::<Result<Vec<_>, EngineError>>()?
    };
    let mut running = false;
    for build in builds {
        if engine.remove_build(&build.id)? {
            print(&format!("{}\n", build.id));
        } else {
            note("error", &format!("the build `{}` is running", build.id));
            running = true;
        }
    }
    if running { Err(Failure::Told(ExitCode::Usage)) } else { Ok(()) }
}

fn write(engine: &Engine, arguments: &HistoryExportArgs) -> Result<(), Failure> {
    let ids: Vec<String> = if arguments.all {
        let ended = engine.builds()?.into_iter().filter(|build| build.state != BuildState::Running);
        ended.map(|build| build.id).collect()
    } else if arguments.builds.is_empty() {
        vec![engine.find_build(None)?.id]
    } else {
        let find = |build: &String| engine.find_build(Some(build)).map(|build| build.id);
        arguments.builds.iter().map(find).collect::<Result<_, EngineError>>()?
    };
    match &arguments.output {
        None => Ok(engine.export_builds(&ids, io::stdout().lock())?),
        Some(path) => {
            let file = File::create(path).map_err(|source| EngineError::WriteFile {
                what: "archive of builds",
                path: path.clone(),
                source,
            })?;
            Ok(engine.export_builds(&ids, BufWriter::new(file))?)
        }
    }
}

fn read(engine: &Engine, arguments: &HistoryImportArgs) -> Result<(), Failure> {
    let archive: Box<dyn Read> = match &arguments.file {
        None => Box::new(io::stdin().lock()),
        Some(path) => Box::new(File::open(path).map_err(|source| EngineError::ReadFile {
            what: "archive of builds",
            path: path.clone(),
            source,
        })?),
    };
    for id in engine.import_builds(archive)? {
        print(&format!("Imported: {id}\n"));
    }
    Ok(())
}
