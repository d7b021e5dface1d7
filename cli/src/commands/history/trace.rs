//! `kiln history trace`.

use std::fs;
use std::path::Path;

use kiln_cli::args::{HistoryTraceArgs, TraceFormat};
use kiln_cli::trace::chrome;
use kiln_engine::history::otlp;
use kiln_engine::{Engine, EngineError};

use super::super::report::note;
use super::super::{Failure, print};
use super::warn;

/// Writes a build's trace, or sends it.
pub(super) fn trace(engine: &Engine, arguments: &HistoryTraceArgs) -> Result<(), Failure> {
    let build = engine.find_build(arguments.build.as_deref())?;
    let past = engine.past_build(&build.id)?;
    warn(&past, &build.state);
    if let Some(endpoint) = &arguments.otlp {
        engine.send_trace(&past, endpoint)?;
        note("note", &format!("the trace of the build {} was sent", past.id));
        return Ok(());
    }
    let text = match arguments.format {
        TraceFormat::Chrome => chrome(&past).into_bytes(),
        TraceFormat::Otlp => [otlp(&past)?, b"\n".to_vec()].concat(),
    };
    match &arguments.output {
        Some(path) => write(path, &text),
        None => {
            print(&String::from_utf8_lossy(&text));
            Ok(())
        }
    }
}

fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    Ok(fs::write(path, text).map_err(|source| EngineError::WriteFile {
        what: "trace",
        path: path.to_owned(),
        source,
    })?)
}
