//! The processes of a sandbox: forks, waits, ids, and the command itself.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::kernel::{Identity, Spawned};
use crate::report::Report;
use crate::{Exit, Resource, ResourceLimit, sys};

/// Starts a process in this one's memory; see [`Spawned`], and [`sys::spawn_in_memory`] for what is done `beside` it. It
/// needs no order to end with this one, which is the first of its pid namespace.
pub(super) fn spawn(lead: &mut dyn FnMut() -> Report, beside: &dyn Fn()) -> io::Result<Spawned> {
    let mut not_executed = None;
    let child = sys::spawn_in_memory(&mut || not_executed = Some(lead()), beside)?;
    Ok(not_executed.map_or(Spawned::Command(child.as_raw()), Spawned::NotExecuted))
}

/// Waits for the command and reaps whatever else ends until then. When the command has ended, or the caller
/// hangs up, kills what is left, and returns when nothing is.
pub(super) fn reap(command: i32, caller: &OwnedFd) -> io::Result<Exit> {
    let ended = watch(pid(command)?, caller);
    sys::kill_all_others()?;
    while !matches!(rustix::process::wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
    ended
}

fn watch(command: Pid, caller: &OwnedFd) -> io::Result<Exit> {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    let ends = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    loop {
        // Those that ended before now as well.
        while let Some((ended, status)) = reap_one()? {
            if ended == command
                && let Some(exit) = exit_of(status)
            {
                return Ok(exit);
            }
        }
        let mut watched = [
            PollFd::new(ends.as_fd(), PollFlags::POLLIN),
            PollFd::new(caller.as_fd(), PollFlags::POLLIN),
        ];
        match nix::poll::poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if watched[1].any().unwrap_or(false) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        while ends.read_signal()?.is_some() {}
    }
}

/// Any child that has ended; nothing if none has.
fn reap_one() -> io::Result<Option<(Pid, WaitStatus)>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(ended) => return Ok(ended),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
}

fn pid(raw: i32) -> io::Result<Pid> {
    Pid::from_raw(raw).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Puts `/dev/null`, as it is in this root, in the place of standard input.
pub(crate) fn null_input() -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    Ok(nix::unistd::dup2_stdin(&null)?)
}

/// Makes a directory and its parents if absent, and goes there.
pub(super) fn enter(path: &str) -> io::Result<()> {
    if !Path::new(path).is_dir() {
        std::fs::create_dir_all(path)?;
    }
    Ok(nix::unistd::chdir(path)?)
}

/// Sets resource limits.
pub(super) fn set_limits(limits: &[ResourceLimit]) -> io::Result<()> {
    use nix::sys::resource::{RLIM_INFINITY, setrlimit};
    for limit in limits {
        let soft = limit.soft.unwrap_or(RLIM_INFINITY);
        let hard = limit.hard.unwrap_or(RLIM_INFINITY);
        setrlimit(resource(limit.resource), soft, hard)?;
    }
    Ok(())
}

fn resource(resource: Resource) -> nix::sys::resource::Resource {
    use nix::sys::resource::Resource as Nix;
    match resource {
        Resource::Core => Nix::RLIMIT_CORE,
        Resource::Cpu => Nix::RLIMIT_CPU,
        Resource::Data => Nix::RLIMIT_DATA,
        Resource::Fsize => Nix::RLIMIT_FSIZE,
        Resource::Locks => Nix::RLIMIT_LOCKS,
        Resource::Memlock => Nix::RLIMIT_MEMLOCK,
        Resource::Msgqueue => Nix::RLIMIT_MSGQUEUE,
        Resource::Nice => Nix::RLIMIT_NICE,
        Resource::Nofile => Nix::RLIMIT_NOFILE,
        Resource::Nproc => Nix::RLIMIT_NPROC,
        Resource::Rss => Nix::RLIMIT_RSS,
        Resource::Rtprio => Nix::RLIMIT_RTPRIO,
        Resource::Rttime => Nix::RLIMIT_RTTIME,
        Resource::Sigpending => Nix::RLIMIT_SIGPENDING,
        Resource::Stack => Nix::RLIMIT_STACK,
    }
}

/// Takes on ids, with only the kept capabilities left for programs to have.
pub(super) fn become_user(identity: &Identity, keep: u64) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    // So that the command can open /dev/stdout and /dev/stderr by name.
    nix::unistd::fchown(io::stdout(), Some(uid), Some(gid))?;
    nix::unistd::fchown(io::stderr(), Some(uid), Some(gid))?;
    if let Some(groups) = &identity.groups {
        let groups: Vec<Gid> = groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
        nix::unistd::setgroups(&groups)?;
    }
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    sys::limit_capabilities(keep)
}

/// Becomes a program with nothing of Kiln's but its outputs; returns only if that fails.
pub(super) fn execute(
    path: &str,
    args: &[String],
    env: &[(String, String)],
    ignored: &[i32],
) -> io::Error {
    try_execute(path, args, env, ignored).unwrap_or_else(|error| error)
}

fn try_execute(
    path: &str,
    args: &[String],
    env: &[(String, String)],
    ignored: &[i32],
) -> io::Result<io::Error> {
    let path = CString::new(path)?;
    let args = args.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<Vec<_>, _>>()?;
    let env = env
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<Vec<_>, _>>()?;
    sys::reset_signals(ignored)?;
    sys::close_descriptors_on_exec()?;
    Ok(sys::execute(&path, &args, &env))
}
