//! Bytes over a socket, and a descriptor with them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Sends all of the bytes, with the descriptor beside the first of them.
pub(crate) fn send(
    socket: impl AsFd,
    mut bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut rest: &[BorrowedFd<'_>] = descriptor.as_slice();
    while !bytes.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !rest.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(rest));
        }
        let slices = [IoSlice::new(bytes)];
        match rustix::net::sendmsg(&socket, &slices, &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => {
                bytes = bytes.get(sent?..).unwrap_or_default();
                rest = &[];
            }
        }
    }
    Ok(())
}

/// Receives what is there: how many bytes, none at the end; and the descriptor beside them, if there is one.
pub(crate) fn receive(
    socket: impl AsFd,
    bytes: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let slices = &mut [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(&socket, slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?.bytes,
        }
    };
    let mut descriptor = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptor = descriptor.or(rights.last());
        }
    }
    Ok((received, descriptor))
}
