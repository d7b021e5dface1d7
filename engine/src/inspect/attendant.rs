//! Looking into a command that failed while its build waits.

use std::fmt;
use std::sync::Arc;

use kiln_executor::{Cancel as RunCancel, Exit, RunSpec};
use kiln_solver::Cancel;

use super::Visit;
use crate::EngineError;
use crate::error::Place;

type Attend = dyn Fn(&FailedCommand<'_>, FailedSandbox<'_>) + Send + Sync;

/// Whoever looks into commands that fail.
#[derive(Clone)]
pub struct Attendant(Arc<Attend>);

impl Attendant {
    /// Has `attend` called for each command that fails, before anything of its sandbox is gone. Several may fail at the
    /// same time, each on a thread of its own. When it returns the step fails as it would have; the other steps go on
    /// meanwhile.
    #[must_use]
    pub fn new(
        attend: impl Fn(&FailedCommand<'_>, FailedSandbox<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(attend))
    }

    pub(crate) fn attend(&self, failed: &FailedCommand<'_>, sandbox: FailedSandbox<'_>) {
        (self.0)(failed, sandbox);
    }
}

impl fmt::Debug for Attendant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attendant").finish()
    }
}

/// A command that failed.
#[derive(Debug, Clone, Copy)]
pub struct FailedCommand<'a> {
    /// Such as `[build 2/5] RUN make`.
    pub name: &'a str,
    /// Where it is in the Dockerfile, if it is.
    pub place: Option<&'a Place>,
    /// How it failed: an [`EngineError::Command`].
    pub error: &'a EngineError,
}

/// The sandbox of a command that failed: with all that the command wrote and mounted, but none of its processes.
#[derive(Debug)]
pub struct FailedSandbox<'a> {
    sandbox: kiln_executor::FailedSandbox<'a>,
    spec: &'a RunSpec,
}

impl<'a> FailedSandbox<'a> {
    pub(crate) fn new(sandbox: kiln_executor::FailedSandbox<'a>, spec: &'a RunSpec) -> Self {
        Self { sandbox, spec }
    }

    /// Runs one more command in it, as the one that failed was run, with these variables besides.
    ///
    /// # Errors
    /// When it cannot be attached, or `cancel` fires.
    pub fn run(
        self,
        command: Vec<String>,
        env: &[(String, String)],
        visit: &Visit<'_>,
        cancel: &Cancel,
    ) -> Result<Exit, EngineError> {
        let mut spec = self.spec.clone();
        spec.process.args = command;
        spec.process.env.extend_from_slice(env);
        spec.process.input = visit.input;
        let asked = cancel.clone();
        let cancel = RunCancel::when(move || asked.is_cancelled());
        Ok(self.sandbox.attach(&spec, &visit.attachment, &cancel)?)
    }
}
