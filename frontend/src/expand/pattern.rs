//! Patterns of the `#`, `%` and `/` operators: `*`, `?` and backslash escapes, no brackets.
//!
//! Neither wildcard matches a line's end. Offsets are bytes, always on character boundaries.

/// A pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Star,
}

impl Pattern {
    /// Reads a pattern; nothing when a backslash ends it or stands before what needs none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut rest = text.chars();
        while let Some(ch) = rest.next() {
            tokens.push(match ch {
                '*' => Token::Star,
                '?' => Token::One,
                '\\' => Token::Char(rest.next().filter(|ch| "*?\\/}".contains(*ch))?),
                literal => Token::Char(literal),
            });
        }
        Some(Self { tokens })
    }

    /// Where the shortest or longest match from the beginning ends.
    pub(super) fn prefix(&self, value: &str, longest: bool) -> Option<usize> {
        pick(
            ends(&self.tokens, value.char_indices().map(|(at, ch)| (at + ch.len_utf8(), ch)), 0),
            longest,
        )
    }

    /// Where the shortest or longest match up to the end begins.
    pub(super) fn suffix(&self, value: &str, longest: bool) -> Option<usize> {
        let reversed: Vec<Token> = self.tokens.iter().rev().copied().collect();
        pick(ends(&reversed, value.char_indices().rev(), value.len()), longest)
    }

    /// The value with the first, longest match replaced.
    pub(super) fn replace_first(&self, value: &str, replacement: &str) -> String {
        match self.find(value, 0) {
            Some((start, end)) => format!("{}{replacement}{}", &value[..start], &value[end..]),
            None => value.to_owned(),
        }
    }

    /// The value with all matches replaced, each the longest from where it starts. In the replacement
    /// `$0` is the match, other `$name` are nothing, and `$$` is a dollar sign.
    pub(super) fn replace_all(&self, value: &str, replacement: &str) -> String {
        let mut out = String::new();
        let (mut copied, mut from) = (0, 0);
        let mut last_end = None;
        while let Some((start, end)) = self.find(value, from) {
            // An empty match right behind another one is none.
            if start != end || last_end != Some(start) {
                out.push_str(&value[copied..start]);
                out.push_str(&fill(replacement, &value[start..end]));
                copied = end;
            }
            last_end = Some(end);
            from = if end > start { end } else { next_boundary(value, end) };
            if from > value.len() || out.len() > super::MAX_VALUE_BYTES {
                break;
            }
        }
        out.push_str(&value[copied..]);
        out
    }

    /// The leftmost match at or behind `from`, as long as it can be.
    fn find(&self, value: &str, from: usize) -> Option<(usize, usize)> {
        let starts = value[from..].char_indices().map(|(at, _)| from + at).chain([value.len()]);
        let mut matches = starts
            .map(|start| self.prefix(&value[start..], true).map(|length| (start, start + length)));
        matches.find_map(|found| found)
    }
}

/// The first or last of some offsets in the order of the walk.
fn pick(mut offsets: impl DoubleEndedIterator<Item = usize>, last: bool) -> Option<usize> {
    if last { offsets.next_back() } else { offsets.next() }
}

/// All offsets at which a match from `start` on may stop, in the order of the walk; `chars` gives each
/// character with the offset behind it.
fn ends(
    tokens: &[Token],
    chars: impl Iterator<Item = (usize, char)>,
    start: usize,
) -> std::vec::IntoIter<usize> {
    let mut reached = vec![false; tokens.len() + 1];
    enter(&mut reached, tokens, 0);
    let mut found = Vec::new();
    if reached[tokens.len()] {
        found.push(start);
    }
    for (offset, ch) in chars {
        let mut next = vec![false; tokens.len() + 1];
        for (index, token) in tokens.iter().enumerate().filter(|(index, _)| reached[*index]) {
            match token {
                Token::Char(literal) if *literal == ch => enter(&mut next, tokens, index + 1),
                Token::One if ch != '\n' => enter(&mut next, tokens, index + 1),
                Token::Star if ch != '\n' => enter(&mut next, tokens, index),
                Token::Char(_) | Token::One | Token::Star => {}
            }
        }
        reached = next;
        if reached[tokens.len()] {
            found.push(offset);
        }
        if !reached.contains(&true) {
            break;
        }
    }
    found.into_iter()
}

fn enter(reached: &mut [bool], tokens: &[Token], mut index: usize) {
    reached[index] = true;
    while tokens.get(index) == Some(&Token::Star) {
        index += 1;
        reached[index] = true;
    }
}

fn next_boundary(value: &str, at: usize) -> usize {
    at + value[at..].chars().next().map_or(1, char::len_utf8)
}

/// A replacement with its `$` references filled in.
fn fill(template: &str, matched: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, behind) = match after.strip_prefix('$') {
            Some(behind) => {
                out.push('$');
                rest = behind;
                continue;
            }
            None => reference(after),
        };
        match name {
            "" => out.push('$'),
            "0" => out.push_str(matched),
            _ => {}
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// The name at the beginning of what follows a `$`, and what follows it; an empty name is none.
fn reference(text: &str) -> (&str, &str) {
    let braced = text.strip_prefix('{');
    let body = braced.unwrap_or(text);
    let end = body.find(|ch: char| !ch.is_alphanumeric() && ch != '_').unwrap_or(body.len());
    let (name, behind) = body.split_at(end);
    match (braced, behind.strip_prefix('}')) {
        (None, _) => (name, behind),
        (Some(_), Some(behind)) if !name.is_empty() => (name, behind),
        (Some(_), _) => ("", text),
    }
}
