//! Both ends of one run: the caller's, which feeds the helper and collects its output, and the
//! helper's.
//!
//! The helper's standard input is one end of a socket pair. The plan goes in, behind its length; reports
//! come back. When the caller shuts its end down, on cancel or by dying, the helper kills the sandbox.
//! The helper keeps its outputs open until the sandbox is gone, so the end of both outputs is the end of
//! everything.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags};

use crate::apply::{Part, apply};
use crate::linux::Linux;
use crate::report::{self, Report};
use crate::{
    Cancel, ExecutorError, Exit, HostFacts, RunSpec, SandboxPlan, Stream, plan::plan, sys,
};

/// The helper's name, by which it knows itself and is known in lists of processes.
const HELPER_NAME: &str = "kiln-sandbox";
/// How often a running command's caller is asked whether it wants to go on, in milliseconds.
const CANCEL_TICK_MS: u16 = 20;
/// The most of the command's output that is taken at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Runs one command in one sandbox and waits until nothing of the sandbox is left.
///
/// `helper` is a program whose `main` begins with [`helper_main`]: the running binary itself, as
/// `/proc/self/exe`, or a test's stand-in. `on_output` is called on this thread, which must live as
/// long as the command: the kernel ends the sandbox with it.
///
/// # Errors
/// When the sandbox cannot be made or `cancel` fires; see [`ExecutorError`].
pub fn run(
    spec: &RunSpec,
    facts: &HostFacts,
    helper: &Path,
    on_output: &mut dyn FnMut(Stream, &[u8]),
    cancel: &Cancel,
) -> Result<Exit, ExecutorError> {
    let plan = serde_json::to_vec(&plan(spec, facts))
        .map_err(|source| ExecutorError::Encode { source })?;
    let (mut socket, theirs) = UnixStream::pair()
        .map_err(|source| ExecutorError::Helper { op: "make a socket pair", source })?;
    let mut child = spawn(helper, theirs)?;
    // A helper that died before it read all of it says why in its report or its status.
    let sent =
        socket.write_all(&(plan.len() as u64).to_le_bytes()).and_then(|()| socket.write_all(&plan));
    let cancelled = collect(&mut child, &socket, on_output, cancel);
    if cancelled.is_err() {
        drop(socket.shutdown(Shutdown::Write));
    }
    let status = child.wait();
    let mut received = Vec::new();
    let read = socket.read_to_end(&mut received);
    if cancelled? {
        return Err(ExecutorError::Cancelled);
    }
    match report::first(&received) {
        Some(Report::Ended(exit)) => Ok(exit),
        Some(Report::NotExecuted { code, message }) => {
            on_output(Stream::Stderr, format!("kiln: {message}\n").as_bytes());
            Ok(Exit::Code(code))
        }
        Some(Report::Failed(fault)) => Err(fault.into()),
        None => {
            let helper = |op| move |source| ExecutorError::Helper { op, source };
            let status = status.map_err(helper("wait for the sandbox helper"))?;
            sent.map_err(helper("send the plan to the sandbox helper"))?;
            read.map_err(helper("read the sandbox helper's report"))?;
            Err(ExecutorError::Lost { how: status.to_string() })
        }
    }
}

fn spawn(helper: &Path, socket: UnixStream) -> Result<Child, ExecutorError> {
    // Without an environment: that of the sandbox's first process can be seen inside.
    Command::new(helper)
        .arg0(HELPER_NAME)
        .env_clear()
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| ExecutorError::SpawnHelper { path: helper.to_owned(), source })
}

/// Hands on output until both outputs end; says whether the run was cancelled.
fn collect(
    child: &mut Child,
    socket: &UnixStream,
    on_output: &mut dyn FnMut(Stream, &[u8]),
    cancel: &Cancel,
) -> Result<bool, ExecutorError> {
    let mut stdout = child.stdout.take().map(|out| (Stream::Stdout, OwnedFd::from(out)));
    let mut stderr = child.stderr.take().map(|out| (Stream::Stderr, OwnedFd::from(out)));
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut cancelled = false;
    loop {
        if !cancelled && cancel.is_cancelled() {
            cancelled = true;
            // One that is already gone is as good as shut down.
            drop(socket.shutdown(Shutdown::Write));
        }
        let mut open: Vec<_> =
            [&mut stdout, &mut stderr].into_iter().filter(|output| output.is_some()).collect();
        if open.is_empty() {
            return Ok(cancelled);
        }
        wait_for_any(open.iter().filter_map(|output| output.as_ref().map(|(_, fd)| fd)))?;
        for output in &mut open {
            if !forward(output, &mut buffer, on_output)? {
                **output = None;
            }
        }
    }
}

fn wait_for_any<'a>(outputs: impl Iterator<Item = &'a OwnedFd>) -> Result<(), ExecutorError> {
    let mut watched: Vec<_> =
        outputs.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
    match nix::poll::poll(&mut watched, CANCEL_TICK_MS) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(output_error(error.into())),
    }
}

/// Reads what is there of one output; says whether more may come.
fn forward(
    output: &Option<(Stream, OwnedFd)>,
    buffer: &mut [u8],
    on_output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<bool, ExecutorError> {
    let Some((stream, fd)) = output else { return Ok(false) };
    let mut watched = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let ready = nix::poll::poll(&mut watched, 0_u8).map_err(|error| output_error(error.into()))?;
    if ready == 0 {
        return Ok(true);
    }
    match nix::unistd::read(fd, buffer) {
        Ok(0) => Ok(false),
        Ok(length) => {
            on_output(*stream, &buffer[..length]);
            Ok(true)
        }
        Err(nix::errno::Errno::EINTR) => Ok(true),
        Err(error) => Err(output_error(error.into())),
    }
}

fn output_error(source: io::Error) -> ExecutorError {
    ExecutorError::Helper { op: "read the command's output", source }
}

/// To be called first thing in `main`: becomes the sandbox helper, and does not return, when this
/// process was started by [`run`]. Otherwise returns at once.
#[expect(clippy::exit, reason = "the helper is a program of its own inside this one")]
pub fn helper_main() {
    if std::env::args_os().next().is_none_or(|name| name != HELPER_NAME) {
        return;
    }
    let code = match help() {
        Ok(()) => 0,
        Err(_) => 1,
    };
    std::process::exit(code);
}

/// The helper's whole life; also that of the processes it forks, until one becomes the command.
fn help() -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // Nothing in the sandbox may look into these processes: they hold the plan, with its secrets, and
    // more capabilities than the command.
    nix::sys::prctl::set_dumpable(false)?;
    sys::close_inherited_descriptors()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Standard input itself is given to the sandbox's /dev/null later.
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let plan = receive(&mut socket)?;
    let mut kernel = Linux::new(socket.try_clone()?.into());
    let report = match apply(&plan, &mut kernel) {
        Part::Report(report) => report,
        Part::Helper(Exit::Code(0)) => return Ok(()),
        // Whoever ended it this way could not say so.
        Part::Helper(_) => return Err(io::Error::other("the sandbox ended early")),
    };
    socket.write_all(&report::encode(&report))
}

fn receive(socket: &mut UnixStream) -> io::Result<SandboxPlan> {
    let mut length = [0; 8];
    socket.read_exact(&mut length)?;
    // Enough for most at once; a plan with large secrets grows it.
    let mut plan = Vec::with_capacity(16 << 10);
    socket.take(u64::from_le_bytes(length)).read_to_end(&mut plan)?;
    Ok(serde_json::from_slice(&plan)?)
}
