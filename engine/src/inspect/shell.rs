//! A shell, or another command, with the filesystem before or after a step.

use kiln_cache::Snapshot;
use kiln_executor::{Attachment, Exit, Input};
use kiln_frontend::{Entitlement, RunOptions};
use kiln_ir::{NetworkMode, SecurityMode};
use kiln_solver::Cancel;

use super::Moment;
use crate::build::Supplies;
use crate::history::{PastBuild, Recipe};
use crate::runner::{Surroundings, Value};
use crate::{Engine, EngineError};

/// What to run, and what it finds around it.
#[derive(Debug, Clone)]
pub struct ShellRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables besides the step's, or in their place.
    pub env: Vec<(String, String)>,
    /// Before or after the step; nothing for after it, or before a step that did not end well.
    pub moment: Option<Moment>,
    /// What the command is given. Secrets and agents that the step mounts and that are not here are not there.
    pub supplies: Supplies,
    /// What a step has beyond its sandbox is there only where it is allowed: the record of a build may be a
    /// stranger's.
    pub allowed: RunOptions,
}

/// Whoever attends a command.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// How the command is attached.
    pub input: Input,
    /// To what.
    pub attachment: Attachment<'a>,
}

impl Engine {
    /// Runs a command in a sandbox like a step's, by the index of its task, on the filesystem before or after it.
    /// Its variables, user and directory are the step's, or those of the nearest command below a step that is none.
    /// What it writes is thrown away, but for what it writes to cache mounts.
    ///
    /// # Errors
    /// When the filesystem is not there any more, the sandbox cannot be made, or `cancel` fires.
    pub fn shell(
        &self,
        (build, index): (&PastBuild, usize),
        request: &ShellRequest,
        visit: &Visit<'_>,
        cancel: &Cancel,
    ) -> Result<Exit, EngineError> {
        let state = self.wanted_state(build, index, request.moment)?;
        let recipe = recipe(build, index);
        let unclear = || EngineError::NoState {
            when: Moment::Before.word(),
            step: build.tasks[index].name.clone(),
            reason: "the record of its command makes no sense".to_owned(),
        };
        let task = &build.tasks[index];
        let mut inputs = vec![Value::of(Snapshot::default()); task.inputs.len().max(1)];
        for input in recipe.inputs() {
            let from = *task.inputs.get(input).ok_or_else(unclear)?;
            inputs[input] = Value::of(self.state_of(build, from, Moment::After)?);
        }
        inputs[0] = Value::of(state);
        let mut op = recipe.command(request.command.clone()).ok_or_else(unclear)?;
        op.env.extend(request.env.iter().cloned());
        let allows = |what: Entitlement| request.allowed.allows(&what);
        if !allows(Entitlement::SecurityInsecure) {
            op.security = SecurityMode::Sandbox;
        }
        if op.network == NetworkMode::Host && !allows(Entitlement::NetworkHost) {
            op.network = request.allowed.network;
        }
        op.devices.clear();
        let surroundings = Surroundings {
            engine: self,
            supplies: &request.supplies,
            run: &request.allowed,
            transfer: None,
        };
        surroundings.attend(&op, &inputs, (visit.input, &visit.attachment), cancel)
    }

    fn wanted_state(
        &self,
        build: &PastBuild,
        index: usize,
        moment: Option<Moment>,
    ) -> Result<Snapshot, EngineError> {
        let moment = moment.unwrap_or(match &build.tasks[index].error {
            Some(_) => Moment::Before,
            None => Moment::After,
        });
        self.state_of(build, index, moment)
    }
}

/// How a step's command is run; of a step that is none, what is known of the nearest one that it lies on.
fn recipe(build: &PastBuild, index: usize) -> Recipe {
    let mut at = Some(index);
    while let Some(index_below) = at {
        let task = &build.tasks[index_below];
        if let Some(recipe) = task.origin.as_ref().and_then(|origin| origin.run.as_deref()) {
            return if index_below == index { recipe.clone() } else { recipe.bare() };
        }
        // Inputs come before what reads them, so this ends.
        at = task.inputs.first().copied();
    }
    Recipe::default()
}
