//! The kiln command: becomes what it was started as, reads its arguments, and hands over.
//!
//! The order matters: the sandbox helper must not start a thread, and the user namespace must be entered
//! before any thread exists.

mod commands;

use std::io::Write as _;
use std::process::ExitCode;

use kiln_cli::args::{self, LowArgs};
use kiln_engine::userns::Entered;

#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kiln_engine::helper_main();
    if commands::durable_main() {
        return ExitCode::SUCCESS;
    }
    let arguments = match LowArgs::parse_args(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to do when even the message cannot be written.
            let _unwritten = error.print();
            return args::exit_code(&error).into();
        }
    };
    let entered = match kiln_engine::userns::enter() {
        Ok(entered) => entered,
        Err(error) => return commands::fail(&error.into()).into(),
    };
    if let Entered::Single { reason } = &entered {
        commands::note("warning", reason);
    }
    start_log();
    let code = commands::run(arguments, entered == Entered::AlreadyRoot);
    // A reader that went away has what it wanted.
    let _unread = std::io::stdout().lock().flush();
    // All that outlasts the process is written and closed by now. To give its memory back piece by piece, as at a
    // usual end, would take a tenth of a build that has nothing to do.
    signal_hook::low_level::exit(code.into())
}

/// Kiln's own diagnostics, for whoever looks for a defect: `KILN_LOG=debug`.
fn start_log() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("KILN_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
