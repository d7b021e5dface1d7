//! Wildcards of COPY sources: the rules of Go's `filepath.Match`, for one path component at a time.
//!
//! `*` is any run of characters, `?` any one, `[a-z]` and `[^a-z]` one of a class, and `\` takes the next
//! character as it is. A pattern is checked whole before anything is matched. Bytes that are no UTF-8
//! count as one character each. There is no `**` here, and no slash: paths are split before.

/// One component of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wildcard(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Run,
    Any,
    Literal(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// A component that is no pattern: an open bracket, an empty class, a backslash at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadWildcard;

/// Whether `component` has a wildcard that no backslash takes away.
pub(crate) fn has_wildcard(component: &str) -> bool {
    let mut characters = component.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

impl Wildcard {
    pub(crate) fn parse(component: &str) -> Result<Self, BadWildcard> {
        let mut tokens = Vec::new();
        let mut rest = component.chars();
        while let Some(character) = rest.next() {
            tokens.push(match character {
                '*' => Token::Run,
                '?' => Token::Any,
                '[' => class(&mut rest)?,
                '\\' => Token::Literal(rest.next().ok_or(BadWildcard)?),
                other => Token::Literal(other),
            });
        }
        tokens.dedup_by(|a, b| *a == Token::Run && *b == Token::Run);
        Ok(Self(tokens))
    }

    /// Whether all of `name` matches.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        let name = characters(name);
        let (mut token, mut at) = (0, 0);
        // Where to go on when what follows the last run does not fit: one character further into it.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let fits = match (self.0.get(token), name.get(at)) {
                (None, None) => return true,
                (Some(Token::Run), _) => {
                    retry = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                (Some(token), Some(&character)) => token.is(character),
                (None, Some(_)) | (Some(_), None) => false,
            };
            if fits {
                (token, at) = (token + 1, at + 1);
            } else if let Some((after, from)) = retry.filter(|&(_, from)| from < name.len()) {
                retry = Some((after, from + 1));
                (token, at) = (after, from + 1);
            } else {
                return false;
            }
        }
    }
}

impl Token {
    fn is(&self, character: char) -> bool {
        match self {
            Self::Run => false,
            Self::Any => true,
            Self::Literal(literal) => *literal == character,
            Self::Class { negated, ranges } => {
                let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&character));
                inside != *negated
            }
        }
    }
}

/// Reads a class behind its opening bracket.
fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, BadWildcard> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if rest.as_str().starts_with(']') && !ranges.is_empty() {
            rest.next();
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_end(rest)?;
        let mut high = low;
        if rest.as_str().starts_with('-') {
            rest.next();
            high = class_end(rest)?;
        }
        ranges.push((low, high));
    }
}

/// One end of a range: a bare `-` or `]` is none.
fn class_end(rest: &mut std::str::Chars<'_>) -> Result<char, BadWildcard> {
    match rest.next() {
        None | Some('-' | ']') => Err(BadWildcard),
        Some('\\') => rest.next().ok_or(BadWildcard),
        Some(other) => Ok(other),
    }
}

fn characters(name: &[u8]) -> Vec<char> {
    let mut all = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        all.extend(chunk.valid().chars());
        all.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules as the documentation of `filepath.Match` states them, one by one.
    #[test]
    fn matches_as_documented() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*", "", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*b*c*d*e*", "axbxcxdxexxx", true),
            ("a*b*c*d*e*", "axbxcxdxexxxf", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("*x", "xxx", true),
            ("a**b", "ab", true),
            ("?", "", false),
            ("a?b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^b-d]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a[^a]b", "a☺b", true),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[z-a]", "m", false),
            ("[abc-e]", "d", true),
            ("[!a]", "!", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "ab", false),
            (r"\[a", "[a", true),
            (r"[\]a]", "]", true),
            (r"[\-x]", "-", true),
            (r"[x\-]", "x", true),
            (r"[x\-]", "z", false),
            (r"[\-]", "-", true),
            (r"\\", "\\", true),
            ("]", "]", true),
            ("-", "-", true),
            ("", "", true),
            ("", "a", false),
            (".*", ".git", true),
            ("*", ".git", true),
            ("*.go", "main.go.bak", false),
        ] {
            let wildcard = Wildcard::parse(pattern).unwrap();
            assert_eq!(wildcard.matches(name.as_bytes()), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for pattern in [
            "[", "[^", "[^bc", "a[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[]", "[^]", "a\\",
            "[\\", "[a-\\",
        ] {
            assert_eq!(Wildcard::parse(pattern), Err(BadWildcard), "{pattern}");
        }
    }

    #[test]
    fn a_broken_character_counts_once() {
        assert!(Wildcard::parse("a?b").unwrap().matches(b"a\xffb"));
        assert!(!Wildcard::parse("a?b").unwrap().matches(b"a\xff\xffb"));
        assert!(Wildcard::parse("*").unwrap().matches(b"\xc3"));
    }

    #[test]
    fn many_runs_stay_quick() {
        let wildcard = Wildcard::parse(&"*a".repeat(60)).unwrap();
        assert!(!wildcard.matches("a".repeat(250).replace("aaaaa", "aaaab").as_bytes()));
    }

    #[test]
    fn backslashes_take_wildcards_away() {
        for (component, expected) in
            [("a", false), ("*", true), (r"\*", false), (r"\\*", true), ("a?", true), ("[", true)]
        {
            assert_eq!(has_wildcard(component), expected, "{component}");
        }
    }
}
