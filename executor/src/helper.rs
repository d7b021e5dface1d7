//! The sandbox helper: the same binary, executed again, which starts the sandboxes of one caller.
//!
//! It has one thread and no memory of the caller's, so that it may fork: each sandbox's first process is a
//! copy of it in namespaces of its own. Its standard input is one end of a socket pair. A request, one
//! message, is a [`Frame`] (its namespaces as flags of clone(2) in four bytes, the low ones first, and its steps)
//! with three descriptors: the sandbox's socket and its two outputs. The helper reads a frame once, however often it
//! is asked for: most sandboxes of a build have the same. And it writes little to its memory, which is copied, page by
//! page, for every process that still shares it. The first process makes the frame, and then waits on its socket for the
//! [`Step`]s that lead to the command, behind their length. Reports come back by the same socket. After the report of a
//! command that failed the first process waits for the steps to another command in the same sandbox. With that of one that
//! changed nothing in the root filesystem goes a descriptor of it, and the caller may send that with the steps to a command in
//! another sandbox. When the caller shuts the socket down, or dies, the first process kills the sandbox and ends. When the
//! request socket ends, so does the helper, after all of its sandboxes.

use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use crate::apply::{apply, prepare};
use crate::linux::{Linux, null_input};
use crate::plan::{Filter, Frame, Namespace, Step};
use crate::report::{self, Fault, Report};
use crate::{pass, sys};

/// The helper's name, by which it knows itself and is known in lists of processes.
pub(crate) const NAME: &str = "kiln-sandbox";
/// The largest request, in bytes. A frame's one part of any size is `/etc/resolv.conf`.
const REQUEST_LIMIT: usize = 128 << 10;

/// A sandbox that is to be made ready. Its steps stand in the buffer that it was received in.
struct Request {
    namespaces: CloneFlags,
    /// Bytes of the buffer behind the flags.
    steps: Range<usize>,
    socket: UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// A frame's steps as they were received, and as they were read.
type FrameSteps = (Vec<u8>, Vec<Step>);

/// To be called first thing in `main`: becomes the sandbox helper, and does not return, when this
/// process was started as one. Otherwise returns at once.
#[expect(clippy::exit, reason = "the helper is a program of its own inside this one")]
pub fn helper_main() {
    if std::env::args_os().next().is_none_or(|name| name != NAME) {
        return;
    }
    let code = match serve() {
        Ok(()) => 0,
        Err(_) => 1,
    };
    std::process::exit(code);
}

/// The helper's whole life; that of a sandbox's first process branches off.
fn serve() -> io::Result<()> {
    // Nothing in a sandbox may look into its first process: it holds the plan, with its secrets, and more
    // capabilities than the command.
    nix::sys::prctl::set_dumpable(false)?;
    sys::close_inherited_descriptors()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let ignored_signals = sys::ignored_signals();
    // What the processor can do is asked once, not by each process: that is slow on a virtual machine. And the filter
    // is made once.
    let _any = (kiln_ir::Digest::of(b""), Filter::default_of_docker());
    sys::let_children_go()?;
    // Made once: to clear it for each request would copy all of it in each process that shares it.
    let mut space = vec![0; REQUEST_LIMIT];
    let mut last: FrameSteps = (Vec::new(), Vec::new());
    while let Some(request) = receive(control.as_fd(), &mut space)? {
        let frame = &space[request.steps.clone()];
        if last.0 != frame {
            last = (frame.to_vec(), read_steps(frame)?);
        }
        match sys::fork_into(request.namespaces) {
            Ok(sys::Side::Child) => {
                drop(control);
                first_process(request, &last, ignored_signals);
            }
            Ok(sys::Side::Parent(_)) => {}
            Err(error) => {
                let fault = Fault::step(&"make the sandbox's namespaces", &error);
                // A caller that is gone has no use for it.
                drop((&request.socket).write_all(&report::encode(&Report::Failed(fault))));
            }
        }
    }
    // None of them outlives its caller, so this ends.
    while !matches!(nix::sys::wait::wait(), Err(nix::errno::Errno::ECHILD)) {}
    Ok(())
}

/// The next request; nothing when the caller wants no more.
fn receive(control: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<Option<Request>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let slices = &mut [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(control, slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = [None, None, None];
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.iter_mut().zip(rights).for_each(|(slot, right)| *slot = Some(right));
        }
    }
    let (Some(flags), [Some(socket), Some(stdout), Some(stderr)], false) =
        (bytes.first_chunk(), descriptors, received.flags.contains(ReturnFlags::TRUNC))
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let namespaces = CloneFlags::from_bits_truncate(i32::from_le_bytes(*flags));
    let steps = flags.len()..received.bytes.max(flags.len());
    Ok(Some(Request { namespaces, steps, socket: socket.into(), stdout, stderr }))
}

/// A request without its descriptors.
pub(crate) fn request(frame: &Frame) -> serde_json::Result<Vec<u8>> {
    let mut request = flags(&frame.namespaces).bits().to_le_bytes().to_vec();
    serde_json::to_writer(&mut request, &frame.steps)?;
    Ok(request)
}

fn flags(namespaces: &[Namespace]) -> CloneFlags {
    namespaces.iter().fold(CloneFlags::empty(), |all, namespace| {
        all | match namespace {
            Namespace::Mount => CloneFlags::CLONE_NEWNS,
            Namespace::Pid => CloneFlags::CLONE_NEWPID,
            Namespace::Ipc => CloneFlags::CLONE_NEWIPC,
            Namespace::Uts => CloneFlags::CLONE_NEWUTS,
            Namespace::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Namespace::Network => CloneFlags::CLONE_NEWNET,
        }
    })
}

/// The whole life of a sandbox's first process.
fn first_process(request: Request, frame: &FrameSteps, ignored_signals: Vec<i32>) -> ! {
    // With an error or without, there is nobody else to tell.
    drop(make_and_run(request, frame, ignored_signals));
    sys::end()
}

fn make_and_run(request: Request, frame: &FrameSteps, ignored_signals: Vec<i32>) -> io::Result<()> {
    let Request { namespaces: _, steps: _, mut socket, stdout, stderr } = request;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    sys::wait_for_children()?;
    null_input()?;
    nix::unistd::dup2_stdout(stdout)?;
    nix::unistd::dup2_stderr(stderr)?;
    let mut kernel = Linux::new(socket.try_clone()?.into(), ignored_signals);
    let (text, steps) = frame;
    if let Err(fault) = prepare(steps, &mut kernel) {
        return socket.write_all(&report::encode(&Report::Failed(fault)));
    }
    // Nobody waits yet: whatever memory it takes to read steps is copied now, and not when the command's have come.
    drop(read_steps(text));
    while let Some(steps) = receive_steps(&mut socket, &mut kernel)? {
        let report = apply(&steps, &mut kernel);
        let root = report.is_of_success().then(|| kernel.untouched_root()).flatten();
        pass::send(&socket, &report::encode(&report), root.as_ref().map(|root| root.as_fd()))?;
        if !report.is_of_failed_command() {
            break;
        }
    }
    Ok(())
}

/// The steps that lead to a command; nothing when the caller has no use for this sandbox, or no more.
fn receive_steps(socket: &mut UnixStream, kernel: &mut Linux) -> io::Result<Option<Vec<Step>>> {
    let mut length = [0; 8];
    let (received, root) = pass::receive(&*socket, &mut length)?;
    root.into_iter().for_each(|root| kernel.give_root(root));
    match socket.read_exact(&mut length[received..]) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    // Enough for most at once; a plan with large secrets grows it.
    let mut steps = Vec::with_capacity(16 << 10);
    socket.take(u64::from_le_bytes(length)).read_to_end(&mut steps)?;
    Ok(Some(read_steps(&steps)?))
}

fn read_steps(text: &[u8]) -> serde_json::Result<Vec<Step>> {
    serde_json::from_slice(text)
}
