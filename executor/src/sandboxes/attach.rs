//! A command that is attached to its caller's input and outputs, by a terminal or by pipes.
//!
//! The sandbox makes the terminal or the pipe (see `linux/terminal.rs`); here bytes are carried between the caller's
//! descriptors and it. Those are never made non-blocking, since they are shared with whoever started the caller. The
//! caller's terminal is put into raw mode by whoever owns it, not here.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::Winsize;

use super::{
    Begun, CANCEL_TICK_MS, CHUNK_BYTES, Received, Sandbox, Sandboxes, forward, has_ended,
    helper_error,
};
use crate::linux::{END_FOLLOWS, winsize};
use crate::{Cancel, ExecutorError, Exit, Input, RunSpec};

/// The most that is read of the caller's input at once.
const INPUT_BYTES: usize = 4 << 10;
/// SIGPIPE.
const BROKEN_PIPE: i32 = 13;

/// What an attached command reads and writes. Of a command with a terminal, input and output are one terminal, in
/// raw mode.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// Read until its end, or the command's.
    pub input: BorrowedFd<'a>,
    /// Takes standard output, or all that the terminal shows.
    pub output: BorrowedFd<'a>,
    /// Takes standard error, where there is no terminal.
    pub error: BorrowedFd<'a>,
}

impl Sandboxes {
    /// Runs one command with its input and outputs attached; the spec's [`Input`] says how. Resizing the caller's
    /// terminal resizes the command's. When nobody takes the output any more, the command ends as by SIGPIPE.
    ///
    /// # Errors
    /// As [`Sandboxes::run`]; and when the caller's descriptors cannot be used.
    pub fn attach(
        &self,
        spec: &RunSpec,
        attachment: &Attachment<'_>,
        cancel: &Cancel,
    ) -> Result<Exit, ExecutorError> {
        self.begin(spec, None)?.attach(spec.process.input, attachment, cancel)
    }
}

impl Begun {
    /// Attaches the command until it ends.
    pub(super) fn attach(
        mut self,
        input: Input,
        attachment: &Attachment<'_>,
        cancel: &Cancel,
    ) -> Result<Exit, ExecutorError> {
        let size = match input {
            Input::Nothing | Input::Pipe => None,
            Input::Terminal(size) => Some(winsize(size)),
        };
        let mut carrier = Carrier {
            attachment,
            size,
            end: None,
            pending: Vec::new(),
            vacant: false,
            deaf: false,
        };
        let received = carrier.carry(&mut self.sandbox, cancel)?;
        if carrier.deaf {
            return Ok(Exit::Signal(BROKEN_PIPE));
        }
        Ok(self.conclude(&received, &mut |_, message| carrier.tell(message))?.0)
    }
}

/// Carries bytes between the caller and the sandbox.
struct Carrier<'a> {
    attachment: &'a Attachment<'a>,
    /// The terminal's size, if it is one.
    size: Option<Winsize>,
    /// The caller's end of the command's input; nothing before it has come, and after the end of the input.
    end: Option<OwnedFd>,
    /// What was read of the caller's input and not yet taken.
    pending: Vec<u8>,
    /// Whether no process has the terminal just now. One may open it again, by its name.
    vacant: bool,
    /// Whether nobody takes the output any more.
    deaf: bool,
}

impl Carrier<'_> {
    fn carry(&mut self, sandbox: &mut Sandbox, cancel: &Cancel) -> Result<Received, ExecutorError> {
        let read_report = helper_error("read the sandbox's report");
        sandbox.socket.set_nonblocking(true).map_err(read_report)?;
        let mut received = Received::default();
        let mut stopped = false;
        let mut wants_end = true;
        loop {
            if !stopped && (self.deaf || cancel.is_cancelled()) {
                stopped = true;
                // One that is already gone is as good as shut down.
                drop(sandbox.socket.shutdown(Shutdown::Write));
            }
            self.resize();
            let has_input = self.wait(sandbox)?;
            if wants_end && let Some(first) = receive_end(&sandbox.socket, &mut self.end)? {
                wants_end = false;
                received.reports.extend(Some(first).filter(|byte| *byte != END_FOLLOWS));
            }
            let ended = !wants_end && has_ended(&sandbox.socket, &mut received)?;
            self.read_input(has_input).map_err(helper_error("read the command's input"))?;
            self.write_outputs(sandbox, ended)
                .map_err(helper_error("hand on the command's output"))?;
            if ended {
                let cancelled = stopped && !self.deaf;
                return if cancelled { Err(ExecutorError::Cancelled) } else { Ok(received) };
            }
        }
    }

    /// Gives the command's terminal the size of the caller's, should that have changed.
    fn resize(&mut self) {
        let (Some(known), Some(end)) = (&mut self.size, &self.end) else { return };
        if let Ok(size) = rustix::termios::tcgetwinsize(self.attachment.output)
            && (size.ws_row, size.ws_col) != (known.ws_row, known.ws_col)
            // One that is gone has no size.
            && rustix::termios::tcsetwinsize(end, size).is_ok()
        {
            *known = size;
        }
    }

    /// Waits until there is something to do, or to ask; says whether there is input.
    fn wait(&self, sandbox: &Sandbox) -> Result<bool, ExecutorError> {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut watched = Vec::with_capacity(5);
        let wants_input = self.end.is_some() && self.pending.is_empty();
        if wants_input {
            watched.push(readable(self.attachment.input));
        }
        watched.extend([
            readable(sandbox.socket.as_fd()),
            readable(sandbox.stdout.as_fd()),
            readable(sandbox.stderr.as_fd()),
        ]);
        // A vacant terminal is always said to be ready.
        if let (Some(end), false) = (&self.end, self.vacant) {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::POLLIN, self.size.is_some());
            wanted.set(PollFlags::POLLOUT, !self.pending.is_empty());
            watched.push(PollFd::new(end.as_fd(), wanted));
        }
        match nix::poll::poll(&mut watched, CANCEL_TICK_MS) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                return Err(helper_error("wait for the command's output")(error.into()));
            }
        }
        Ok(wants_input && watched.first().and_then(PollFd::any).unwrap_or(false))
    }

    /// Takes what there is of the caller's input, and gives the command what it takes.
    fn read_input(&mut self, has_input: bool) -> io::Result<()> {
        if has_input {
            let mut buffer = [0; INPUT_BYTES];
            match rustix::io::read(self.attachment.input, &mut buffer) {
                // A terminal that was hung up is read as an end or fails.
                Ok(0) | Err(Errno::IO) => self.end = None,
                Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(end) = &self.end else { return Ok(()) };
        while !self.pending.is_empty() {
            match rustix::io::write(end, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Nobody reads it any more; the output may go on.
                Err(_) => {
                    self.pending.clear();
                    if self.size.is_none() {
                        self.end = None;
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Hands on what there is of the outputs: all, once the command has ended.
    fn write_outputs(&mut self, sandbox: &Sandbox, ended: bool) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let attachment = self.attachment;
        let mut deaf = self.deaf;
        for (from, to) in
            [(&sandbox.stdout, attachment.output), (&sandbox.stderr, attachment.error)]
        {
            forward(from, &mut buffer, ended, &mut |bytes| deaf |= !write_all(to, bytes))?;
        }
        if let (Some(_), Some(end)) = (self.size, &self.end) {
            // A terminal whose last user is gone fails, and not before all was read.
            match forward(end, &mut buffer, ended, &mut |bytes| {
                deaf |= !write_all(attachment.output, bytes);
            }) {
                Ok(_) => self.vacant = false,
                Err(error) if error.raw_os_error() == Some(libc::EIO) => self.vacant = true,
                Err(error) => return Err(error),
            }
        }
        self.deaf = deaf;
        Ok(())
    }

    /// Tells of the command where its errors are expected.
    fn tell(&self, message: &[u8]) {
        match self.size {
            // In raw mode a line feed alone does not return.
            Some(_) => {
                let text = String::from_utf8_lossy(message).replace('\n', "\r\n");
                write_all(self.attachment.output, text.as_bytes())
            }
            None => write_all(self.attachment.error, message),
        };
    }
}

/// Takes the first byte that the sandbox sends, and the end that comes with it; nothing when it has sent none yet, or
/// is gone.
fn receive_end(
    socket: &UnixStream,
    end: &mut Option<OwnedFd>,
) -> Result<Option<u8>, ExecutorError> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let slices = &mut [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let failed = helper_error("read the sandbox's report");
    match rustix::net::recvmsg(socket, slices, &mut ancillary, flags) {
        Ok(received) if received.bytes == 0 => return Ok(Some(END_FOLLOWS)),
        Ok(_) => {}
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        // It ended without having read all that it was sent.
        Err(Errno::CONNRESET) => return Ok(Some(END_FOLLOWS)),
        Err(error) => return Err(failed(error.into())),
    }
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            *end = rights.last();
        }
    }
    if let Some(end) = end {
        rustix::io::ioctl_fionbio(end, true).map_err(|errno| failed(errno.into()))?;
    }
    Ok(Some(byte[0]))
}

/// Writes all, waiting for whoever reads; says whether anybody does.
fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            // Somebody else made it so.
            Err(Errno::AGAIN) => {
                let mut watched = [PollFd::new(to, PollFlags::POLLOUT)];
                // If that fails, so does writing.
                let _waited = nix::poll::poll(&mut watched, CANCEL_TICK_MS);
            }
            Err(_) => return false,
        }
    }
    true
}
