//! Whatever a command and an agent send each other: the agent sees nothing but questions for keys and signatures,
//! and nobody a message that is too long.
#![no_main]

use std::io::{self, Read, Write};

use libfuzzer_sys::fuzz_target;

// The engine shows nobody how it hands messages on.
#[path = "../../engine/src/runner/agent/message.rs"]
mod message;

/// One side of a connection.
struct Side<'b> {
    sends: &'b [u8],
    gets: Vec<u8>,
}

impl Read for Side<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.sends.read(into)
    }
}

impl Write for Side<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gets.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let mut client = Side { sends: input.0, gets: Vec::new() };
    let mut agent = Side { sends: input.1, gets: Vec::new() };
    let _ended = message::exchange(&mut client, &mut agent);
    let mut asked = agent.gets.as_slice();
    while let Some(request) = message::read(&mut asked).expect("whole messages") {
        assert!(matches!(request[0], message::REQUEST_IDENTITIES | message::SIGN_REQUEST));
    }
    let mut answered = client.gets.as_slice();
    while message::read(&mut answered).expect("whole messages").is_some() {}
});
