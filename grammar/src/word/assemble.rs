//! From a word's text to its tree.
//!
//! The tokens come flat from a pest grammar; nesting is kept here, on a stack of our own and with a limit,
//! so that no input can exhaust the thread's. Each token is looked at once.

use pest::Parser as _;
use pest::iterators::Pair;

use super::{Absence, Extent, Matches, Operation, Span, Variable, Word, WordPart};
use crate::error::SyntaxErrorKind;
use crate::text::Slice;

/// How many quotes and braces may be open at once.
const MAX_DEPTH: usize = 64;

mod tokens {
    #[derive(pest_derive::Parser)]
    #[grammar = "word/tokens.pest"]
    pub(super) struct Tokens;
}
use tokens::{Rule, Tokens};

/// How a text's characters are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// A backslash or a backtick.
    pub(crate) escape: char,
    /// Whether quotes quote.
    pub(crate) quotes: Quotes,
}

/// What quotes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// Marks around text.
    Marks,
    /// Characters like any other, as in here documents.
    Characters,
}

/// What is wrong with a word, and where.
pub(crate) type WordError = (Span, SyntaxErrorKind);

/// A part of a word with the offset its text starts at.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) start: usize,
    pub(crate) part: WordPart,
}

/// Parses one word.
pub(crate) fn word(text: Slice<'_>, dialect: Dialect) -> Result<Word, WordError> {
    let parts = pieces(text, dialect)?.into_iter().map(|piece| piece.part).collect();
    Ok(Word { raw: text.as_str().to_owned(), span: text.span(), parts })
}

/// Parses a word, and tells where each of its outermost parts starts. A literal's text there is the
/// source's, character for character.
pub(crate) fn pieces(text: Slice<'_>, dialect: Dialect) -> Result<Vec<Piece>, WordError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if !text.as_str().contains(['$', '\'', '"', dialect.escape]) {
        let part = WordPart::Literal(text.as_str().to_owned());
        return Ok(vec![Piece { start: 0, part }]);
    }
    let rule = if dialect.escape == '`' { Rule::backtick_word } else { Rule::backslash_word };
    let parsed = Tokens::parse(rule, text.as_str());
    // The grammar takes every text: whatever is no other token is text.
    let pairs = parsed.into_iter().flatten().flat_map(Pair::into_inner);
    let tokens: Vec<_> =
        pairs.filter(|pair| pair.as_rule() != Rule::EOI).map(Token::from).collect();
    let assembler = Assembler { text, dialect, frames: vec![Frame::new(0, Scope::Word)] };
    assembler.run(&tokens)
}

struct Token<'i> {
    rule: Rule,
    start: usize,
    end: usize,
    text: &'i str,
    name: Option<&'i str>,
    operator: Option<Rule>,
}

impl<'i> From<Pair<'i, Rule>> for Token<'i> {
    fn from(pair: Pair<'i, Rule>) -> Self {
        let span = pair.as_span();
        let (rule, start, end, text) = (pair.as_rule(), span.start(), span.end(), span.as_str());
        let mut token = Self { rule, start, end, text, name: None, operator: None };
        for inner in pair.into_inner() {
            if inner.as_rule() == Rule::name {
                token.name = Some(inner.as_str());
            } else {
                token.operator = Some(inner.as_rule());
            }
        }
        token
    }
}

/// Something that was opened and not yet closed.
struct Frame {
    start: usize,
    scope: Scope,
    pieces: Vec<Piece>,
}

enum Scope {
    /// The word itself.
    Word,
    /// Double quotes.
    Quotes,
    /// A `${name` with an operator.
    Braces {
        name: String,
        operator: Rule,
        /// The pattern of a replacement, once its second slash was seen.
        pattern: Option<Vec<WordPart>>,
    },
}

impl Frame {
    fn new(start: usize, scope: Scope) -> Self {
        Self { start, scope, pieces: Vec::new() }
    }

    fn push(&mut self, start: usize, part: WordPart) {
        if let (Some(Piece { part: WordPart::Literal(before), .. }), WordPart::Literal(more)) =
            (self.pieces.last_mut(), &part)
        {
            before.push_str(more);
            return;
        }
        self.pieces.push(Piece { start, part });
    }

    /// The token that ends this frame.
    fn closing(&self) -> Option<Rule> {
        match &self.scope {
            Scope::Word => None,
            Scope::Quotes => Some(Rule::double),
            Scope::Braces {
                operator: Rule::replace | Rule::replace_all, pattern: None, ..
            } => Some(Rule::slash),
            Scope::Braces { .. } => Some(Rule::close),
        }
    }

    /// Whether escape characters stay in the text: in patterns and their replacements.
    fn keeps_escapes(&self) -> bool {
        match &self.scope {
            Scope::Word | Scope::Quotes => false,
            Scope::Braces { operator, .. } => !matches!(
                operator,
                Rule::default
                    | Rule::default_empty
                    | Rule::alternative
                    | Rule::alternative_empty
                    | Rule::require
                    | Rule::require_empty
            ),
        }
    }

    fn into_parts(self) -> Vec<WordPart> {
        self.pieces.into_iter().map(|piece| piece.part).collect()
    }
}

struct Assembler<'a> {
    text: Slice<'a>,
    dialect: Dialect,
    /// Never empty; the first is the word's own.
    frames: Vec<Frame>,
}

impl<'a> Assembler<'a> {
    fn run(mut self, tokens: &[Token<'_>]) -> Result<Vec<Piece>, WordError> {
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            index += 1;
            if let Some(after) = self.take(token)? {
                index += tokens[index..].partition_point(|token| token.start < after);
            }
        }
        let innermost = self.frames.pop().unwrap_or_else(|| Frame::new(0, Scope::Word));
        let here = self.span(innermost.start, self.text.as_str().len());
        let cause = match &innermost.scope {
            Scope::Word => return Ok(innermost.pieces),
            Scope::Quotes => SyntaxErrorKind::UnclosedQuote { quote: '"' },
            Scope::Braces { .. } if innermost.closing() == Some(Rule::slash) => {
                SyntaxErrorKind::UnclosedPattern
            }
            Scope::Braces { .. } => SyntaxErrorKind::UnclosedBrace,
        };
        Err((here, cause))
    }

    /// Puts a token in its place. Answers the offset to go on from where that is not its end.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other token is text here")]
    fn take(&mut self, token: &Token<'_>) -> Result<Option<usize>, WordError> {
        let marks = self.dialect.quotes == Quotes::Marks;
        if self.top().closing() == Some(token.rule) {
            self.close(token);
            return Ok(None);
        }
        let quoted = matches!(self.top().scope, Scope::Quotes);
        match token.rule {
            Rule::open => self.open(token)?,
            Rule::dollar => self.dollar(token),
            Rule::double if marks => self.enter(token, Scope::Quotes)?,
            Rule::single if marks && !quoted => return self.single(token).map(Some),
            Rule::backslash_escape | Rule::backtick_escape => self.escape(token, quoted),
            _ => self.push(token.start, WordPart::Literal(token.text.to_owned())),
        }
        Ok(None)
    }

    fn top(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::new(0, Scope::Word));
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn push(&mut self, start: usize, part: WordPart) {
        self.top().push(start, part);
    }

    fn span(&self, start: usize, end: usize) -> Span {
        self.text.part(start..end).span()
    }

    fn enter(&mut self, token: &Token<'_>, scope: Scope) -> Result<(), WordError> {
        if self.frames.len() > MAX_DEPTH {
            let limit = MAX_DEPTH;
            return Err((self.span(token.start, token.end), SyntaxErrorKind::TooDeep { limit }));
        }
        self.frames.push(Frame::new(token.start, scope));
        Ok(())
    }

    fn dollar(&mut self, token: &Token<'_>) {
        let part = match token.name {
            Some(name) => WordPart::Variable(Variable {
                name: name.to_owned(),
                span: self.span(token.start, token.end),
                operation: None,
            }),
            None => WordPart::Literal(token.text.to_owned()),
        };
        self.push(token.start, part);
    }

    fn open(&mut self, token: &Token<'_>) -> Result<(), WordError> {
        let rest = &self.text.as_str()[token.end..];
        let name = token.name.unwrap_or_default().to_owned();
        let cause = match (token.operator, rest.chars().next()) {
            (Some(Rule::end), _) if !name.is_empty() => {
                let span = self.span(token.start, token.end);
                let variable = Variable { name, span, operation: None };
                self.push(token.start, WordPart::Variable(variable));
                return Ok(());
            }
            (Some(operator), _) if !(name.is_empty() && is_bad_opening(operator)) => {
                return self.enter(token, Scope::Braces { name, operator, pattern: None });
            }
            (None, None) => SyntaxErrorKind::UnclosedBrace,
            (None, Some(found)) if !(name.is_empty() && matches!(found, '{' | ':')) => {
                let length = if found == ':' { 2 } else { 1 };
                SyntaxErrorKind::UnknownOperator { operator: rest.chars().take(length).collect() }
            }
            _ => SyntaxErrorKind::NoVariable,
        };
        let next = rest.chars().next().map_or(0, char::len_utf8);
        Err((self.span(token.start, token.end + next), cause))
    }

    fn close(&mut self, token: &Token<'_>) {
        let top = self.top();
        if token.rule == Rule::slash {
            let parts = std::mem::take(&mut top.pieces).into_iter().map(|piece| piece.part);
            let found: Vec<_> = parts.collect();
            if let Scope::Braces { pattern, .. } = &mut top.scope {
                *pattern = Some(found);
            }
            return;
        }
        let Some(mut frame) = self.frames.pop() else { return };
        let start = frame.start;
        let scope = std::mem::replace(&mut frame.scope, Scope::Word);
        let operand = frame.into_parts();
        let part = match scope {
            Scope::Braces { name, operator, pattern } => WordPart::Variable(Variable {
                name,
                span: self.span(start, token.end),
                operation: operation(operator, pattern, operand),
            }),
            Scope::Word | Scope::Quotes => WordPart::DoubleQuoted(operand),
        };
        self.push(start, part);
    }

    /// Takes everything up to the next single quote as it stands.
    fn single(&mut self, token: &Token<'_>) -> Result<usize, WordError> {
        let rest = &self.text.as_str()[token.end..];
        let Some(length) = rest.find('\'') else {
            let span = self.span(token.start, self.text.as_str().len());
            return Err((span, SyntaxErrorKind::UnclosedQuote { quote: '\'' }));
        };
        self.push(token.start, WordPart::Quoted(rest[..length].to_owned()));
        Ok(token.end + length + 1)
    }

    fn escape(&mut self, token: &Token<'_>, quoted: bool) {
        let escaped = &token.text[self.dialect.escape.len_utf8()..];
        let part = if quoted {
            let special = escaped.starts_with(['"', '$', self.dialect.escape]);
            let text = if special || escaped.is_empty() { escaped } else { token.text };
            WordPart::Literal(text.to_owned())
        } else if self.top().keeps_escapes() {
            WordPart::Quoted(token.text.to_owned())
        } else if escaped.is_empty() {
            return;
        } else {
            WordPart::Quoted(escaped.to_owned())
        };
        self.push(token.start, part);
    }
}

/// Operators that cannot follow `${` directly.
fn is_bad_opening(operator: Rule) -> bool {
    matches!(
        operator,
        Rule::end | Rule::default_empty | Rule::alternative_empty | Rule::require_empty
    )
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other rules are no operators")]
fn operation(
    operator: Rule,
    pattern: Option<Vec<WordPart>>,
    operand: Vec<WordPart>,
) -> Option<Operation> {
    use Absence::{Unset, UnsetOrEmpty};
    use Extent::{Longest, Shortest};
    Some(match operator {
        Rule::default => Operation::Default(Unset, operand),
        Rule::default_empty => Operation::Default(UnsetOrEmpty, operand),
        Rule::alternative => Operation::Alternative(Unset, operand),
        Rule::alternative_empty => Operation::Alternative(UnsetOrEmpty, operand),
        Rule::require => Operation::Require(Unset, operand),
        Rule::require_empty => Operation::Require(UnsetOrEmpty, operand),
        Rule::trim_prefix => Operation::TrimPrefix(Shortest, operand),
        Rule::trim_prefix_longest => Operation::TrimPrefix(Longest, operand),
        Rule::trim_suffix => Operation::TrimSuffix(Shortest, operand),
        Rule::trim_suffix_longest => Operation::TrimSuffix(Longest, operand),
        Rule::replace | Rule::replace_all => Operation::Replace {
            matches: if operator == Rule::replace { Matches::First } else { Matches::All },
            pattern: pattern?,
            replacement: operand,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
