//! Reading a build's file: bytes in, lines out, within limits.
//!
//! A file may be of a build that runs, or that was killed, or of another machine, or damaged. What comes before
//! the first line that cannot be read counts; nothing after it does.

use std::io::{self, BufRead, Read as _};

use super::line::{Begin, Line, VERSION};

/// The largest file that is read, in bytes; Kiln writes less.
pub(super) const MAX_FILE_BYTES: u64 = 512 << 20;
/// The longest line that is read, in bytes.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// How much of a build's file there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// The end is missing: the build runs, or was killed.
    Cut,
    /// A line cannot be read, and nothing after it was.
    Damaged {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a file is none of a build's.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it does not begin as one")]
    Begin,
    #[error("it has the form {found}, and this kiln knows {VERSION}")]
    Newer { found: u32 },
}

/// Reads the lines of a file: answers the first, hands over the others. `take` says what is wrong with a line.
pub(super) fn read(
    file: impl BufRead,
    take: &mut dyn FnMut(Line) -> Result<(), String>,
) -> Result<(Option<Begin>, Extent), ReadError> {
    let mut lines = Lines { file: file.take(MAX_FILE_BYTES), number: 0, text: Vec::new() };
    let first = match lines.next()? {
        Next::Line(line) => *line,
        Next::Nothing => return Ok((None, Extent::Cut)),
        Next::Damaged(_) => return Err(ReadError::Begin),
    };
    let begin = match first {
        Line::Begin(begin) if begin.v <= VERSION => begin,
        Line::Begin(begin) => return Err(ReadError::Newer { found: begin.v }),
        Line::Origin(_) | Line::Event(_) | Line::End(_) | Line::Unknown => {
            return Err(ReadError::Begin);
        }
    };
    loop {
        let line = match lines.next()? {
            Next::Line(line) => *line,
            Next::Nothing => return Ok((Some(begin), Extent::Cut)),
            Next::Damaged(reason) => return Ok((Some(begin), lines.damaged(reason))),
        };
        let is_end = matches!(line, Line::End(_));
        if let Err(reason) = take(line) {
            return Ok((Some(begin), lines.damaged(reason)));
        }
        if is_end {
            return Ok((Some(begin), Extent::Whole));
        }
    }
}

struct Lines<R> {
    file: io::Take<R>,
    number: usize,
    text: Vec<u8>,
}

enum Next {
    Line(Box<Line>),
    /// The file ends, perhaps in the middle of a line.
    Nothing,
    Damaged(String),
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> io::Result<Next> {
        self.text.clear();
        self.number += 1;
        let length = (&mut self.file).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.text)?;
        if self.text.pop() != Some(b'\n') {
            let is_long = length as u64 == MAX_LINE_BYTES || self.file.limit() == 0;
            return Ok(if is_long {
                Next::Damaged("it is too long".to_owned())
            } else {
                Next::Nothing
            });
        }
        Ok(match serde_json::from_slice(&self.text) {
            Ok(line) => Next::Line(Box::new(line)),
            Err(error) => Next::Damaged(error.to_string()),
        })
    }

    fn damaged(&self, reason: String) -> Extent {
        Extent::Damaged { line: self.number, reason }
    }
}
