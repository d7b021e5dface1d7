//! Messages of the agent's protocol (draft-ietf-sshm-ssh-agent), and which of them a command may send.
//!
//! A message is its length in four bytes, big-endian, and as many bytes; the first says what it is. Both sides are
//! hostile: a command by nature, and an agent because it may be anybody's.

use std::io::{self, Read, Write};

/// The largest message, as OpenSSH has it.
pub(super) const MAX_MESSAGE_BYTES: u32 = 256 << 10;
/// The agent's answer to what it does not do.
pub(super) const FAILURE: u8 = 5;
/// Asks for the keys.
pub(super) const REQUEST_IDENTITIES: u8 = 11;
/// Asks for a signature.
pub(super) const SIGN_REQUEST: u8 = 13;

/// Hands a command's messages on to an agent, and its answers back, until the command has no more. What is neither
/// a question for keys nor for a signature is answered here.
pub(super) fn exchange(
    client: &mut (impl Read + Write),
    agent: &mut (impl Read + Write),
) -> io::Result<()> {
    while let Some(request) = read(client)? {
        let answer = match request.first() {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => {
                write(agent, &request)?;
                read(agent)?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
            _ => vec![FAILURE],
        };
        write(client, &answer)?;
    }
    Ok(())
}

/// The next message; nothing at the end.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length);
    if length > MAX_MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut message = Vec::new();
    from.take(length.into()).read_to_end(&mut message)?;
    if message.len() as u64 == u64::from(length) {
        Ok(Some(message))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Sends a message.
pub(super) fn write(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes()[..], message].concat())
}
