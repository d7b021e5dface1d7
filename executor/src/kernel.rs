//! The seam between what is decided and what the operating system does.

use std::io;

use crate::{Exit, Step};

/// Which side of a fork the caller is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The process that was there before; the child's id as it sees it.
    Parent(i32),
    /// The new process.
    Child,
}

/// Ids a command runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups; nothing where they cannot be set.
    pub groups: Option<Vec<u32>>,
}

/// The operating system, as far as a sandbox needs it. Tests record what is asked of it.
pub trait Kernel {
    /// Does a step that neither forks nor depends on what the guest's files say.
    ///
    /// # Errors
    /// The operating system's.
    fn perform(&mut self, step: &Step) -> io::Result<()>;

    /// Splits this process. The child is killed when the parent ends.
    ///
    /// # Errors
    /// The operating system's.
    fn fork(&mut self) -> io::Result<Fork>;

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
    fn become_user(&mut self, identity: &Identity, keep: u64, last: u32) -> io::Result<()>;

    /// Becomes the program at a guest path, relative ones starting at the command's directory. Returns
    /// only if that fails.
    fn execute(&mut self, path: &str, args: &[String], env: &[(String, String)]) -> io::Error;

    /// Whether a guest path leads to something.
    fn exists(&mut self, path: &str) -> bool;
}
