//! Text of strangers, fit to be looked at.
//!
//! A Dockerfile is hostile until shown otherwise: an escape sequence in it could rewrite what stands above a
//! message, and a mark that reorders text could hide what a line says.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character does something to a terminal or to the text around it, instead of being seen.
#[must_use]
pub fn steers(ch: char) -> bool {
    let reorders = matches!(
        ch,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let separates = matches!(ch, '\u{2028}' | '\u{2029}');
    ch.is_control() || reorders || separates
}

/// The text with such characters spelt out, as `\u001b`; line feeds and tabs stay. A JSON document stays the same
/// document.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_hidden = |ch: char| steers(ch) && !matches!(ch, '\n' | '\t');
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for ch in text.chars() {
        if is_hidden(ch) {
            write!(shown, "\\u{:04x}", u32::from(ch)).expect("a text can be written to");
        } else {
            shown.push(ch);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_spelt_out() {
        for (text, expected) in [
            ("größe\t漢字\n", "größe\t漢字\n"),
            ("\u{1b}[2J\r\u{7f}\u{9b}", "\\u001b[2J\\u000d\\u007f\\u009b"),
            ("a\u{202e}b\u{2066}c\u{2029}", "a\\u202eb\\u2066c\\u2029"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }

    #[test]
    fn a_document_stays_the_same() {
        let value = serde_json::json!({"a\u{9b}": "\\\u{9b}\u{202e}\u{1b}\"\u{85}"});
        let text = value.to_string();
        let shown = visible(&text);
        assert_ne!(shown, text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
