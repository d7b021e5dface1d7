//! Ctrl-C and its like: the first one stops the build, a second one stops waiting for that.

use std::thread;

use kiln_cli::exit_code::ExitCode;
use kiln_solver::{Cancel, Canceller};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

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
    }
    if pending.next().is_some() {
        stop_now();
    }
}

#[expect(clippy::exit, reason = "the user does not want to wait for anything any more")]
fn stop_now() -> ! {
    std::process::exit(ExitCode::Interrupted.code().into())
}
