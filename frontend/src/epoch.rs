//! `SOURCE_DATE_EPOCH`: the time of everything in the image.
//!
//! It is a number of seconds; `context`, which leaves the time to the main context's own; the name of a
//! `--build-context`, which has no time that is known here; or the name of a stage that does nothing but
//! fetch one thing, whose time it is.

use kiln_grammar::{Dockerfile, InstructionKind};

use crate::environment::Environment;
use crate::link::Stage;
use crate::lower::not_supported_yet;
use crate::stages::Stages;
use crate::{BuildOptions, Diagnostic, Rule};

/// The argument's name.
pub(crate) const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The value that stands for the main context.
const CONTEXT: &str = "context";

/// The time that the build argument or the Dockerfile sets, in seconds since 1970.
pub(crate) fn epoch(
    dockerfile: &Dockerfile,
    globals: &Environment,
    stages: &Stages<'_>,
    options: &BuildOptions,
) -> Result<Option<i64>, Diagnostic> {
    let given = options.build_args.get(EPOCH).map(String::as_str).or(globals.get(EPOCH));
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Some(seconds));
    }
    if text == CONTEXT || options.contexts.contains_key(text) {
        return Ok(None);
    }
    let lower = text.to_lowercase();
    match stages.first_named(&lower) {
        Some(index) => Err(of_stage(&stages[index])),
        None => Err(no_number(text, dockerfile)),
    }
}

fn no_number(text: &str, dockerfile: &Dockerfile) -> Diagnostic {
    let message = format!("`{EPOCH}` is `{text}`, which is no number of seconds");
    let place = dockerfile.instructions.iter().find_map(|instruction| {
        let InstructionKind::Arg(arg) = &instruction.kind else { return None };
        let declared = arg.declarations.iter().find(|arg| arg.name.raw == EPOCH)?;
        Some(declared.name.span)
    });
    let error = Diagnostic::error(Rule::InvalidEpoch, place.unwrap_or_default(), message);
    Diagnostic { span: place, ..error }
}

/// Such a stage is empty but for one thing that is fetched.
fn of_stage(stage: &Stage<'_>) -> Diagnostic {
    let name = stage.name.as_deref().unwrap_or_default();
    let mut fetched = 0;
    let mut other = None;
    for command in &stage.commands {
        let kind = &command.instruction.kind;
        if matches!(kind, InstructionKind::Add(_)) {
            fetched += 1;
        } else if !matches!(kind, InstructionKind::Arg(_)) {
            other = other.or(Some(&command.instruction));
        }
    }
    let problem = match other {
        Some(instruction) => format!("has a `{}`", instruction.keyword.node.to_uppercase()),
        None if stage.base_text != "scratch" => "does not begin with `FROM scratch`".to_owned(),
        None if fetched != 1 => format!("has {fetched} times `ADD`"),
        None => {
            return not_supported_yet(&format!("`{EPOCH}` from a stage"), stage.base_span());
        }
    };
    let message = format!("`{EPOCH}` is the stage `{name}`, which {problem}");
    Diagnostic::error(Rule::InvalidEpoch, stage.base_span(), message)
        .hint("a stage that gives the time is `FROM scratch` with one `ADD` of something remote")
}
