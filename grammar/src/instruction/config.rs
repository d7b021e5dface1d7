//! Instructions that set the image's configuration.

use super::arguments::{self, Json};
use super::flags::value;
use super::{Body, Context};
use crate::error::SyntaxErrorKind;
use crate::suggest::nearest;
use crate::syntax::{
    Command, CommandLine, Expose, Healthcheck, Maintainer, Shell, Stopsignal, User, Volume, Workdir,
};
use crate::text::{Slice, Text};
use crate::word::Word;

const HEALTHCHECK_FLAGS: [super::flags::FlagSpec; 5] = [
    value("interval"),
    value("timeout"),
    value("start-period"),
    value("start-interval"),
    value("retries"),
];

/// A command in either form. No arguments are the shell's empty text.
pub(super) fn command(text: Slice<'_>, context: &mut Context<'_>) -> Option<CommandLine> {
    let span = text.span();
    match arguments::json(text) {
        Json::Strings(argv) => {
            let command = Command::Exec(to_strings(&argv));
            Some(CommandLine { command, span, json_fallback: None })
        }
        Json::NotStrings => {
            context.error(span, SyntaxErrorKind::JsonNotStrings);
            None
        }
        Json::Other(json_fallback) => {
            let command = Command::Shell(text.as_str().to_owned());
            Some(CommandLine { command, span, json_fallback })
        }
    }
}

fn to_strings(texts: &[Text]) -> Vec<String> {
    texts.iter().map(|text| text.whole().as_str().to_owned()).collect()
}

/// `SHELL`.
pub(super) fn shell(body: Body<'_>, context: &mut Context<'_>) -> Option<Shell> {
    match arguments::json(body.arguments) {
        Json::Strings(argv) if !argv.is_empty() => return Some(Shell { argv: to_strings(&argv) }),
        Json::Strings(_) => {
            context.wrong_arguments(body.keyword, body.arguments, "at least one argument");
        }
        Json::NotStrings => context.error(body.arguments.span(), SyntaxErrorKind::JsonNotStrings),
        Json::Other(_) if body.arguments.is_empty() => {
            context.wrong_arguments(body.keyword, body.arguments, "at least one argument");
        }
        Json::Other(_) => context.error(body.arguments.span(), SyntaxErrorKind::ShellNotJson),
    }
    None
}

/// `EXPOSE`.
pub(super) fn expose(body: Body<'_>, context: &mut Context<'_>) -> Option<Expose> {
    let ports = arguments::fields(body.arguments);
    if ports.is_empty() {
        context.wrong_arguments(body.keyword, body.arguments, "at least one argument");
        return None;
    }
    Some(Expose { ports: ports.into_iter().map(|port| context.word(port)).collect() })
}

/// `USER`.
pub(super) fn user(body: Body<'_>, context: &mut Context<'_>) -> Option<User> {
    only_word(body, context).map(|user| User { user })
}

/// `WORKDIR`.
pub(super) fn workdir(body: Body<'_>, context: &mut Context<'_>) -> Option<Workdir> {
    only_word(body, context).map(|path| Workdir { path })
}

/// `STOPSIGNAL`.
pub(super) fn stopsignal(body: Body<'_>, context: &mut Context<'_>) -> Option<Stopsignal> {
    only_word(body, context).map(|signal| Stopsignal { signal })
}

/// `MAINTAINER`.
pub(super) fn maintainer(body: Body<'_>, context: &mut Context<'_>) -> Option<Maintainer> {
    only_argument(body, context).map(|name| Maintainer { name: name.as_str().to_owned() })
}

fn only_word(body: Body<'_>, context: &mut Context<'_>) -> Option<Word> {
    only_argument(body, context).map(|text| context.word(text))
}

/// The rest of the line, blanks and all, as the one argument.
fn only_argument<'a>(body: Body<'a>, context: &mut Context<'_>) -> Option<Slice<'a>> {
    if body.arguments.is_empty() {
        context.wrong_arguments(body.keyword, body.arguments, "exactly one argument");
        return None;
    }
    Some(body.arguments)
}

/// `VOLUME`.
pub(super) fn volume(body: Body<'_>, context: &mut Context<'_>) -> Option<Volume> {
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
    if slices.is_empty() {
        context.wrong_arguments(body.keyword, body.arguments, "at least one argument");
        return None;
    }
    for slice in &slices {
        if slice.trim().is_empty() {
            context.error(body.arguments.span(), SyntaxErrorKind::EmptyVolume);
        }
    }
    let paths = slices.into_iter().map(|path| context.word(path.trim())).collect();
    Some(Volume { paths, json_fallback })
}

/// `HEALTHCHECK`.
pub(super) fn healthcheck(body: Body<'_>, context: &mut Context<'_>) -> Option<Healthcheck> {
    let flags = body.flags(&HEALTHCHECK_FLAGS, context);
    let text = body.arguments;
    let end = text.as_str().find(char::is_whitespace).unwrap_or(text.as_str().len());
    let (kind, rest) = (text.part(0..end), text.from(end).trim());
    let command = match kind.as_str().to_ascii_uppercase().as_str() {
        "" => {
            context.wrong_arguments(body.keyword, text, "at least one argument");
            return None;
        }
        "NONE" if rest.is_empty() => None,
        "NONE" => {
            context.error(rest.span(), SyntaxErrorKind::HealthcheckNoneArguments);
            return None;
        }
        "CMD" => Some(healthcheck_command(kind, rest, context)?),
        _ => {
            let name = kind.as_str().to_owned();
            let nearest = nearest(&name, &["CMD", "NONE"]);
            context.error(kind.span(), SyntaxErrorKind::UnknownHealthcheck { name, nearest });
            return None;
        }
    };
    Some(Healthcheck {
        interval: flags.string("interval"),
        timeout: flags.string("timeout"),
        start_period: flags.string("start-period"),
        start_interval: flags.string("start-interval"),
        retries: flags.string("retries"),
        command,
    })
}

fn healthcheck_command(
    kind: Slice<'_>,
    rest: Slice<'_>,
    context: &mut Context<'_>,
) -> Option<CommandLine> {
    let line = command(rest, context)?;
    let is_empty = match &line.command {
        Command::Shell(text) => text.is_empty(),
        Command::Exec(argv) => argv.is_empty(),
    };
    if is_empty {
        context.error(kind.span(), SyntaxErrorKind::HealthcheckWithoutCommand);
        return None;
    }
    Some(line)
}
