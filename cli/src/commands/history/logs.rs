//! `kiln history logs`: a build once more, as it was shown.

use std::io;
use std::time::Duration;

use kiln_cli::args::{HistoryLogsArgs, ProgressMode};
use kiln_cli::render::{Plain, Quiet, RawJson, Renderer, Tty};
use kiln_engine::Engine;

use super::super::Failure;
use super::warn;

/// Time between two drawings, as if the build ran now.
const INTERVAL: Duration = Duration::from_millis(100);

/// Prints what a build wrote.
pub(super) fn logs(engine: &Engine, arguments: &HistoryLogsArgs) -> Result<(), Failure> {
    let build = engine.find_build(arguments.build.as_deref())?;
    let mut renderer = on_stdout(arguments.progress);
    let mut drawn = Duration::ZERO;
    // Whoever reads may go away; the record is read on, which does no harm.
    let mut shown: io::Result<()> = Ok(());
    let past = engine.replay_build(&build.id, &mut |event| {
        if shown.is_ok() {
            if event.at >= drawn + INTERVAL {
                drawn = event.at;
                shown = renderer.refresh(event.at);
            }
            shown = std::mem::replace(&mut shown, Ok(())).and_then(|()| renderer.event(&event));
        }
    })?;
    // The same holds for the end.
    let _unread = shown.and_then(|()| renderer.finish(past.duration()));
    warn(&past, &build.state);
    Ok(())
}

fn on_stdout(mode: ProgressMode) -> Box<dyn Renderer> {
    let terminal = console::Term::stdout();
    match mode {
        ProgressMode::Quiet => Box::new(Quiet),
        ProgressMode::Rawjson => Box::new(RawJson::new(io::stdout())),
        ProgressMode::Tty if terminal.is_term() => {
            Box::new(Tty::new(Box::new(terminal), console::colors_enabled()))
        }
        ProgressMode::Plain | ProgressMode::Auto | ProgressMode::Tty => {
            Box::new(Plain::new(io::stdout()))
        }
    }
}
