//! What the helper's processes tell the caller: lines of JSON over the socket the plan came by.
//!
//! The first report on a command is the true one. A process that fails reports and ends, and whoever waits for it
//! then reports an end of no interest.

use std::io;

use serde::{Deserialize, Serialize};

use crate::{ExecutorError, Exit};

/// One report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The command ended.
    Ended(Exit),
    /// The program could not be executed; the code is 127 or 126, as shells have it.
    NotExecuted {
        /// 127 or 126.
        code: i32,
        /// Why, for the command's standard error.
        message: String,
    },
    /// The sandbox could not be made.
    Failed(Fault),
}

/// Why a sandbox could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// A step failed.
    Step {
        /// The step, in words.
        step: String,
        /// The system's error number; 0 when `detail` says all.
        errno: i32,
        /// What more is known; may be empty.
        detail: String,
    },
    /// A name is not in the guest's files.
    UnknownName {
        /// `user` or `group`.
        kind: String,
        /// The name.
        name: String,
        /// The file searched.
        file: String,
    },
    /// An id does not exist in this user namespace.
    UnmappedId {
        /// `user` or `group`.
        kind: String,
        /// The id.
        id: u32,
    },
}

impl Report {
    /// Whether a command succeeded.
    pub(crate) const fn is_of_success(&self) -> bool {
        matches!(self, Self::Ended(exit) if exit.success())
    }

    /// Whether a command did not succeed, though its sandbox did.
    pub(crate) const fn is_of_failed_command(&self) -> bool {
        match self {
            Self::Ended(exit) => !exit.success(),
            Self::NotExecuted { .. } => true,
            Self::Failed(_) => false,
        }
    }
}

impl Fault {
    /// A failed step.
    pub(crate) fn step(step: &impl ToString, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::Step { step: step.to_string(), errno, detail: String::new() },
            None => Self::Step { step: step.to_string(), errno: 0, detail: error.to_string() },
        }
    }
}

impl From<Fault> for ExecutorError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Step { step, errno, detail } => {
                let source = if errno == 0 {
                    io::Error::other(detail)
                } else {
                    io::Error::from_raw_os_error(errno)
                };
                Self::Step { step, source }
            }
            Fault::UnknownName { kind, name, file } => Self::UnknownName { kind, name, file },
            Fault::UnmappedId { kind, id } => Self::UnmappedId { kind, id },
        }
    }
}

/// The first report of those received; nothing if there is none that can be read.
pub(crate) fn first(received: &[u8]) -> Option<Report> {
    let line = received.split(|&byte| byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

/// A report as it is sent.
pub(crate) fn encode(report: &Report) -> Vec<u8> {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    line
}
