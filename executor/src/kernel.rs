//! The seam between what is decided and what the operating system does.

use std::io;

use crate::report::Report;
use crate::{Exit, Step};

/// What became of a process that was to become the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spawned {
    /// The command, by its id.
    Command(i32),
    /// It never did, and is gone.
    NotExecuted(Report),
}

/// Ids a command runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user.
    pub(crate) uid: u32,
    /// The group.
    pub(crate) gid: u32,
    /// The supplementary groups; nothing where they cannot be set.
    pub(crate) groups: Option<Vec<u32>>,
}

/// The operating system, as far as a sandbox needs it. Tests record what is asked of it.
pub(crate) trait Kernel {
    /// Does a step that neither forks nor depends on what the guest's files say.
    ///
    /// # Errors
    /// The operating system's.
    fn perform(&mut self, step: &Step) -> io::Result<()>;

    /// Starts a process for the command. There, `lead` does what is left to do, up to executing the program;
    /// it returns only if there is no program to become, with why. Returns when either has happened.
    ///
    /// # Errors
    /// The operating system's, when there is no such process.
    fn spawn(&mut self, lead: &mut dyn FnMut(&mut Self) -> Report) -> io::Result<Spawned>;

    /// Waits for the command, reaps whatever else ends, and kills what is left then. Nothing is left when
    /// this returns.
    ///
    /// # Errors
    /// The operating system's; a broken pipe when the caller hung up before the command ended.
    fn reap(&mut self, command: i32) -> io::Result<Exit>;

    /// Reads a small regular file of the guest's, at most `limit` bytes; nothing when there is none.
    ///
    /// # Errors
    /// The operating system's, but for a missing file.
    fn read_guest_file(&mut self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// Takes on ids and gives up capabilities: [`Step::BecomeUser`] with the names resolved.
    ///
    /// # Errors
    /// The operating system's.
    fn become_user(&mut self, identity: &Identity, keep: u64) -> io::Result<()>;

    /// Becomes the program at a guest path, relative ones starting at the command's directory. Returns
    /// only if that fails.
    fn execute(&mut self, path: &str, args: &[String], env: &[(String, String)]) -> io::Error;

    /// Whether a guest path leads to something.
    fn exists(&mut self, path: &str) -> bool;
}
