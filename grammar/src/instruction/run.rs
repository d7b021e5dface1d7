//! `RUN`.

use super::flags::{FlagSpec, value, values};
use super::{Body, Context, arguments, config};
use crate::error::SyntaxErrorKind;
use crate::heredoc;
use crate::syntax::{MountFlag, MountOption, Run};
use crate::text::{Slice, Text};
use crate::word::{Spanned, Word, WordPart};

const FLAGS: [FlagSpec; 4] =
    [values("mount"), value("network"), value("security"), values("device")];

/// `RUN`.
pub(super) fn run(body: Body<'_>, context: &mut Context<'_>) -> Option<Run> {
    let flags = body.flags(&FLAGS, context);
    let mounts = flags.texts("mount").filter_map(|text| mount(text, context)).collect();
    Some(Run {
        mounts,
        network: flags.string("network"),
        security: flags.string("security"),
        devices: flags.strings("device"),
        command: config::command(body.arguments, context)?,
        is_script: !context.heredocs.is_empty() && heredoc::of_word(body.arguments).is_some(),
    })
}

fn mount(text: Slice<'_>, context: &mut Context<'_>) -> Option<MountFlag> {
    let Some(options) = arguments::options(text) else {
        context.error(text.span(), SyntaxErrorKind::InvalidMountOptions);
        return None;
    };
    let options = options.iter().map(|option| mount_option(option, context)).collect();
    Some(MountFlag { options, span: text.span() })
}

fn mount_option(option: &Text, context: &mut Context<'_>) -> MountOption {
    let text = option.whole();
    let end = text.as_str().find('=').unwrap_or(text.as_str().len());
    let key = text.part(0..end);
    let key = Spanned { node: key.as_str().to_lowercase(), span: key.span() };
    let value = (end < text.as_str().len()).then(|| text.from(end + 1));
    let value = value.map(|value| match key.node.as_str() {
        "from" => literal(value, context),
        _ => context.word(value),
    });
    MountOption { key, value }
}

/// The value of `from`, which must be known before any variable is.
fn literal(text: Slice<'_>, context: &mut Context<'_>) -> Word {
    let raw = text.as_str().to_owned();
    if raw.find('$').is_some_and(|dollar| dollar + 1 < raw.len()) {
        context.error(text.span(), SyntaxErrorKind::MountFromVariable);
    }
    Word { parts: vec![WordPart::Literal(raw.clone())], raw, span: text.span() }
}
