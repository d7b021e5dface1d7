//! `kiln build --call` and `--check`: questions about a Dockerfile.

use std::time::Instant;

use kiln_cli::answers;
use kiln_cli::args::{Call, CallFormat, CallMethod, ProgressMode};
use kiln_cli::exit_code::ExitCode;
use kiln_cli::render::on_stderr;
use kiln_engine::{Answer, BuildRequest, Engine, Question};

use super::report::{note, show, unseen_image};
use super::{Failure, durable, print};

/// Asks, and prints the answer on standard output.
pub(super) fn ask(
    engine: &Engine,
    call: Call,
    request: &BuildRequest,
    mode: ProgressMode,
) -> Result<(), Failure> {
    let question = match call.method {
        CallMethod::Check | CallMethod::Build => Question::Check,
        CallMethod::Outline => Question::Outline,
        CallMethod::Targets => Question::Targets,
    };
    let start = Instant::now();
    let display = on_stderr(mode, move || start.elapsed());
    let answer = engine.ask(question, request, &mut |event| display.show(event));
    // A view that cannot be shown fails nothing.
    let _unseen = display.finish();
    durable::in_background(engine);
    let answer = answer?;
    print(&answers::render(&answer, call.format));
    if let (Answer::Checked { unseen, .. }, CallFormat::Text) = (&answer, call.format) {
        unseen.iter().for_each(|image| show(&unseen_image(image)));
        if !unseen.is_empty() {
            note("note", "no remark depends on what could not be looked at");
        }
    }
    if answers::is_good(&answer) || call.ignore_status {
        return Ok(());
    }
    Err(Failure::Told(ExitCode::Dockerfile))
}
