//! Another command in the sandbox of one that failed.
//!
//! The sandbox's first process is still there, and with it every mount, also what the command mounted itself, and what it
//! wrote to memory. Nothing is mounted again: that would show the filesystem of the step and not the sandbox's, and
//! overlay refuses a work directory that was used before.

use super::{Attachment, Begun, Sandbox, Sandboxes, helper_error};
use crate::plan::plan_command;
use crate::{Cancel, ExecutorError, Exit, RunSpec};

/// A sandbox whose command has failed. It ends with this value, which must not outlast the directories that it is made
/// of.
#[derive(Debug)]
pub struct FailedSandbox<'a> {
    sandboxes: &'a Sandboxes,
    sandbox: Sandbox,
}

impl<'a> FailedSandbox<'a> {
    pub(super) fn new(sandboxes: &'a Sandboxes, sandbox: Sandbox) -> Self {
        Self { sandboxes, sandbox }
    }

    /// Runs one more command in it, attached; see [`Sandboxes::attach`]. Of the spec its process, limits and security
    /// count: all else is as the sandbox was made and the first command left it.
    ///
    /// # Errors
    /// As [`Sandboxes::attach`].
    pub fn attach(
        self,
        spec: &RunSpec,
        attachment: &Attachment<'_>,
        cancel: &Cancel,
    ) -> Result<Exit, ExecutorError> {
        let steps = plan_command(spec, &self.sandboxes.facts);
        self.sandbox
            .socket
            .set_nonblocking(false)
            .map_err(helper_error("send the plan to the sandbox"))?;
        let sent = self.sandbox.send(&steps, None)?;
        Begun { sandbox: self.sandbox, sent }.attach(spec.process.input, attachment, cancel)
    }
}
