//! Becoming root without privileges: a user namespace of Kiln's own.
//!
//! With subordinate ids (`/etc/subuid`, `/etc/subgid`, and the set-id programs `newuidmap` and
//! `newgidmap`), id 0 is the account and ids from 1 on are its subordinate ones. Without, id 0 is all
//! there is.

mod mapping;
mod parent;

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid};

use crate::ExecutorError;
use crate::sys::{self, Side};
use mapping::Mapping;

/// Which ids Kiln has after [`enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// The process already ran as uid 0; nothing was done.
    AlreadyRoot,
    /// In a user namespace with the account's subordinate ids.
    Subordinate,
    /// In a user namespace where only id 0, the account's own, exists.
    Single {
        /// Whether the account has no subordinate ids or the tools to use them are missing: a sentence
        /// for a warning.
        reason: String,
    },
}

/// Makes the process uid 0 of a user and mount namespace of its own, unless it is uid 0 already.
///
/// To be called in `main` before any thread exists, after [`crate::helper_main`]. The calling process
/// stays behind as a parent that forwards SIGINT, SIGTERM, SIGHUP and SIGQUIT and ends as its child
/// does; only the child returns from here, and it dies with its parent.
///
/// # Errors
/// When the machine forbids user namespaces, or the id mapping cannot be made.
pub fn enter() -> Result<Entered, ExecutorError> {
    if Uid::effective().is_root() {
        return Ok(Entered::AlreadyRoot);
    }
    let mapping = Mapping::of_this_account();
    let failed = |op| move |source| ExecutorError::Helper { op, source };
    let (child_end, parent_end) = UnixStream::pair().map_err(failed("make a socket pair"))?;
    // Blocked from before the fork, so that the parent misses no signal.
    let blocked = parent::watched_signals();
    let before = blocked
        .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)
        .map_err(|errno| failed("block signals")(errno.into()))?;
    let outside = nix::unistd::getpid();
    match sys::fork().map_err(failed("start a process"))? {
        Side::Parent(child) => {
            drop(child_end);
            parent::serve(child, &mapping, parent_end, &blocked)
        }
        Side::Child => {
            drop(parent_end);
            become_root(&mapping, child_end, &before)?;
            // One that ended before its death could be announced.
            if nix::unistd::getppid() != outside {
                return Err(failed("stay with the process outside")(Errno::ESRCH.into()));
            }
            Ok(match mapping {
                Mapping::Subordinate { .. } => Entered::Subordinate,
                Mapping::Single { reason } => Entered::Single { reason },
            })
        }
    }
}

/// The child's side: leaves the namespace, has its ids mapped, and takes them on.
fn become_root(
    mapping: &Mapping,
    mut parent: UnixStream,
    signals: &SigSet,
) -> Result<(), ExecutorError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let attempt = |op| move |source: io::Error| ExecutorError::Helper { op, source };
    signals.thread_set_mask().map_err(|errno| attempt("unblock signals")(errno.into()))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(forbidden)?;
    match mapping {
        Mapping::Subordinate { .. } => {
            // The set-id programs must be run from outside.
            parent.write_all(b"m").map_err(attempt("ask for an id mapping"))?;
            let mut answer = String::new();
            parent.read_to_string(&mut answer).map_err(attempt("wait for the id mapping"))?;
            mapping::check_answer(&answer)?;
        }
        Mapping::Single { .. } => mapping::write_single(uid.as_raw(), gid.as_raw())?,
    }
    let root = || {
        nix::unistd::setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
        nix::unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
        // Changing ids takes both away.
        nix::sys::prctl::set_dumpable(true)?;
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
    };
    root().map_err(|errno: Errno| attempt("become root in the user namespace")(errno.into()))
}

/// Says what stands in the way of user namespaces here.
fn forbidden(errno: Errno) -> ExecutorError {
    let setting =
        |path: &str| std::fs::read_to_string(path).ok().map(|value| value.trim().to_owned());
    let is = |path, value: &str| setting(path).is_some_and(|found| found == value);
    let hint = if is("/proc/sys/user/max_user_namespaces", "0") {
        "the setting `user.max_user_namespaces` is 0; an administrator can raise it"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "the setting `kernel.unprivileged_userns_clone` is 0; an administrator can set it to 1"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor forbids it to unconfined programs; an administrator can give kiln a profile with \
         `userns,` or set `kernel.apparmor_restrict_unprivileged_userns` to 0"
    } else {
        "the kernel or this container's seccomp profile forbids it; run kiln as root instead"
    };
    ExecutorError::UserNamespace { hint: hint.to_owned(), source: errno.into() }
}
