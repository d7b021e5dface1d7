//! Ctrl-C and its like: the first one stops the build, a second one stops waiting for that.
//!
//! Nobody waits for long: what does not heed the stop, such as a registry's answer, is left as it is. The
//! sandboxes end with the process, and the store is whole at any moment.

use std::thread;
use std::time::Duration;

use kiln_cli::exit_code::ExitCode;
use kiln_solver::{Cancel, Canceller};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{report::note, terminal};

/// How long a build may take to stop.
const GRACE: Duration = Duration::from_secs(1);

/// A token that fires when the process is told to stop.
pub(crate) fn cancel_on_signals() -> Cancel {
    let (canceller, cancel) = Cancel::new();
    match Signals::new([SIGINT, SIGTERM, SIGHUP]) {
        Ok(signals) => {
            thread::spawn(move || watch(signals, canceller));
            cancel
        }
        // The signals then end the process by themselves, and the sandboxes with it.
        Err(_) => Cancel::never(),
    }
}

fn watch(mut signals: Signals, canceller: Canceller) {
    let mut pending = signals.forever();
    if pending.next().is_some() {
        canceller.cancel();
        thread::spawn(|| {
            thread::sleep(GRACE);
            stop_now()
        });
    }
    if pending.next().is_some() {
        stop_now();
    }
}

#[expect(clippy::exit, reason = "whoever stopped the build does not want to wait")]
fn stop_now() -> ! {
    terminal::restore();
    note("error", "interrupted");
    std::process::exit(ExitCode::Interrupted.code().into())
}
