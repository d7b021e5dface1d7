//! The caller's end: starts sandboxes through the helper, feeds them and collects their output.
//!
//! The helper is started with the first sandbox, and ends with the [`Sandboxes`]. See [`crate::helper`] for
//! what goes over the sockets.

mod attach;
mod failed;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;

pub use attach::Attachment;
pub use failed::FailedSandbox;

use crate::plan::{Frame, SandboxPlan, Step, plan, take_root};
use crate::report::{self, Report};
use crate::{Cancel, ExecutorError, Exit, HostFacts, RunSpec, Stream, helper, pass};

/// How often a running command's caller is asked whether it wants to go on, in milliseconds.
const CANCEL_TICK_MS: u16 = 20;
/// The most of the command's output that is taken at once; and at first, since most commands write little or
/// nothing, and a large buffer takes longer to make than their output to read.
const CHUNK_BYTES: usize = 64 << 10;
const FIRST_CHUNK_BYTES: usize = 2 << 10;
/// What is received of reports at once: most are shorter.
const REPORT_BYTES: usize = 512;

/// Whether the caller means to run another command like this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upcoming {
    /// As far as it knows not.
    Nothing,
    /// It does, so its sandbox is made ready while this command runs.
    Another,
}

/// Starts sandboxes. Every method may be called from any thread; dropping it waits until nothing of any
/// sandbox is left.
#[derive(Debug)]
pub struct Sandboxes {
    /// The program that begins with [`crate::helper_main`].
    program: PathBuf,
    facts: HostFacts,
    /// Only to be locked when no other lock is held.
    helper: Mutex<Option<Helper>>,
    /// One that is ready, or will be.
    spare: Mutex<Option<Sandbox>>,
}

#[derive(Debug)]
struct Helper {
    process: Child,
    requests: OwnedFd,
}

/// A frame, and the request for it.
#[derive(Debug)]
struct Asked {
    frame: Frame,
    request: Vec<u8>,
}

/// A sandbox without a command.
#[derive(Debug)]
struct Sandbox {
    frame: Arc<Asked>,
    socket: UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// What a sandbox has reported.
#[derive(Debug, Default)]
struct Received {
    reports: Vec<u8>,
    /// The root filesystem, if the command has changed nothing in it.
    untouched: Option<KeptRoot>,
}

/// A root filesystem in which a command has changed nothing, for the next one on the same layers: to mount another and to
/// take that down costs as much as all else about a short command. It stays mounted, at no path, until this is dropped; its
/// directories must stay as long.
#[derive(Debug)]
pub struct KeptRoot(OwnedFd);

/// What a command has left, besides what it wrote.
#[derive(Debug)]
pub enum Left<'a> {
    /// It failed: its sandbox.
    Failed(FailedSandbox<'a>),
    /// It changed nothing in its root filesystem, and another command may have that.
    Untouched(KeptRoot),
    /// Whatever is in the upper directory.
    Changes,
}

impl Sandboxes {
    /// Sandboxes on this machine. `helper` is a program whose `main` begins with
    /// [`crate::helper_main`]: the running binary itself, as `/proc/self/exe`, or a test's stand-in. It is
    /// not started yet.
    #[must_use]
    pub fn new(helper: PathBuf, facts: HostFacts) -> Self {
        Self { program: helper, facts, helper: Mutex::default(), spare: Mutex::default() }
    }

    /// Runs one command in one sandbox. When this returns no process of the sandbox is left, but for its
    /// first, which may still be about to end and to unmount what it mounted.
    ///
    /// `on_output` is called on this thread.
    ///
    /// # Errors
    /// When the sandbox cannot be made or `cancel` fires; see [`ExecutorError`].
    pub fn run(
        &self,
        spec: &RunSpec,
        upcoming: Upcoming,
        on_output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<Exit, ExecutorError> {
        Ok(self.start(spec, None)?.finish(upcoming, on_output, cancel)?.0)
    }

    /// Starts a command in a sandbox, and does not wait for it: [`Running::finish`] does. A root that an earlier command
    /// left must be that of a spec with the same lower, upper and work directories, the same mount points and the same
    /// security.
    ///
    /// # Errors
    /// When the sandbox cannot be made, as far as that shows at once.
    pub fn start(
        &self,
        spec: &RunSpec,
        root: Option<KeptRoot>,
    ) -> Result<Running<'_>, ExecutorError> {
        Ok(Running { sandboxes: self, begun: self.begin(spec, root)? })
    }

    /// Has a sandbox take the steps to the command.
    fn begin(&self, spec: &RunSpec, root: Option<KeptRoot>) -> Result<Begun, ExecutorError> {
        let SandboxPlan { frame, mut steps } = plan(spec, &self.facts);
        if root.is_some() {
            take_root(&mut steps);
        }
        let sandbox = match lock(&self.spare).take_if(|spare| spare.frame.frame == frame) {
            Some(spare) => spare,
            None => {
                let request = helper::request(&frame);
                let request = request.map_err(|source| ExecutorError::Encode { source })?;
                self.make(Arc::new(Asked { frame, request }))?
            }
        };
        // A sandbox that could not be made ready takes no steps, and says why in its report.
        let sent = sandbox.send(&steps, root)?;
        Ok(Begun { sandbox, sent })
    }

    /// Has another sandbox made ready, unless one is. Should it fail, the run that wants it will too, and
    /// can say so.
    fn make_spare(&self, frame: &Arc<Asked>) {
        if lock(&self.spare).as_ref().is_some_and(|spare| spare.frame.frame == frame.frame) {
            return;
        }
        if let Ok(spare) = self.make(Arc::clone(frame)) {
            drop(lock(&self.spare).replace(spare));
        }
    }

    /// Has a sandbox made; does not wait until it is.
    fn make(&self, frame: Arc<Asked>) -> Result<Sandbox, ExecutorError> {
        let (socket, theirs) = UnixStream::pair().map_err(helper_error("make a socket pair"))?;
        let pipe = || {
            let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            // Theirs is the command's, which expects to wait when it is full.
            rustix::io::ioctl_fionbio(&ours, true)?;
            Ok::<_, io::Error>((ours, theirs))
        };
        let (stdout, their_stdout) = pipe().map_err(helper_error("make a pipe"))?;
        let (stderr, their_stderr) = pipe().map_err(helper_error("make a pipe"))?;
        let mut helper = lock(&self.helper);
        let helper = match &mut *helper {
            Some(helper) => helper,
            none => none.insert(self.start_helper()?),
        };
        let theirs = [theirs.as_fd(), their_stdout.as_fd(), their_stderr.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&theirs));
        let slices = [IoSlice::new(&frame.request)];
        rustix::net::sendmsg(&helper.requests, &slices, &mut ancillary, SendFlags::NOSIGNAL)
            .map_err(|errno| helper_error("ask the sandbox helper for a sandbox")(errno.into()))?;
        Ok(Sandbox { frame, socket, stdout, stderr })
    }

    fn start_helper(&self) -> Result<Helper, ExecutorError> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (requests, theirs) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None)
            .map_err(|errno| helper_error("make a socket pair")(errno.into()))?;
        // Without an environment: that of a sandbox's first process can be seen inside.
        let process = Command::new(&self.program)
            .arg0(helper::NAME)
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| ExecutorError::SpawnHelper { path: self.program.clone(), source })?;
        Ok(Helper { process, requests })
    }
}

impl Sandbox {
    /// Has it take steps, with a root filesystem to take over if there is one; answers whether it could be told.
    fn send(
        &self,
        steps: &[Step],
        root: Option<KeptRoot>,
    ) -> Result<io::Result<()>, ExecutorError> {
        let mut message = vec![0; size_of::<u64>()];
        serde_json::to_writer(&mut message, steps)
            .map_err(|source| ExecutorError::Encode { source })?;
        let length = (message.len() - size_of::<u64>()) as u64;
        message[..size_of::<u64>()].copy_from_slice(&length.to_le_bytes());
        let root = root.as_ref().map(|KeptRoot(mount)| mount.as_fd());
        Ok(pass::send(&self.socket, &message, root).map_err(io::Error::from))
    }
}

impl Received {
    /// Takes some of what is there: how many bytes, none at the end.
    fn receive(&mut self, socket: &UnixStream) -> io::Result<usize> {
        let mut bytes = [0; REPORT_BYTES];
        let (length, root) = pass::receive(socket, &mut bytes)?;
        self.reports.extend_from_slice(&bytes[..length]);
        self.untouched = root.map(KeptRoot).or(self.untouched.take());
        Ok(length)
    }
}

/// A command that was started. Without an end to it that is waited for it is killed.
#[derive(Debug)]
pub struct Running<'a> {
    sandboxes: &'a Sandboxes,
    begun: Begun,
}

impl<'a> Running<'a> {
    /// Waits for the end of the command, as [`Sandboxes::run`] does. When the command fails its sandbox is kept, with all
    /// that the command left but its processes; when it succeeds and has changed nothing in its root filesystem, that.
    ///
    /// # Errors
    /// As [`Sandboxes::run`].
    pub fn finish(
        self,
        upcoming: Upcoming,
        on_output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<(Exit, Left<'a>), ExecutorError> {
        let Self { sandboxes, mut begun } = self;
        if upcoming == Upcoming::Another {
            sandboxes.make_spare(&begun.sandbox.frame);
        }
        let received = collect(&mut begun.sandbox, on_output, cancel)?;
        let (exit, sandbox) = begun.conclude(&received, on_output)?;
        let left = match received.untouched {
            _ if !exit.success() => Left::Failed(FailedSandbox::new(sandboxes, sandbox)),
            Some(root) => Left::Untouched(root),
            None => Left::Changes,
        };
        Ok((exit, left))
    }
}

/// A sandbox that was sent its steps.
#[derive(Debug)]
struct Begun {
    sandbox: Sandbox,
    sent: io::Result<()>,
}

impl Begun {
    /// What the reports come to, and the sandbox.
    fn conclude(
        self,
        received: &Received,
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<(Exit, Sandbox), ExecutorError> {
        match report::first(&received.reports) {
            Some(Report::Ended(exit)) => Ok((exit, self.sandbox)),
            Some(Report::NotExecuted { code, message }) => {
                on_output(Stream::Stderr, format!("kiln: {message}\n").as_bytes());
                Ok((Exit::Code(code), self.sandbox))
            }
            Some(Report::Failed(fault)) => Err(fault.into()),
            None => {
                self.sent.map_err(helper_error("send the plan to the sandbox"))?;
                Err(ExecutorError::Lost)
            }
        }
    }
}

impl Drop for Sandboxes {
    fn drop(&mut self) {
        drop(lock(&self.spare).take());
        let helper = self.helper.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Helper { mut process, requests }) = helper {
            drop(requests);
            // There is nobody to tell, and nothing to be done about it.
            drop(process.wait());
        }
    }
}

/// A panic elsewhere leaves what is behind these locks as whole as before.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn helper_error(op: &'static str) -> impl FnOnce(io::Error) -> ExecutorError {
    move |source| ExecutorError::Helper { op, source }
}

/// Hands on output until the sandbox has reported the end of the command, or is gone; returns its reports.
fn collect(
    sandbox: &mut Sandbox,
    on_output: &mut dyn FnMut(Stream, &[u8]),
    cancel: &Cancel,
) -> Result<Received, ExecutorError> {
    let read_report = helper_error("read the sandbox's report");
    sandbox.socket.set_nonblocking(true).map_err(read_report)?;
    let mut outputs = vec![(Stream::Stdout, &sandbox.stdout), (Stream::Stderr, &sandbox.stderr)];
    let (mut buffer, mut received) = (vec![0; FIRST_CHUNK_BYTES], Received::default());
    let mut cancelled = false;
    loop {
        if !cancelled && cancel.is_cancelled() {
            cancelled = true;
            // One that is already gone is as good as shut down.
            drop(sandbox.socket.shutdown(Shutdown::Write));
        }
        wait_for_any(&sandbox.socket, &outputs)?;
        // What the command wrote was written before its end was reported.
        let ended = has_ended(&sandbox.socket, &mut received)?;
        let mut failed = None;
        outputs.retain(|(stream, fd)| {
            let more = forward(fd, &mut buffer, ended, &mut |bytes| on_output(*stream, bytes));
            more.unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        });
        if let Some(source) = failed {
            return Err(helper_error("read the command's output")(source));
        }
        if ended {
            return if cancelled { Err(ExecutorError::Cancelled) } else { Ok(received) };
        }
    }
}

fn wait_for_any(socket: &UnixStream, outputs: &[(Stream, &OwnedFd)]) -> Result<(), ExecutorError> {
    let fds = outputs.iter().map(|(_, fd)| fd.as_fd()).chain([socket.as_fd()]);
    let mut watched: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match nix::poll::poll(&mut watched, CANCEL_TICK_MS) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(helper_error("wait for the command's output")(error.into())),
    }
}

/// Takes what is there of the reports; says whether the command has ended. After the report of its end, or of why there
/// is none, nothing of it is left; after any other the end of the socket is waited for, which comes with that of the
/// last process that could report.
fn has_ended(socket: &UnixStream, received: &mut Received) -> Result<bool, ExecutorError> {
    loop {
        match received.receive(socket) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let first = report::first(&received.reports);
                return Ok(matches!(first, Some(Report::Ended(_) | Report::NotExecuted { .. })));
            }
            // It ended without having read all that it was sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(true),
            Err(error) => return Err(helper_error("read the sandbox's report")(error)),
        }
    }
}

/// Hands on what is there of one output, a chunk or `all` of it; says whether more may come.
fn forward(
    fd: &OwnedFd,
    buffer: &mut Vec<u8>,
    all: bool,
    on_output: &mut dyn FnMut(&[u8]),
) -> io::Result<bool> {
    loop {
        match nix::unistd::read(fd, buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                on_output(&buffer[..length]);
                if length == buffer.len() {
                    buffer.resize(CHUNK_BYTES, 0);
                }
            }
            Err(nix::errno::Errno::EAGAIN) => return Ok(true),
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !all {
            return Ok(true);
        }
    }
}
