//! The process that stays outside: maps the child's ids, forwards signals, and ends as the child does.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use rustix::process::{WaitOptions, WaitStatus};

use super::mapping::{self, Mapping};

/// Those that the child is to have, too.
const FORWARDED: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
/// The exit code when not even waiting works.
const LOST: i32 = 70;

/// The signals that the parent waits for.
pub(super) fn watched_signals() -> SigSet {
    FORWARDED.into_iter().chain([Signal::SIGCHLD]).collect()
}

/// Serves the child until it ends, and ends likewise.
#[expect(clippy::exit, reason = "this process has nothing left to do but to pass on a status")]
pub(super) fn serve(child: Pid, mapping: &Mapping, mut socket: UnixStream, signals: &SigSet) -> ! {
    let mut request = [0];
    // Nothing comes from a child that needs no mapping, or that failed before.
    if socket.read_exact(&mut request).is_ok() {
        let answer = mapping::answer(&mapping.apply(child));
        // A child that is gone is seen below.
        drop(socket.write_all(answer.as_bytes()));
    }
    drop(socket);
    let status = wait(child, signals);
    match status.and_then(WaitStatus::terminating_signal) {
        Some(signal) => {
            end_by(signal);
            std::process::exit(128 + signal)
        }
        None => std::process::exit(status.and_then(WaitStatus::exit_status).unwrap_or(LOST)),
    }
}

/// Forwards signals until the child ends.
fn wait(child: Pid, signals: &SigSet) -> Option<WaitStatus> {
    let source = SignalFd::new(signals).ok();
    let pid = rustix::process::Pid::from_raw(child.as_raw())?;
    loop {
        let options = if source.is_some() { WaitOptions::NOHANG } else { WaitOptions::empty() };
        match rustix::process::waitpid(Some(pid), options) {
            Ok(Some((_, status))) => return Some(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let Some(Ok(Some(received))) = source.as_ref().map(SignalFd::read_signal) else { continue };
        // One from the terminal went to the child as well.
        let from_terminal = received.ssi_code == libc::SI_KERNEL;
        let number = i32::try_from(received.ssi_signo).unwrap_or(0);
        if let Ok(signal) = Signal::try_from(number)
            && FORWARDED.contains(&signal)
            && !from_terminal
        {
            // A child that is gone is seen above.
            let _ = nix::sys::signal::kill(child, signal);
        }
    }
}

/// Ends this process by a signal, if that can be done.
fn end_by(signal: i32) {
    let Ok(signal) = Signal::try_from(signal) else { return };
    // Not another dump of memory beside the child's.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let mut unblocked = SigSet::empty();
    unblocked.add(signal);
    if nix::sys::signal::raise(signal).is_ok() {
        let _ = unblocked.thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
    }
}
