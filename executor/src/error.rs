//! What can go wrong between a [`crate::RunSpec`] and its exit status.

use std::io;
use std::path::PathBuf;

/// A sandbox could not be made, or its command was cut short. A command that merely fails is no error
/// but an [`crate::Exit`].
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The helper program could not be started.
    #[error("cannot start the sandbox helper `{}`", .path.display())]
    SpawnHelper {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Talking to the helper failed.
    #[error("cannot {op}")]
    Helper {
        /// Such as `send the plan to the sandbox helper`.
        op: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A plan or a report could not be put into its wire form; a host path that is not UTF-8 does this.
    #[error("cannot encode the sandbox's plan")]
    Encode {
        /// Why.
        source: serde_json::Error,
    },
    /// One step of making the sandbox failed.
    #[error("cannot set up the sandbox: {step}")]
    Step {
        /// What was attempted, such as `mount proc at /proc`.
        step: String,
        /// Why.
        source: io::Error,
    },
    /// The command's user or group is not in the root's `/etc/passwd` or `/etc/group`.
    #[error("no {kind} `{name}` in {file}")]
    UnknownName {
        /// `user` or `group`.
        kind: String,
        /// The name as written.
        name: String,
        /// The guest's file that was searched.
        file: String,
    },
    /// The command's user has no id in the user namespace Kiln runs in.
    #[error(
        "{kind} {id} does not exist in this user namespace: give your account subordinate ids in \
         /etc/subuid and /etc/subgid"
    )]
    UnmappedId {
        /// `user` or `group`.
        kind: String,
        /// The number.
        id: u32,
    },
    /// The sandbox's first process ended without a report.
    #[error("the sandbox was killed from outside, perhaps by the out-of-memory killer")]
    Lost,
    /// The caller cancelled the run.
    #[error("cancelled")]
    Cancelled,
    /// A fact about the machine could not be learnt.
    #[error("cannot read `{}`", .path.display())]
    HostFact {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// This machine does not let ordinary users make user namespaces.
    #[error("cannot make a user namespace: {hint}")]
    UserNamespace {
        /// What forbids it and what to do.
        hint: String,
        /// Why.
        source: io::Error,
    },
    /// An id mapping could not be written.
    #[error("cannot map ids with `{tool}`: {detail}")]
    MapIds {
        /// `newuidmap`, `newgidmap` or a file below `/proc`.
        tool: String,
        /// What it said.
        detail: String,
    },
}
