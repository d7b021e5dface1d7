//! `kiln build --on-error=shell`: a shell where a command failed.

use std::sync::{Mutex, PoisonError};

use kiln_cli::args::OnError;
use kiln_cli::exit_code::ExitCode;
use kiln_cli::render::Holder;
use kiln_engine::{Attendant, ErrorKind, FailedCommand, FailedSandbox};
use kiln_solver::Cancel;

use super::report::{failure, help, note, problem, show};
use super::shell::is_missing;
use super::{Failure, print, terminal};

/// Refuses, before anything is built, what would only turn out when a step fails.
pub(super) fn check(on_error: &OnError) -> Result<(), Failure> {
    if *on_error == OnError::Fail || terminal::is_there() {
        return Ok(());
    }
    note("error", "`--on-error=shell` needs a terminal as standard input and standard output");
    show(&help(&[
        "build without it; `kiln debug shell STEP` then opens a shell with what the failed step found"
            .to_owned(),
    ]));
    Err(Failure::Told(ExitCode::Usage))
}

/// Whoever is at the terminal, if they want to look into commands that fail: into one after the other, until `cancel`
/// fires.
pub(super) fn attendant(on_error: &OnError, view: Holder, cancel: &Cancel) -> Option<Attendant> {
    let OnError::Shell(program) = on_error else { return None };
    let (program, cancel, turn) = (program.clone(), cancel.clone(), Mutex::new(()));
    Some(Attendant::new(move |failed, sandbox| {
        // Nothing is behind the lock that could be broken.
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if !cancel.is_cancelled() {
            let _held = view.hold();
            open(&program, failed, sandbox, &cancel);
        }
    }))
}

/// Opens a shell on the terminal, which is ours alone.
fn open(program: &str, failed: &FailedCommand<'_>, sandbox: FailedSandbox<'_>, cancel: &Cancel) {
    let told = failure(failed.name, failed.place, failed.error);
    print(&format!(
        "\n{told}note: `{program}` runs in this step's own sandbox, as the step left it; changes are not kept, but for \
         those of cache mounts\nnote: `exit` or Ctrl-D leaves it, and the step fails then\n"
    ));
    let command = vec![program.to_owned()];
    let ended = terminal::lend(|visit| sandbox.run(command, &terminal::variables(), visit, cancel));
    match ended.map_err(terminal::unusable).flatten() {
        Ok(exit) if is_missing(exit, program) => print(&help(&[
            "if the image has no shell, name a program of its own: `--on-error=shell=PROGRAM`"
                .to_owned(),
        ])),
        Err(error) if error.kind() != ErrorKind::Interrupted => print(&problem(&error)),
        Ok(_) | Err(_) => {}
    }
}
