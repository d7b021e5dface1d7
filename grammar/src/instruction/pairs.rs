//! `ENV` and `LABEL`.

use super::{Body, Context, arguments};
use crate::error::SyntaxErrorKind;
use crate::syntax::{Pair, PairForm, Pairs};
use crate::text::Slice;

/// Names and values in either form. Whether there is a `=` in the first word decides.
pub(super) fn pairs(body: Body<'_>, context: &mut Context<'_>) -> Option<Pairs> {
    let words = arguments::words(body.arguments, context.escape);
    let Some(first) = words.first() else {
        context.wrong_arguments(body.keyword, body.arguments, "at least one argument");
        return None;
    };
    if !first.as_str().contains('=') {
        return legacy(body, context);
    }
    let pairs = words.into_iter().filter_map(|word| assignment(body, word, context)).collect();
    Some(Pairs { pairs, form: PairForm::Assignments })
}

fn assignment(body: Body<'_>, word: Slice<'_>, context: &mut Context<'_>) -> Option<Pair> {
    let Some(equals) = word.as_str().find('=') else {
        let cause = SyntaxErrorKind::MissingEquals { word: word.as_str().to_owned() };
        context.error(word.span(), cause);
        return None;
    };
    pair(body, word.part(0..equals), word.from(equals + 1), context)
}

fn legacy(body: Body<'_>, context: &mut Context<'_>) -> Option<Pairs> {
    let is_separator = |c| matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}');
    let text = body.arguments;
    let Some(end) = text.as_str().find(is_separator) else {
        let (instruction, key) = (body.keyword.name(), text.as_str().to_owned());
        context.error(text.span(), SyntaxErrorKind::MissingValue { instruction, key });
        return None;
    };
    let value = text.from(end);
    let blanks = value.as_str().len() - value.as_str().trim_start_matches(is_separator).len();
    let pair = pair(body, text.part(0..end), value.from(blanks), context)?;
    Some(Pairs { pairs: vec![pair], form: PairForm::Legacy })
}

fn pair(
    body: Body<'_>,
    key: Slice<'_>,
    value: Slice<'_>,
    context: &mut Context<'_>,
) -> Option<Pair> {
    if key.is_empty() {
        let instruction = body.keyword.name();
        context.error(value.span(), SyntaxErrorKind::EmptyName { instruction });
        return None;
    }
    Some(Pair { key: context.word(key), value: context.word(value) })
}
