//! The physical layer: from bytes to logical lines.
//!
//! Written by hand, because what it reads is not context free: a directive changes the escape character,
//! comments stand between continued lines, and several here documents queue up behind one line. It knows
//! nothing of instructions. Every byte of the source is read a bounded number of times.

use crate::error::SyntaxErrorKind;
use crate::text::Text;
use crate::word::{Span, Spanned};

/// The most bytes a physical line may have, its ending not counted.
pub(crate) const MAX_LINE_BYTES: usize = 65_535;

/// Reads a source from its first line to its last.
#[derive(Debug)]
pub(crate) struct Reader<'s> {
    source: &'s str,
    position: usize,
    escape: char,
    /// Mistakes of this layer, to be taken by whoever drives it.
    errors: Vec<(Span, SyntaxErrorKind)>,
}

/// A line as it stands in the source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhysicalLine<'s> {
    /// Without its ending.
    pub(crate) content: &'s str,
    /// Where it starts.
    pub(crate) start: usize,
    /// Where the next one starts.
    pub(crate) next: usize,
}

impl PhysicalLine<'_> {
    /// The bytes of its content.
    pub(crate) fn span(&self) -> Span {
        Span { start: self.start, end: self.start + self.content.len() }
    }
}

/// An instruction's line, continuations joined and comments taken out.
#[derive(Debug)]
pub(crate) struct LogicalLine {
    /// Its characters, without blanks in front; those at its end are still there.
    pub(crate) text: Text,
    /// From its first character to the end of its last physical line with text.
    pub(crate) span: Span,
    /// The comments directly above.
    pub(crate) comments: Vec<Spanned<String>>,
    /// Empty lines inside it.
    pub(crate) blanks: Vec<Span>,
}

impl<'s> Reader<'s> {
    /// Starts behind the byte order mark, if there is one.
    pub(crate) fn new(source: &'s str) -> Self {
        let position = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { source, position, escape: '\\', errors: Vec::new() }
    }

    /// The character that continues lines.
    pub(crate) fn escape(&self) -> char {
        self.escape
    }

    /// Changes the character that continues lines, for those still to come.
    pub(crate) fn set_escape(&mut self, escape: char) {
        self.escape = escape;
    }

    /// Where the last line that was read ends. The end of a file that ends in a newline is on no line.
    pub(crate) fn last_line(&self) -> usize {
        let read = &self.source[..self.position];
        read.strip_suffix('\n').unwrap_or(read).len()
    }

    /// The mistakes met since the last call.
    pub(crate) fn take_errors(&mut self) -> Vec<(Span, SyntaxErrorKind)> {
        std::mem::take(&mut self.errors)
    }

    /// The next physical line, not yet consumed.
    pub(crate) fn peek(&self) -> Option<PhysicalLine<'s>> {
        self.peek_at(self.position)
    }

    /// The physical line that starts at an offset.
    pub(crate) fn peek_at(&self, start: usize) -> Option<PhysicalLine<'s>> {
        let rest = &self.source[start..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        let content = rest[..length].trim_end_matches(['\r', '\n']);
        Some(PhysicalLine { content, start, next: start + length })
    }

    /// Consumes a line that [`peek`](Self::peek) answered.
    pub(crate) fn consume(&mut self, line: PhysicalLine<'s>) {
        let length = self.source[line.start..line.next].trim_end_matches('\n').len();
        if length > MAX_LINE_BYTES {
            self.errors.push((line.span(), SyntaxErrorKind::LineTooLong { length_bytes: length }));
        }
        self.position = line.next;
    }

    fn next_physical(&mut self) -> Option<PhysicalLine<'s>> {
        let line = self.peek()?;
        self.consume(line);
        Some(line)
    }

    /// The next instruction's line, or nothing at the end of the source.
    pub(crate) fn next_logical(&mut self) -> Option<LogicalLine> {
        let mut comments = Vec::new();
        loop {
            let line = self.next_physical()?;
            let content = line.content.trim_start();
            let start = line.start + (line.content.len() - content.len());
            if let Some(comment) = comment_of(content, start) {
                comments.push(comment);
            } else if content.is_empty() {
                comments.clear();
            } else {
                return Some(self.continue_line(content, start, comments));
            }
        }
    }

    fn continue_line(
        &mut self,
        first: &str,
        start: usize,
        comments: Vec<Spanned<String>>,
    ) -> LogicalLine {
        let mut text = Text::at(start);
        let (first_text, mut continues) = without_continuation(first, self.escape);
        text.push(first_text, start);
        let mut span = Span { start, end: start + first.len() };
        let mut blanks = Vec::new();
        while continues {
            let Some(line) = self.next_physical() else { break };
            let stripped = line.content.trim_start();
            if stripped.starts_with('#') {
                continue;
            }
            if stripped.is_empty() {
                blanks.push(line.span());
                continue;
            }
            let (more, again) = without_continuation(line.content, self.escape);
            text.push(more, line.start);
            span.end = line.span().end;
            continues = again;
        }
        LogicalLine { text, span, comments, blanks }
    }

    /// Consumes a here document's lines and the delimiter behind them. Without a delimiter it consumes the
    /// rest of the source and answers nothing: whatever stands there is the unfinished body.
    pub(crate) fn next_body(
        &mut self,
        delimiter: &str,
        strip_tabs: bool,
    ) -> Option<Spanned<String>> {
        let start = self.position;
        while let Some(line) = self.next_physical() {
            let candidate = match strip_tabs {
                true => line.content.trim_start_matches('\t'),
                false => line.content,
            };
            if candidate == delimiter {
                let span = Span { start, end: line.start };
                return Some(Spanned { node: self.source[start..line.start].to_owned(), span });
            }
        }
        None
    }
}

fn comment_of(content: &str, start: usize) -> Option<Spanned<String>> {
    let text = content.strip_prefix('#')?;
    let node = text.trim().to_owned();
    Some(Spanned { node, span: Span { start, end: start + content.len() } })
}

/// Takes off the escape character that continues a line. Blanks may stand behind it; an escaped escape
/// character continues nothing.
fn without_continuation(content: &str, escape: char) -> (&str, bool) {
    match content.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (content, false),
    }
}

#[cfg(test)]
mod tests;
