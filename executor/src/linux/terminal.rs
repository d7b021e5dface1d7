//! What a command reads that is attached to its caller: a pipe or a terminal.
//!
//! Either is made in the sandbox, and its other end goes to the caller over the sandbox's socket, with one byte,
//! [`END_FOLLOWS`]. A terminal is one of the sandbox's own `/dev/pts`: the host's has nothing of it, and programs
//! inside find it by its name.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::WindowSize;

/// Comes with the caller's end. No report begins so.
pub(crate) const END_FOLLOWS: u8 = b'+';

/// Puts a pipe in the place of standard input.
pub(super) fn offer_pipe(caller: BorrowedFd<'_>) -> io::Result<()> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    nix::unistd::dup2_stdin(&ours)?;
    hand_over(caller, theirs.as_fd())
}

/// Makes a terminal; answers the command's side of it.
pub(super) fn offer(caller: BorrowedFd<'_>, size: WindowSize) -> io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&theirs)?;
    rustix::termios::tcsetwinsize(&theirs, winsize(size))?;
    let ours = rustix::pty::ioctl_tiocgptpeer(&theirs, flags)?;
    hand_over(caller, theirs.as_fd())?;
    Ok(ours)
}

/// Starts a session on the terminal, as input and both outputs.
pub(super) fn take(terminal: Option<&OwnedFd>) -> io::Result<()> {
    let terminal = terminal.ok_or_else(|| io::Error::other("there is no terminal"))?;
    nix::unistd::setsid()?;
    rustix::process::ioctl_tiocsctty(terminal)?;
    nix::unistd::dup2_stdin(terminal)?;
    nix::unistd::dup2_stdout(terminal)?;
    Ok(nix::unistd::dup2_stderr(terminal)?)
}

/// A size as the kernel has it.
pub(crate) fn winsize(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn hand_over(caller: BorrowedFd<'_>, end: BorrowedFd<'_>) -> io::Result<()> {
    let ends = [end];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&ends));
    let slices = [IoSlice::new(&[END_FOLLOWS])];
    Ok(rustix::net::sendmsg(caller, &slices, &mut ancillary, SendFlags::NOSIGNAL).map(drop)?)
}
