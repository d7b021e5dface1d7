//! The forms in which instructions take their arguments, each parsed by a rule of one pest grammar.
//!
//! This is the only module that sees that grammar; it answers slices and texts that know where in the
//! source they stand.

use pest::Parser as _;
use pest::error::InputLocation;
use pest::iterators::{Pair, Pairs};

use crate::syntax::JsonFallback;
use crate::text::{Slice, Text};
use crate::word::{Span, Spanned};

mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "instruction/arguments.pest"]
    pub(super) struct Arguments;
}
use grammar::{Arguments, Rule};

/// The most brackets that a JSON array of other things than strings is looked through with. It bounds the
/// recursion; text with more is no such array.
const MAX_JSON_BRACKETS: usize = 64;

/// The pairs inside a rule's match; none where the rule does not match.
fn inner(rule: Rule, text: &str) -> impl Iterator<Item = Pair<'_, Rule>> {
    let parsed = Arguments::parse(rule, text);
    parsed
        .into_iter()
        .flatten()
        .flat_map(Pair::into_inner)
        .filter(|pair| pair.as_rule() != Rule::EOI)
}

fn slice_of<'a>(text: Slice<'a>, pair: &Pair<'_, Rule>) -> Slice<'a> {
    text.part(pair.as_span().start()..pair.as_span().end())
}

/// Takes the leading flags off. Answers each without its quotes, beside what it was in the source, and the
/// rest of the text.
pub(crate) fn flags(text: Slice<'_>) -> (Vec<(Text, Span)>, Slice<'_>) {
    let trimmed = text.as_str().trim_start();
    if !trimmed.starts_with("--") {
        return (Vec::new(), text.trim());
    }
    let mut flags = Vec::new();
    let mut end = 0;
    for pair in Arguments::parse(Rule::flags, text.as_str()).into_iter().flatten() {
        end = pair.as_span().end();
        for flag in pair.into_inner().filter(|pair| pair.as_rule() == Rule::flag) {
            let span = slice_of(text, &flag).span();
            flags.push((without_quotes(text, flag), span));
        }
    }
    (flags, text.from(end).trim())
}

fn without_quotes(text: Slice<'_>, flag: Pair<'_, Rule>) -> Text {
    let mut value = Text::at(slice_of(text, &flag).span().start);
    for piece in flag.into_inner() {
        if piece.as_rule() == Rule::flag_escape {
            for escaped in piece.into_inner() {
                value.push_slice(slice_of(text, &escaped));
            }
        } else {
            value.push_slice(slice_of(text, &piece));
        }
    }
    value
}

/// Splits at blanks, with no regard to quotes.
pub(crate) fn fields(text: Slice<'_>) -> Vec<Slice<'_>> {
    split(text, |c| matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}'))
}

/// Splits at blanks outside quotes. Quotes and escapes stay where they are.
pub(crate) fn words(text: Slice<'_>, escape: char) -> Vec<Slice<'_>> {
    // Most have neither, and the grammar takes ten times as long to say so.
    if !text.as_str().contains(['"', '\'', escape]) {
        return split(text, char::is_whitespace);
    }
    let rule = if escape == '`' { Rule::backtick_words } else { Rule::backslash_words };
    inner(rule, text.as_str()).map(|word| slice_of(text, &word)).collect()
}

/// What stands between separators.
fn split(text: Slice<'_>, is_separator: impl Fn(char) -> bool) -> Vec<Slice<'_>> {
    let string = text.as_str();
    let start = |part: &str| part.as_ptr().addr() - string.as_ptr().addr();
    let parts = string.split(is_separator).filter(|part| !part.is_empty());
    parts.map(|part| text.part(start(part)..start(part) + part.len())).collect()
}

/// What text is as JSON.
#[derive(Debug)]
pub(crate) enum Json {
    /// An array of strings.
    Strings(Vec<Text>),
    /// An array of something else as well.
    NotStrings,
    /// No array; where it looks as if one was meant, with the place that spoils it.
    Other(Option<JsonFallback>),
}

/// Reads text as a JSON array.
pub(crate) fn json(text: Slice<'_>) -> Json {
    let string = text.as_str();
    if !string.starts_with('[') {
        return Json::Other(None);
    }
    match Arguments::parse(Rule::strings, string) {
        Ok(pairs) => Json::Strings(strings(text, pairs)),
        Err(_) if is_array(string) => Json::NotStrings,
        Err(error) => {
            // `[` is also a command, but then a blank follows it.
            let array_meant = string[1..].starts_with(['"', '\'']);
            let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = error.location;
            let rest = text.from(at.min(string.len()));
            let length = rest.as_str().chars().next().map_or(0, char::len_utf8);
            let span = rest.part(0..length).span();
            Json::Other(array_meant.then_some(JsonFallback { span }))
        }
    }
}

/// The member of a JSON object that has this name, when the text is one and the member is a string. Of several
/// the last counts.
pub(crate) fn member(text: Slice<'_>, name: &str) -> Option<(Spanned<String>, Spanned<String>)> {
    let string = text.as_str();
    if !string.trim_start().starts_with('{') || has_many_brackets(string) {
        return None;
    }
    let object = inner(Rule::any_object, string).next()?;
    let pairs = object.into_inner().filter_map(|member| {
        let mut parts = member.into_inner();
        let (key, value) = (parts.next()?, parts.next()?.into_inner().next());
        let key = unescape(text, key).whole().spanned();
        (key.node == name).then_some((key, value))
    });
    let (key, value) = pairs.last()?;
    let value = value.filter(|value| value.as_rule() == Rule::string)?;
    Some((key, unescape(text, value).whole().spanned()))
}

fn has_many_brackets(text: &str) -> bool {
    text.matches(['[', '{']).count() > MAX_JSON_BRACKETS
}

fn is_array(text: &str) -> bool {
    !has_many_brackets(text) && Arguments::parse(Rule::any_array, text).is_ok()
}

fn strings(text: Slice<'_>, pairs: Pairs<'_, Rule>) -> Vec<Text> {
    let strings = pairs.flat_map(Pair::into_inner).filter(|pair| pair.as_rule() == Rule::string);
    strings.map(|string| unescape(text, string)).collect()
}

fn unescape(text: Slice<'_>, string: Pair<'_, Rule>) -> Text {
    let mut value = Text::at(slice_of(text, &string).span().start);
    for piece in string.into_inner() {
        let slice = slice_of(text, &piece);
        if piece.as_rule() == Rule::string_escape {
            value.push_escape(&escaped(slice.as_str()), slice.span());
        } else {
            value.push_slice(slice);
        }
    }
    value
}

/// What an escape of a JSON string stands for. Half a surrogate pair stands for the replacement character.
fn escaped(escape: &str) -> String {
    let units = escape.split("\\u").skip(1).filter_map(|unit| u16::from_str_radix(unit, 16).ok());
    match &escape[1..] {
        "b" => "\u{8}".to_owned(),
        "f" => "\u{c}".to_owned(),
        "n" => "\n".to_owned(),
        "r" => "\r".to_owned(),
        "t" => "\t".to_owned(),
        unicode if unicode.starts_with('u') => String::from_utf16_lossy(&units.collect::<Vec<_>>()),
        itself => itself.to_owned(),
    }
}

/// Splits a mount's options at commas; nothing when quotes are out of place.
pub(crate) fn options(text: Slice<'_>) -> Option<Vec<Text>> {
    Arguments::parse(Rule::options, text.as_str()).ok()?;
    let options = inner(Rule::options, text.as_str()).map(|option| {
        let mut value = Text::at(slice_of(text, &option).span().start);
        for piece in option.into_inner() {
            if piece.as_rule() == Rule::option_quote {
                for quote in piece.into_inner() {
                    value.push_slice(slice_of(text, &quote));
                }
            } else {
                value.push_slice(slice_of(text, &piece));
            }
        }
        value
    });
    Some(options.collect())
}

/// The parts of a word that opens a here document.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    /// The number before `<<`; 0 when there is none or it is out of range.
    pub(crate) descriptor: u32,
    /// Whether a dash follows.
    pub(crate) strip_tabs: bool,
    /// The delimiter, quotes and all.
    pub(crate) delimiter: Slice<'a>,
}

/// Reads a word that opens a here document; nothing if it does not.
pub(crate) fn opening(word: Slice<'_>) -> Option<Opening<'_>> {
    let mut opening = Opening { descriptor: 0, strip_tabs: false, delimiter: word.at_end() };
    for part in inner(Rule::heredoc, word.as_str()) {
        if part.as_rule() == Rule::descriptor {
            opening.descriptor = part.as_str().parse().unwrap_or(0);
        } else if part.as_rule() == Rule::tabs {
            opening.strip_tabs = !part.as_str().is_empty();
        } else {
            opening.delimiter = slice_of(word, &part);
        }
    }
    (!opening.delimiter.is_empty()).then_some(opening)
}
