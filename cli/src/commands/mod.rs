//! What each verb does: arguments to the engine's terms, results to what people and scripts read.

mod ask;
mod attend;
mod build;
mod debug;
mod diff;
mod durable;
mod explain;
mod graph;
mod history;
mod images;
mod report;
mod sandbox;
mod shell;
mod signals;
mod table;
mod terminal;
mod upkeep;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kiln_cli::args::{
    Builder, BuilderArgs, Command, DebugArgs, Debugged, LowArgs, System, SystemArgs,
};
use kiln_cli::exit_code::ExitCode;
use kiln_cli::render::in_words;
use kiln_engine::{Engine, EngineConfig, EngineError, Settings};
use kiln_frontend::visible;

pub(crate) use durable::main as durable_main;
pub(crate) use report::{fail, note};

/// A verb that ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine failed; it is told by [`fail`].
    Engine(EngineError),
    /// All is told; this remains to be returned.
    Told(ExitCode),
    /// A command that Kiln ran for somebody ended with this code.
    Exit(u8),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// Does what was asked for.
pub(crate) fn run(arguments: LowArgs, is_root: bool) -> u8 {
    let place = Place {
        root: arguments.root.unwrap_or_else(|| default_root(is_root)),
        config: arguments.config,
    };
    let result = match arguments.command {
        Command::Build(build) => build::build(&place, *build),
        Command::Explain(explain) => explain::explain(&place, &explain),
        Command::Images(images) => images::images(&place, &images),
        Command::Inspect(inspect) => images::inspect(&place, &inspect),
        Command::Load(load) => images::load(&place, &load),
        Command::Save(save) => images::save(&place, save),
        Command::Rmi(rmi) => images::rmi(&place, &rmi),
        Command::Graph(arguments) => graph::graph(&place, *arguments),
        Command::Diff(arguments) => diff::diff(&place, &arguments),
        Command::History(arguments) => history::history(&place, arguments),
        Command::Builder(BuilderArgs { what: Builder::Du(du) }) => upkeep::du(&place, &du),
        Command::Builder(BuilderArgs { what: Builder::Prune(prune) }) => {
            upkeep::prune(&place, &prune)
        }
        Command::System(SystemArgs { what: System::Df(df) }) => upkeep::df(&place, &df),
        Command::System(SystemArgs { what: System::Check(check) }) => upkeep::check(&place, &check),
        Command::Debug(DebugArgs { what: Debugged::Plan(plan) }) => debug::plan(&place, &plan),
        Command::Debug(DebugArgs { what: Debugged::Shell(shell) }) => shell::shell(&place, &shell),
    };
    match result {
        Ok(()) => match UNWRITTEN.get() {
            None => ExitCode::Success.code(),
            Some(error) => {
                note(
                    "error",
                    &format!(
                        "could not write to standard output: {}",
                        in_words(&error.to_string())
                    ),
                );
                ExitCode::Store.code()
            }
        },
        Err(Failure::Told(code)) => code.code(),
        Err(Failure::Exit(code)) => code,
        Err(Failure::Engine(error)) => fail(&error).code(),
    }
}

/// Where the store and the configuration are.
pub(crate) struct Place {
    root: PathBuf,
    config: Option<PathBuf>,
}

impl Place {
    /// Opens the store; tells if its database had to be made anew.
    fn open(&self) -> Result<Engine, EngineError> {
        let engine = Engine::open(EngineConfig {
            root: self.root.clone(),
            settings: Settings::load(self.config.as_deref())?,
            helper: PathBuf::from("/proc/self/exe"),
        })?;
        if let Some(rebuilt) = engine.rebuilt() {
            report::rebuilt(rebuilt);
        }
        Ok(engine)
    }
}

/// `/var/lib/kiln` for root, else below the account's data directory.
fn default_root(is_root: bool) -> PathBuf {
    if is_root {
        return PathBuf::from("/var/lib/kiln");
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    match (variable("XDG_DATA_HOME"), variable("HOME")) {
        (Some(data), _) => Path::new(&data).join("kiln"),
        (None, Some(home)) => Path::new(&home).join(".local/share/kiln"),
        (None, None) => PathBuf::from(".kiln"),
    }
}

/// Why something was not printed; told when the verb is done.
static UNWRITTEN: OnceLock<io::Error> = OnceLock::new();

/// Prints a result. A reader that went away has what it wanted; if it cannot be written for another reason, the command
/// goes on and does not succeed.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    match out.write_all(visible(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => drop(UNWRITTEN.set(error)),
        Ok(()) | Err(_) => {}
    }
}
