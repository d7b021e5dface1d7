//! Here documents: which words of a line open one.
//!
//! A word opens one when it is `<<NAME` or `<<-NAME`, a number before it allowed. Words are looked for as a
//! shell would, but the escape character is always the backslash: inside quotes nothing opens. A line that
//! cannot be taken apart into words opens none.

use crate::instruction::arguments;
use crate::text::Slice;
use crate::word::{Dialect, Quotes, Span, WordPart, parse_pieces};

const DIALECT: Dialect = Dialect { escape: '\\', quotes: Quotes::Marks };

/// A here document that is to follow.
#[derive(Debug)]
pub(crate) struct Announced {
    /// The delimiter without quotes.
    pub(crate) name: String,
    /// The word that opens it.
    pub(crate) span: Span,
    /// The number before `<<`.
    pub(crate) file_descriptor: u32,
    /// Whether leading tabs do not count.
    pub(crate) strip_tabs: bool,
    /// Whether no part of the delimiter is quoted.
    pub(crate) expand: bool,
}

/// The here documents that a line opens, in order.
pub(crate) fn of_line(line: Slice<'_>) -> Vec<Announced> {
    if !line.as_str().contains("<<") {
        return Vec::new();
    }
    words(line).into_iter().filter_map(of_word).collect()
}

/// The here document that a word opens, if it opens one.
pub(crate) fn of_word(word: Slice<'_>) -> Option<Announced> {
    if !word.as_str().contains("<<") {
        return None;
    }
    let opening = arguments::opening(word)?;
    let [delimiter] = words(opening.delimiter)[..] else { return None };
    let expand = !delimiter.as_str().contains(['\'', '"', '\\']);
    let mut name = String::new();
    if expand {
        name.push_str(delimiter.as_str());
    } else {
        parse_pieces(delimiter, DIALECT)
            .ok()?
            .iter()
            .for_each(|piece| push_unquoted(&mut name, &piece.part));
    }
    (!name.is_empty()).then(|| Announced {
        expand,
        name,
        span: word.span(),
        file_descriptor: opening.descriptor,
        strip_tabs: opening.strip_tabs,
    })
}

/// The words of a text with their quotes; none where a quote or brace is not closed.
fn words(text: Slice<'_>) -> Vec<Slice<'_>> {
    let mut words = Vec::new();
    let Ok(pieces) = parse_pieces(text, DIALECT) else { return words };
    let string = text.as_str();
    let mut word_start = None;
    for (index, piece) in pieces.iter().enumerate() {
        let end = pieces.get(index + 1).map_or(string.len(), |next| next.start);
        let splits = matches!(piece.part, WordPart::Literal(_) | WordPart::Variable(_));
        if !splits {
            word_start.get_or_insert(piece.start);
            continue;
        }
        for (at, character) in string[piece.start..end].char_indices() {
            if !character.is_whitespace() {
                word_start.get_or_insert(piece.start + at);
            } else if let Some(start) = word_start.take() {
                words.push(text.part(start..piece.start + at));
            }
        }
    }
    words.extend(word_start.map(|start| text.part(start..string.len())));
    words
}

/// Appends what a part stands for when no variable is set: a variable stays as it is, but for its braces.
fn push_unquoted(name: &mut String, part: &WordPart) {
    match part {
        WordPart::Literal(string) | WordPart::Quoted(string) => name.push_str(string),
        WordPart::DoubleQuoted(parts) => parts.iter().for_each(|part| push_unquoted(name, part)),
        WordPart::Variable(variable) => {
            name.push('$');
            name.push_str(&variable.name);
        }
    }
}

#[cfg(test)]
mod tests;
