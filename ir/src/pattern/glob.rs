//! One pattern: literal characters, `?`, `*`, `**`, `[…]` and backslash escapes.
//!
//! Matching simulates all ways through the pattern at once, so that no pattern takes more than
//! (pattern length × path length) steps. A class may match a slash, a `*` never does; that is how the
//! ignore files of the field are read.

/// What keeps a text from being a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GlobSyntaxError(pub(super) &'static str);

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    tokens: Vec<Token>,
    /// What every match starts with, and ends with: most paths are turned away by these alone.
    prefix: String,
    suffix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// One character but a slash.
    One,
    /// Any number of characters but slashes.
    Star,
    /// Nothing, or anything up to and with a slash.
    Directories,
    /// Anything at all: `**` at the pattern's end, and a leading one before a literal.
    Anything,
    Class(Class),
    /// Matches nowhere: a caret outside brackets, beside wildcards.
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    negated: bool,
    /// Both ends included.
    ranges: Vec<(char, char)>,
}

impl Glob {
    /// Compiles a cleaned pattern.
    pub(super) fn parse(text: &str) -> Result<Self, GlobSyntaxError> {
        let inner = text.strip_prefix("**").or_else(|| text.strip_suffix("**")).unwrap_or(text);
        let plain = !inner.contains(['*', '?', '[', '\\', ']']);
        let mut tokens = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(ch) = rest.next() {
            let token = match ch {
                '*' if rest.next_if_eq(&'*').is_some() => {
                    let slash = rest.next_if_eq(&'/').is_some();
                    match rest.peek() {
                        None => Token::Anything,
                        // In front of a literal it means "ends with".
                        Some(_) if plain && !slash => Token::Anything,
                        Some(_) => Token::Directories,
                    }
                }
                '*' => Token::Star,
                '?' => Token::One,
                '^' if !plain => Token::Never,
                '[' => Token::Class(Class::parse(&mut rest, behind_star(&tokens))?),
                '\\' => Token::Char(rest.next().ok_or(GlobSyntaxError(DANGLING_ESCAPE))?),
                literal => Token::Char(literal),
            };
            tokens.push(token);
        }
        let literal = |token: &Token| match token {
            Token::Char(ch) => Some(*ch),
            Token::One
            | Token::Star
            | Token::Directories
            | Token::Anything
            | Token::Class(_)
            | Token::Never => None,
        };
        let prefix = tokens.iter().map_while(literal).collect();
        let reversed: Vec<char> = tokens.iter().rev().map_while(literal).collect();
        Ok(Self { tokens, prefix, suffix: reversed.into_iter().rev().collect() })
    }

    /// Whether the whole of `path` matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        if !path.starts_with(&self.prefix) || !path.ends_with(&self.suffix) {
            return false;
        }
        if self.prefix.len() == path.len() && self.tokens.len() == self.prefix.chars().count() {
            return true;
        }
        let mut states = States::start(&self.tokens);
        for ch in path.chars() {
            if !states.step(&self.tokens, ch) {
                return false;
            }
        }
        states.accepted()
    }

    /// Whether some path below the directory `dir` could match. May say yes too often, never no.
    pub(super) fn may_match_below(&self, dir: &str) -> bool {
        let below = format!("{dir}/");
        if self.prefix.starts_with(&below) {
            return true;
        }
        // With no wildcard the prefix is the pattern.
        let literal = self.tokens.len() == self.prefix.chars().count();
        !literal && below.starts_with(&self.prefix)
    }
}

const DANGLING_ESCAPE: &str = "a backslash with nothing behind it";
const OPEN_CLASS: &str = "a `[` that is not closed";
const BAD_RANGE: &str = "a range in `[…]` with an end missing";

/// Whether a star stands between literals and the end. The field's tools read a class there as regular
/// expressions do, with `]` allowed as its first member; further to the left it is an error.
fn behind_star(tokens: &[Token]) -> bool {
    let star = |token: &Token| matches!(token, Token::Star | Token::Directories | Token::Anything);
    tokens.iter().skip_while(|token| star(token)).any(star)
}

impl Class {
    /// Reads what stands behind a `[`, up to its `]`.
    fn parse(
        rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
        lenient: bool,
    ) -> Result<Self, GlobSyntaxError> {
        let negated = rest.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        if lenient && rest.next_if_eq(&']').is_some() {
            ranges.push((']', ']'));
        }
        loop {
            if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
                return Ok(Self { negated, ranges });
            }
            let low = Self::end(rest)?;
            let high = if rest.next_if_eq(&'-').is_some() { Self::end(rest)? } else { low };
            ranges.push((low, high));
        }
    }

    fn end(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, GlobSyntaxError> {
        match rest.next() {
            None => Err(GlobSyntaxError(OPEN_CLASS)),
            Some('-' | ']') => Err(GlobSyntaxError(BAD_RANGE)),
            Some('\\') => rest.next().ok_or(GlobSyntaxError(DANGLING_ESCAPE)),
            Some(ch) => Ok(ch),
        }
    }

    fn contains(&self, ch: char) -> bool {
        self.ranges.iter().any(|&(low, high)| (low..=high).contains(&ch)) != self.negated
    }
}

/// All places in the pattern that the path so far can have reached.
struct States {
    /// Before the token of that index; the last one is behind all tokens.
    before: Vec<bool>,
    /// Inside a [`Token::Directories`] of that index, with no slash yet that ends it.
    inside: Vec<bool>,
}

impl States {
    fn start(tokens: &[Token]) -> Self {
        let mut states =
            Self { before: vec![false; tokens.len() + 1], inside: vec![false; tokens.len()] };
        states.enter(tokens, 0);
        states
    }

    /// Marks a place and all that are reached from it for nothing.
    fn enter(&mut self, tokens: &[Token], mut index: usize) {
        loop {
            self.before[index] = true;
            match tokens.get(index) {
                Some(Token::Star | Token::Directories | Token::Anything) => index += 1,
                Some(Token::Char(_) | Token::One | Token::Class(_) | Token::Never) | None => return,
            }
        }
    }

    /// Takes one character; says whether any place is left.
    fn step(&mut self, tokens: &[Token], ch: char) -> bool {
        let mut next =
            Self { before: vec![false; self.before.len()], inside: vec![false; tokens.len()] };
        for (index, token) in tokens.iter().enumerate() {
            if !self.before[index] && !self.inside[index] {
                continue;
            }
            match token {
                Token::Char(literal) if *literal == ch => next.enter(tokens, index + 1),
                Token::One if ch != '/' => next.enter(tokens, index + 1),
                Token::Class(class) if class.contains(ch) => next.enter(tokens, index + 1),
                Token::Star if ch != '/' => next.enter(tokens, index),
                Token::Anything => next.enter(tokens, index),
                Token::Directories => {
                    next.inside[index] = true;
                    if ch == '/' {
                        next.enter(tokens, index + 1);
                    }
                }
                Token::Char(_) | Token::One | Token::Class(_) | Token::Star | Token::Never => {}
            }
        }
        *self = next;
        self.before.contains(&true) || self.inside.contains(&true)
    }

    fn accepted(&self) -> bool {
        self.before.last().copied().unwrap_or(false)
    }
}
