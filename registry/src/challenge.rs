//! `WWW-Authenticate`: how a registry says what it wants to see.

use std::collections::BTreeMap;

/// The longest header that is looked at.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// The most parameters of one challenge.
const MAX_PARAMETERS: usize = 16;

/// One challenge: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case: `bearer`, `basic`.
    pub scheme: String,
    /// Parameters by their names in lower case; of a name given twice the first.
    pub parameters: BTreeMap<String, String>,
}

/// Reads the challenges of a header, in order; what cannot be read ends the list.
#[must_use]
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    if header.len() > MAX_HEADER_BYTES {
        return challenges;
    }
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while let Some((word, after)) = token(rest) {
        let after_blank = after.trim_start_matches([' ', '\t']);
        match (after_blank.strip_prefix('='), challenges.last_mut()) {
            (Some(value), Some(challenge)) => {
                let Some((value, after)) = value_of(value.trim_start_matches([' ', '\t'])) else {
                    break;
                };
                if challenge.parameters.len() == MAX_PARAMETERS {
                    break;
                }
                challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
                rest = after;
            }
            (Some(_), None) => break,
            (None, _) => {
                let scheme = word.to_ascii_lowercase();
                challenges.push(Challenge { scheme, parameters: BTreeMap::new() });
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    challenges
}

/// A token of HTTP at the start of a text, and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A parameter's value, bare or quoted, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, after)| (value.to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_and_parameters_are_told_apart() {
        let header = r#"Bearer realm="https://a.example/token?x=1,2", service=reg , scope="a \"b\"", Basic realm="r""#;
        let challenges = parse_challenges(header);
        assert_eq!(challenges.len(), 2);
        assert_eq!(challenges[0].scheme, "bearer");
        assert_eq!(challenges[0].parameters["realm"], "https://a.example/token?x=1,2");
        assert_eq!(challenges[0].parameters["service"], "reg");
        assert_eq!(challenges[0].parameters["scope"], r#"a "b""#);
        assert_eq!((challenges[1].scheme.as_str(), challenges[1].parameters.len()), ("basic", 1));
    }

    #[test]
    fn what_cannot_be_read_ends_the_list() {
        for header in ["", "=", "a=b", ",,,", "\"", "é"] {
            assert!(parse_challenges(header).is_empty(), "{header}");
        }
        assert!(parse_challenges("Bearer realm=\"open").first().unwrap().parameters.is_empty());
        assert!(parse_challenges(&"Basic ".repeat(2000)).is_empty());
    }
}
