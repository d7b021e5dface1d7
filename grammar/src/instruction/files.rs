//! `COPY` and `ADD`.

use super::arguments::{self, Json};
use super::flags::{FlagSpec, Flags, switch, value, values};
use super::{Body, Context};
use crate::error::SyntaxErrorKind;
use crate::heredoc;
use crate::syntax::{Add, Copy, FileSource, Files, Heredoc};
use crate::text::{Slice, Text};
use crate::word::{Dialect, Quotes, Word, WordPart};

const COPY_FLAGS: [FlagSpec; 6] = [
    value("from"),
    value("chown"),
    value("chmod"),
    switch("link"),
    switch("parents"),
    values("exclude"),
];

const ADD_FLAGS: [FlagSpec; 7] = [
    value("chown"),
    value("chmod"),
    switch("link"),
    values("exclude"),
    value("checksum"),
    switch("keep-git-dir"),
    switch("unpack"),
];

/// `COPY`.
pub(super) fn copy(body: Body<'_>, context: &mut Context<'_>) -> Option<Copy> {
    let flags = body.flags(&COPY_FLAGS, context);
    let files = files(body, &flags, context)?;
    let (from, parents) = (flags.string("from"), flags.switch("parents").unwrap_or(false));
    Some(Copy { from, files, parents })
}

/// `ADD`.
pub(super) fn add(body: Body<'_>, context: &mut Context<'_>) -> Option<Add> {
    let flags = body.flags(&ADD_FLAGS, context);
    let files = files(body, &flags, context)?;
    let (keep_git_dir, unpack) = (flags.switch("keep-git-dir"), flags.switch("unpack"));
    Some(Add { files, checksum: flags.word("checksum", context), keep_git_dir, unpack })
}

fn files(body: Body<'_>, flags: &Flags<'_>, context: &mut Context<'_>) -> Option<Files> {
    let (texts, json_fallback);
    let slices = match arguments::json(body.arguments) {
        Json::Strings(strings) => {
            texts = strings;
            json_fallback = None;
            texts.iter().map(Text::whole).collect()
        }
        Json::NotStrings => {
            context.error(body.arguments.span(), SyntaxErrorKind::JsonNotStrings);
            return None;
        }
        Json::Other(fallback) => {
            json_fallback = fallback;
            arguments::fields(body.arguments)
        }
    };
    let Some((destination, sources @ [_, ..])) = slices.split_last() else {
        let expected = "at least two arguments: what to copy, and where to";
        context.wrong_arguments(body.keyword, body.arguments, expected);
        return None;
    };
    if heredoc_of(*destination, context).is_some() {
        context.error(destination.span(), SyntaxErrorKind::HeredocDestination);
        return None;
    }
    Some(Files {
        chown: flags.word("chown", context),
        chmod: flags.word("chmod", context),
        link: flags.switch("link").unwrap_or(false),
        exclude: flags.strings("exclude"),
        sources: sources.iter().map(|source| file_source(*source, context)).collect(),
        destination: context.word(*destination),
        json_fallback,
    })
}

fn file_source(text: Slice<'_>, context: &mut Context<'_>) -> FileSource {
    match heredoc_of(text, context) {
        Some(heredoc) => {
            FileSource::Inline { name: heredoc.name.clone(), content: content(heredoc, context) }
        }
        None => FileSource::Path(context.word(text)),
    }
}

/// The here document that a word opens. Of several with the same name the last one counts.
fn heredoc_of<'a>(text: Slice<'_>, context: &Context<'a>) -> Option<&'a Heredoc> {
    let name = heredoc::of_word(text)?.name;
    context.heredocs.iter().rev().find(|heredoc| heredoc.name == name)
}

/// A file's content. In here documents quotes are characters, and the escape character is always the
/// backslash.
fn content(heredoc: &Heredoc, context: &mut Context<'_>) -> Word {
    let mut text = Text::at(heredoc.body.span.start);
    let mut position = heredoc.body.span.start;
    for line in heredoc.body.node.split_inclusive('\n') {
        let kept = if heredoc.strip_tabs { line.trim_start_matches('\t') } else { line };
        text.push(kept, position + (line.len() - kept.len()));
        position += line.len();
    }
    let whole = text.whole();
    if heredoc.expand {
        return context.word_in(whole, Dialect { escape: '\\', quotes: Quotes::Characters });
    }
    let raw = whole.as_str().to_owned();
    Word { parts: vec![WordPart::Literal(raw.clone())], raw, span: whole.span() }
}
