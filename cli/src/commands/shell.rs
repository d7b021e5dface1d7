//! `kiln debug shell`.

use kiln_cli::args::{Network, SHELL, ShellArgs};
use kiln_cli::exit_code::ExitCode;
use kiln_engine::history::PastBuild;
use kiln_engine::{Exit, Moment, ShellRequest};

use super::report::note;
use super::{Failure, Place, sandbox, signals, terminal};

/// What shells add to a signal's number.
const SIGNALLED: i32 = 128;
/// What shells answer for a program that does not exist.
const NOT_FOUND: i32 = 127;

/// Runs a shell, or another command, before or after a step.
pub(super) fn shell(place: &Place, arguments: &ShellArgs) -> Result<(), Failure> {
    let request = request(arguments)?;
    let engine = place.open()?;
    let (build, step) = arguments.reference();
    let build = engine.past_build(&engine.find_build(build)?.id)?;
    let index = build.find_step(step)?;
    tell_withheld(&build, index, &request);
    let cancel = signals::cancel_on_signals();
    let lent = terminal::lend(|visit| engine.shell((&build, index), &request, visit, &cancel));
    let exit = lent.map_err(terminal::unusable)??;
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => SIGNALLED + signal,
    };
    if request.command.len() == 1 && is_missing(exit, &request.command[0]) {
        note("help", "if the image has no shell, name a program of its own after `--`");
    }
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Exit(code)),
        Err(_) => Err(Failure::Told(ExitCode::StepFailed)),
    }
}

/// Whether a program that was run may not have been there, and is not one that somebody named.
pub(super) fn is_missing(exit: Exit, program: &str) -> bool {
    exit == Exit::Code(NOT_FOUND) && program == SHELL
}

fn request(arguments: &ShellArgs) -> Result<ShellRequest, Failure> {
    let moment = match (arguments.before, arguments.after) {
        (true, _) => Some(Moment::Before),
        (_, true) => Some(Moment::After),
        (false, false) => None,
    };
    let mut env = terminal::variables();
    env.extend(arguments.env.iter().cloned());
    Ok(ShellRequest {
        command: arguments.command(),
        env,
        moment,
        supplies: sandbox::supplies(&arguments.secrets, &arguments.sandbox)?,
        allowed: sandbox::run_options(Network::Default, &arguments.sandbox),
    })
}

/// Says which variables of the step the record does not have the values of.
fn tell_withheld(build: &PastBuild, index: usize, request: &ShellRequest) {
    let origin = build.tasks[index].origin.as_ref();
    let Some(recipe) = origin.and_then(|origin| origin.run.as_deref()) else { return };
    let given = |name: &&str| request.env.iter().any(|(given, _)| given == name);
    let names: Vec<String> =
        recipe.withheld().filter(|name| !given(name)).map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        note("note", &format!("not recorded, since they may be secret: {names}; use `--env`"));
    }
}
