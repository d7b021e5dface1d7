//! Words: text with variables in it, as a tree.
//!
//! A tree says what to substitute and where; values are somebody else's. Also here are the spans that the
//! whole crate speaks in.

use std::fmt;

mod assemble;

pub(crate) use assemble::{Dialect, Quotes, pieces as parse_pieces, word as parse_word};

/// A stretch of the source, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

/// A value with the stretch of source it was read from.
#[derive(Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub node: T,
    /// Where it stands.
    pub span: Span,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.span, self.node)
    }
}

/// Text with variables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text as written, continuations joined; a flag's value without the quotes around it.
    pub raw: String,
    /// Where it stands.
    pub span: Span,
    /// The same text, taken apart.
    pub parts: Vec<WordPart>,
}

/// A piece of a [`Word`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WordPart {
    /// Unquoted text; blanks in it separate words where several are looked for.
    Literal(String),
    /// Text that came out of single quotes or from behind the escape character; never split.
    Quoted(String),
    /// What stands in double quotes: literals and variables, never split.
    DoubleQuoted(Vec<WordPart>),
    /// A variable. Blanks in an unquoted one's value separate words where several are looked for.
    Variable(Variable),
}

/// `$name` or `${name…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name: letters, digits and `_`, or all digits, or one of `@ * # ? - $ !`. May be empty
    /// before an operation (`${/a/b}`), and then no variable has it.
    pub name: String,
    /// From the `$` to its end.
    pub span: Span,
    /// What to do with the value.
    pub operation: Option<Operation>,
}

/// What a `${name…}` does with its value. Operands are words of their own, which are expanded whether
/// or not they are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// `-`, `:-`: the operand instead of nothing.
    Default(Absence, Vec<WordPart>),
    /// `+`, `:+`: the operand instead of something.
    Alternative(Absence, Vec<WordPart>),
    /// `?`, `:?`: an error with the operand as its message.
    Require(Absence, Vec<WordPart>),
    /// `#`, `##`: without a matching beginning. Escapes stay in the pattern.
    TrimPrefix(Extent, Vec<WordPart>),
    /// `%`, `%%`: without a matching end. Escapes stay in the pattern.
    TrimSuffix(Extent, Vec<WordPart>),
    /// `/pattern/replacement`, `//pattern/replacement`. Escapes stay in both.
    Replace {
        /// Which matches to replace.
        matches: Matches,
        /// The pattern.
        pattern: Vec<WordPart>,
        /// What to put in its place.
        replacement: Vec<WordPart>,
    },
}

/// What counts as having no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Only an unset variable.
    Unset,
    /// An unset or empty one (`:`).
    UnsetOrEmpty,
}

/// How much a pattern takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// As little as matches.
    Shortest,
    /// As much as matches.
    Longest,
}

/// Which matches of a pattern are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matches {
    /// The first.
    First,
    /// Every one.
    All,
}

/// The line and column of a byte offset, both counted from 1; the column counts characters.
#[must_use]
pub fn line_column(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..source.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
