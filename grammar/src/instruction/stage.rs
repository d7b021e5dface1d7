//! `FROM` and `ARG`.

use super::flags::{FlagSpec, value};
use super::{Body, Context, arguments};
use crate::error::SyntaxErrorKind;
use crate::syntax::{Arg, ArgDeclaration, From, StageName};
use crate::text::Slice;

const FROM_FLAGS: [FlagSpec; 1] = [value("platform")];

/// `FROM`.
pub(super) fn from(body: Body<'_>, context: &mut Context<'_>) -> Option<From> {
    let flags = body.flags(&FROM_FLAGS, context);
    let fields = arguments::fields(body.arguments);
    let (image, stage) = match fields.as_slice() {
        [image] => (*image, None),
        [image, keyword, name] if keyword.as_str().eq_ignore_ascii_case("as") => {
            (*image, Some(stage_name(*keyword, *name, context)))
        }
        _ => {
            let expected = "an image, and a stage's name behind `AS` if it is to have one";
            context.wrong_arguments(body.keyword, body.arguments, expected);
            return None;
        }
    };
    let platform = flags.word("platform", context);
    Some(From { platform, image: context.word(image), stage })
}

fn stage_name(keyword: Slice<'_>, name: Slice<'_>, context: &mut Context<'_>) -> StageName {
    let mut characters = name.as_str().chars();
    let well_formed = characters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !well_formed {
        let cause = SyntaxErrorKind::InvalidStageName { name: name.as_str().to_owned() };
        context.error(name.span(), cause);
    }
    StageName { keyword: keyword.spanned(), name: name.spanned() }
}

/// `ARG`.
pub(super) fn arg(body: Body<'_>, context: &mut Context<'_>) -> Option<Arg> {
    let words = arguments::words(body.arguments, context.escape);
    if words.is_empty() {
        context.wrong_arguments(body.keyword, body.arguments, "at least one argument");
        return None;
    }
    let declarations = words.into_iter().map(|word| declaration(body, word, context)).collect();
    Some(Arg { declarations })
}

fn declaration(body: Body<'_>, word: Slice<'_>, context: &mut Context<'_>) -> ArgDeclaration {
    let end = word.as_str().find('=').unwrap_or(word.as_str().len());
    let default = (end < word.as_str().len()).then(|| context.word(word.from(end + 1)));
    if end == 0 {
        let instruction = body.keyword.name();
        context.error(word.span(), SyntaxErrorKind::EmptyName { instruction });
    }
    ArgDeclaration { name: context.word(word.part(0..end)), default }
}
