//! Text that remembers where in the source it came from.
//!
//! A logical line is glued from several physical ones, and a flag's value or a JSON string loses its quotes
//! and escapes; what is parsed next is no slice of the source any more. A [`Text`] is such a string with a
//! piecewise map back. Invariant: both ends of every span it answers lie in the source on character
//! boundaries, because a piece is either copied byte for byte or stands for a longer ASCII escape.

use std::ops::Range;

use crate::word::{Span, Spanned};

/// A string assembled from pieces of the source, in source order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    string: String,
    pieces: Vec<Piece>,
    /// The source offset after the last piece.
    source_end: usize,
}

/// Bytes from `at` on came from `source` on.
#[derive(Debug, Clone, Copy)]
struct Piece {
    at: usize,
    source: usize,
}

impl Text {
    /// Empty text that stands at a place of the source.
    pub(crate) fn at(source: usize) -> Self {
        Self { source_end: source, ..Self::default() }
    }

    /// Appends what the source holds from `source` on.
    pub(crate) fn push(&mut self, fragment: &str, source: usize) {
        self.push_escape(fragment, Span { start: source, end: source + fragment.len() });
    }

    /// Appends what stands for other, at least as many bytes of the source.
    pub(crate) fn push_escape(&mut self, fragment: &str, source: Span) {
        let follows = self
            .pieces
            .last()
            .is_some_and(|last| last.source + (self.string.len() - last.at) == source.start);
        if !follows && !fragment.is_empty() {
            self.pieces.push(Piece { at: self.string.len(), source: source.start });
        }
        self.string.push_str(fragment);
        self.source_end = source.end;
    }

    /// Appends a part of another text.
    pub(crate) fn push_slice(&mut self, slice: Slice<'_>) {
        let mut start = slice.start;
        let pieces = &slice.text.pieces;
        let mut next = pieces.partition_point(|piece| piece.at <= start);
        while start < slice.end {
            let piece_end = pieces.get(next).map_or(slice.end, |piece| piece.at.min(slice.end));
            let fragment = &slice.text.string[start..piece_end];
            self.push(fragment, slice.text.source_of(start));
            start = piece_end;
            next += 1;
        }
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Slice<'_> {
        Slice { text: self, start: 0, end: self.string.len() }
    }

    fn source_of(&self, at: usize) -> usize {
        let next = self.pieces.partition_point(|piece| piece.at <= at);
        match next.checked_sub(1).map(|index| self.pieces[index]) {
            Some(piece) if at < self.string.len() => piece.source + (at - piece.at),
            _ => self.source_end,
        }
    }
}

/// A part of a [`Text`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice<'a> {
    text: &'a Text,
    start: usize,
    end: usize,
}

impl<'a> Slice<'a> {
    /// The characters.
    pub(crate) fn as_str(self) -> &'a str {
        &self.text.string[self.start..self.end]
    }

    /// Where they came from, including what was left out between them.
    pub(crate) fn span(self) -> Span {
        let start = self.text.source_of(self.start);
        if self.start == self.end {
            return Span { start, end: start };
        }
        Span { start, end: self.text.source_of(self.end - 1) + 1 }
    }

    /// The characters together with where they came from.
    pub(crate) fn spanned(self) -> Spanned<String> {
        Spanned { node: self.as_str().to_owned(), span: self.span() }
    }

    /// A part, by byte offsets into [`as_str`](Self::as_str).
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        Self { text: self.text, start: self.start + range.start, end: self.start + range.end }
    }

    /// Everything from an offset on.
    pub(crate) fn from(self, start: usize) -> Self {
        Self { start: self.start + start, ..self }
    }

    /// Nothing, at its end.
    pub(crate) fn at_end(self) -> Self {
        Self { start: self.end, ..self }
    }

    /// Without blanks around it.
    pub(crate) fn trim(self) -> Self {
        let string = self.as_str();
        let start = string.len() - string.trim_start().len();
        let length = string.trim().len();
        self.part(start..start + length)
    }

    /// Whether there are no characters.
    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}
