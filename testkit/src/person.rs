//! Somebody at a terminal, for tests of programs that people use.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

/// How long a person waits, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A person's keyboard, and what was shown on the screen. The terminal has 24 rows of 80 columns.
#[derive(Debug)]
pub struct Person {
    keyboard: File,
    terminal: OwnedFd,
    before: Termios,
    shown: Receiver<Vec<u8>>,
    text: String,
}

#[expect(clippy::new_without_default, reason = "a person is no empty value")]
impl Person {
    /// A person at a terminal of their own.
    ///
    /// # Panics
    /// When the machine has no terminals left.
    #[must_use]
    pub fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = rustix::pty::openpt(flags).expect("a terminal");
        rustix::pty::unlockpt(&ours).expect("a terminal that can be opened");
        let terminal = rustix::pty::ioctl_tiocgptpeer(&ours, flags).expect("the other side");
        let before = tcgetattr(&terminal).expect("the terminal's mode");
        let keyboard = File::from(ours);
        let mut screen = keyboard.try_clone().expect("a screen");
        let (send, shown) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                send.send(buffer[..length].to_vec()).unwrap_or_default();
            }
        });
        let person = Self { keyboard, terminal, before, shown, text: String::new() };
        person.resizes(24, 80);
        person
    }

    /// The terminal, as programs have it.
    #[must_use]
    pub fn terminal(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }

    /// Starts a program on the terminal.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn starts(&self, command: &mut Command) -> Child {
        let end = || Stdio::from(self.terminal.try_clone().expect("another descriptor"));
        command.env("TERM", "dumb").stdin(end()).stdout(end()).stderr(end());
        command.spawn().expect("a program that can be started")
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("a terminal to type on");
    }

    /// Waits until something is shown that was not awaited before; answers all up to it.
    ///
    /// # Panics
    /// When it is not shown.
    pub fn sees(&mut self, expected: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.text.find(expected) {
                return self.text.drain(..at + expected.len()).collect();
            }
            match self.shown.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) if start.elapsed() < PATIENCE => {}
                Err(error) => panic!("{expected:?} is not in {:?}: {error}", self.text),
            }
        }
    }

    /// Gives the terminal another size.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn resizes(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keyboard, size).expect("a terminal to resize");
    }

    /// Puts the terminal into raw mode.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn makes_it_raw(&self) {
        let mut mode = self.mode();
        mode.make_raw();
        tcsetattr(&self.terminal, OptionalActions::Now, &mode).expect("a terminal to set");
    }

    /// Whether the terminal is as it was in the beginning.
    #[must_use]
    pub fn finds_the_terminal_as_it_was(&self) -> bool {
        format!("{:?}", self.mode()) == format!("{:?}", self.before)
    }

    fn mode(&self) -> Termios {
        tcgetattr(&self.terminal).expect("the terminal's mode")
    }
}
