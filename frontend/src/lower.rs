//! From one instruction to its effect.
//!
//! Each instruction is a pure function of the instruction and a read-only [`Scope`]. Words are evaluated
//! against the environment before the instruction, also where it sets several variables.

mod command;
mod copy;
mod device;
mod expose;
mod healthcheck;
mod mount;
mod mount_options;
mod remote;
mod run;
mod settings;
mod stop_signal;
mod variables;
mod workdir;

pub(crate) use run::PROXY_ARGUMENTS;

use kiln_grammar::{Instruction, InstructionKind, Span};

use crate::environment::Environment;
use crate::stage::{Effect, StageState};
use crate::stages::Stages;
use crate::{BuildOptions, Diagnostic, MAIN_CONTEXT, Rule};

/// What an instruction may look at.
#[derive(Debug)]
pub(crate) struct Scope<'s> {
    /// The stage so far.
    pub(crate) state: &'s StageState,
    /// What the build was told.
    pub(crate) options: &'s BuildOptions,
    /// The `ARG`s above the first stage.
    pub(crate) globals: &'s Environment,
    /// All stages.
    pub(crate) stages: &'s Stages<'s>,
    /// The index of the instruction's stage.
    pub(crate) index: usize,
}

impl Scope<'_> {
    /// The patterns of a directory's ignore file.
    fn ignore_of(&self, context: &str) -> Vec<String> {
        match self.options.contexts.get(context) {
            Some(named) => named.ignore(),
            None if context == MAIN_CONTEXT => self.options.ignore.clone(),
            None => Vec::new(),
        }
    }
}

/// Lowers any instruction but `FROM`.
pub(crate) fn lower(
    instruction: &Instruction,
    scope: &Scope<'_>,
) -> Result<Effect, Vec<Diagnostic>> {
    let one = |result: Result<Effect, Diagnostic>| result.map_err(|error| vec![error]);
    match &instruction.kind {
        InstructionKind::From(_) => one(Err(Diagnostic::error(
            Rule::InvalidTrigger,
            instruction.span,
            "a trigger cannot begin a stage",
        ))),
        InstructionKind::Run(run) => run::lower(run, instruction, scope),
        InstructionKind::Cmd(line) => Ok(command::lower_cmd(line, scope)),
        InstructionKind::Entrypoint(line) => Ok(command::lower_entrypoint(line, scope)),
        InstructionKind::Shell(shell) => Ok(command::lower_shell(shell)),
        InstructionKind::Copy(copy) => copy::lower_copy(copy, scope),
        InstructionKind::Add(add) => copy::lower_add(add, scope),
        InstructionKind::Env(pairs) => variables::lower_env(pairs, scope),
        InstructionKind::Label(pairs) => variables::lower_label(pairs, scope),
        InstructionKind::Arg(arg) => one(variables::lower_arg(arg, scope)),
        InstructionKind::Expose(expose) => expose::lower(expose, scope),
        InstructionKind::User(user) => one(settings::lower_user(user, scope)),
        InstructionKind::Workdir(workdir) => one(workdir::lower(workdir, scope)),
        InstructionKind::Volume(volume) => settings::lower_volume(volume, scope),
        InstructionKind::Stopsignal(signal) => one(stop_signal::lower(signal, scope)),
        InstructionKind::Healthcheck(check) => healthcheck::lower(check),
        InstructionKind::Onbuild(onbuild) => Ok(settings::lower_onbuild(onbuild)),
        InstructionKind::Maintainer(maintainer) => Ok(settings::lower_maintainer(maintainer)),
    }
}

/// Says that something correct cannot be done yet.
pub(crate) fn not_supported_yet(what: &str, span: Span) -> Diagnostic {
    Diagnostic::error(Rule::NotSupportedYet, span, format!("{what} is not supported yet"))
}
