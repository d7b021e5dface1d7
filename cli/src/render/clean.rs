//! Makes bytes that a step wrote fit to be shown on a terminal.
//!
//! They are hostile: an escape sequence could rewrite what stands above it, change the window's title
//! or answer as if typed. Whole sequences are dropped, and with them all control characters and the
//! marks that reorder text. What is left is printable text, tabs, and lines.

use kiln_frontend::{steers, visible};

/// The longest line that is kept in one piece, in bytes.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Cuts a stream of bytes into clean lines. Chunks may break anywhere.
#[derive(Debug, Default)]
pub struct LineCleaner {
    state: State,
    /// The first bytes of a character whose rest is to come.
    partial: Vec<u8>,
    line: String,
    /// Whether the last character was a carriage return: what follows replaces the line.
    returned: bool,
}

/// Where in an escape sequence the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// After ESC and perhaps intermediate characters.
    Escape,
    /// In a control sequence (`ESC [`), until a final character.
    Control,
    /// In a string (`ESC ]`, `ESC P` …), until its terminator.
    String,
    /// After an ESC inside a string.
    StringEscape,
}

impl LineCleaner {
    /// Takes in bytes, and gives out each line that they complete.
    pub fn feed(&mut self, bytes: &[u8], lines: &mut Vec<String>) {
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let mut rest = joined.as_slice();
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    text.chars().for_each(|c| self.push(c, lines));
                    return;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    String::from_utf8_lossy(valid).chars().for_each(|c| self.push(c, lines));
                    let Some(invalid) = error.error_len() else {
                        self.partial = after.to_vec();
                        return;
                    };
                    self.push(char::REPLACEMENT_CHARACTER, lines);
                    rest = &after[invalid..];
                }
            }
        }
    }

    /// The line that is not complete yet.
    pub(super) fn unfinished(&self) -> &str {
        &self.line
    }

    /// Ends the stream: what stood in an unfinished line.
    pub fn finish(&mut self) -> Option<String> {
        let last = std::mem::take(self);
        Some(last.line).filter(|line| !line.is_empty())
    }

    fn push(&mut self, c: char, lines: &mut Vec<String>) {
        if c == '\n' {
            // A newline ends any sequence, so that none can swallow the rest of the output.
            self.state = State::Text;
            self.returned = false;
            lines.push(std::mem::take(&mut self.line));
            return;
        }
        let state = self.state;
        self.state = match (state, c) {
            (State::String, '\u{1b}') => State::StringEscape,
            (_, '\u{1b}') => State::Escape,
            // Cancel, substitute.
            (_, '\u{18}' | '\u{1a}') => State::Text,
            (State::String, '\u{07}' | '\u{9c}') | (State::StringEscape, '\\') => State::Text,
            (State::String, _) => State::String,
            (State::Escape | State::StringEscape, '[') => State::Control,
            (State::Escape | State::StringEscape, ']' | 'P' | 'X' | '^' | '_') => State::String,
            (State::Escape, ' '..='/') => State::Escape,
            (State::Control, ' '..='?') => State::Control,
            (State::Escape | State::Control | State::StringEscape, _) => State::Text,
            (State::Text, '\u{9b}') => State::Control,
            (State::Text, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => State::String,
            (State::Text, c) => {
                self.show(c, lines);
                State::Text
            }
        };
    }

    fn show(&mut self, c: char, lines: &mut Vec<String>) {
        match c {
            '\r' => self.returned = true,
            '\u{08}' => {
                self.line.pop();
            }
            c if !is_showable(c) => {}
            c => {
                if std::mem::take(&mut self.returned) {
                    self.line.clear();
                }
                if self.line.len() >= MAX_LINE_BYTES {
                    lines.push(std::mem::take(&mut self.line));
                }
                self.line.push(c);
            }
        }
    }
}

/// Whether a character is seen. A tab is.
fn is_showable(c: char) -> bool {
    c == '\t' || !steers(c)
}

/// What a step wrote, as one line.
#[must_use]
pub fn output_line(text: &str) -> String {
    let mut cleaner = LineCleaner::default();
    let mut lines = Vec::new();
    cleaner.feed(text.as_bytes(), &mut lines);
    lines.extend(cleaner.finish());
    lines.join(" ")
}

/// Text from a Dockerfile or a message, fit for one line: what steers a terminal is spelt out, and each run of
/// white space is one space.
#[must_use]
pub fn one_line(text: &str) -> String {
    visible(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A name of a file on one line, so that no two names look the same: a backslash is doubled, and what is no text or
/// would steer a terminal is written as `\xNN`, byte by byte.
#[must_use]
pub fn escaped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    let spell = |text: &mut String, bytes: &[u8]| {
        bytes.iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    };
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if steers(c) => spell(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        spell(&mut text, chunk.invalid());
    }
    text
}

/// A message as a person would put it: `No such file or directory (os error 2)` is `no such file or
/// directory`.
#[must_use]
pub fn in_words(message: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut words = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once(NUMBER) {
        let digits = after.trim_start_matches(|c: char| c.is_ascii_digit());
        match digits.strip_prefix(')') {
            Some(more) if digits.len() < after.len() => {
                let start = before.rfind(": ").map_or(0, |colon| colon + 2);
                words.push_str(&before[..start]);
                words.extend(uncapitalised(&before[start..]));
                rest = more;
            }
            _ => {
                words.push_str(before);
                words.push_str(NUMBER);
                rest = after;
            }
        }
    }
    words + rest
}

/// Text that goes on after a colon.
fn uncapitalised(text: &str) -> impl Iterator<Item = char> {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines that `bytes` become, whole and cut into single bytes.
    fn clean(bytes: &[u8]) -> Vec<String> {
        let lines = |chunks: &mut dyn Iterator<Item = &[u8]>| {
            let mut cleaner = LineCleaner::default();
            let mut lines = Vec::new();
            for chunk in chunks {
                cleaner.feed(chunk, &mut lines);
            }
            lines.extend(cleaner.finish());
            lines
        };
        let whole = lines(&mut std::iter::once(bytes));
        assert_eq!(lines(&mut bytes.chunks(1)), whole, "cut into single bytes");
        whole
    }

    #[test]
    fn sequences_vanish_whole() {
        for (bytes, expected) in [
            (&b"\x1b[31mred\x1b[0m text"[..], "red text"),
            (b"a\x1b]0;title\x07b", "ab"),
            (b"a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
            (b"a\x1bPq#0;2;0\x1b\\b", "ab"),
            (b"a\x1b[2J\x1b[1;1Hb", "ab"),
            (b"a\x1b(Bb\x1bcc", "abc"),
            ("a\u{9b}31mb\u{9d}0;t\u{9c}c".as_bytes(), "abc"),
            (b"a\x07\x00\x0e\x7fb", "ab"),
            ("a\u{202e}b\u{2066}c\u{200f}d".as_bytes(), "abcd"),
            (b"tab\tstays", "tab\tstays"),
            (b"ab\x08c", "ac"),
        ] {
            assert_eq!(clean(bytes), [expected], "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_newline_ends_an_open_sequence() {
        assert_eq!(clean(b"a\x1b]0;never closed\nnext\n"), ["a", "next"]);
        assert_eq!(clean(b"\x1b[12\nnext"), ["", "next"]);
    }

    #[test]
    fn a_carriage_return_starts_the_line_anew() {
        assert_eq!(clean(b"10%\r50%\r100%\r\nnext\r\n"), ["100%", "next"]);
        assert_eq!(clean(b"stays\r"), ["stays"]);
    }

    #[test]
    fn broken_characters_are_marked() {
        assert_eq!(clean(b"a\xff\xfeb"), ["a\u{fffd}\u{fffd}b"]);
        assert_eq!(clean("größe 漢字".as_bytes()), ["größe 漢字"]);
    }

    #[test]
    fn a_line_has_an_end() {
        let lines = clean(&[b'x'; 20_000]);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [8192, 8192, 3616]);
    }

    proptest! {
        #[test]
        fn any_bytes_become_harmless_text(bytes in prop::collection::vec(awkward_byte(), 0..300)) {
            for line in clean(&bytes) {
                prop_assert!(line.chars().all(is_showable), "{line:?}");
                prop_assert!(!line.contains('\n'));
            }
        }
    }

    /// Bytes that mean something in sequences come up as often as all others.
    fn awkward_byte() -> impl Strategy<Value = u8> {
        prop_oneof![
            any::<u8>(),
            prop::sample::select(
                b"\x1b[]P\\\x07\x18\r\n\x08;1mA\xc2\x9b\x9d\xe2\x80\xae".as_slice()
            ),
        ]
    }

    #[test]
    fn errors_of_the_system_are_put_in_words() {
        for (message, expected) in [
            (
                "cannot read `x`: No such file or directory (os error 2)",
                "cannot read `x`: no such file or directory",
            ),
            ("a: Broken (os error 32); b: Refused (os error 111))", "a: broken; b: refused)"),
            ("Broken (os error 32)", "broken"),
            ("is it (os error x)? (os error ", "is it (os error x)? (os error "),
            ("All fine", "All fine"),
        ] {
            assert_eq!(in_words(message), expected);
        }
    }

    #[test]
    fn names_of_files_are_told_apart() {
        for (name, expected) in [
            (&b"plain \xc3\xa4"[..], "plain \u{e4}"),
            (b"a\nb\tc\x1b[2J\x7f", r"a\x0ab\x09c\x1b[2J\x7f"),
            (b"back\\slash\xff", r"back\\slash\xff"),
            ("\u{202e}x\u{9b}".as_bytes(), r"\xe2\x80\xaex\xc2\x9b"),
        ] {
            assert_eq!(escaped(name), expected);
        }
    }

    #[test]
    fn names_are_one_line() {
        assert_eq!(
            one_line("RUN <<EOF\n  make\x1b[2J\n\tinstall\nEOF"),
            "RUN <<EOF make\\u001b[2J install EOF"
        );
    }
}
