//! What shows when the stages are seen side by side.

use std::collections::BTreeMap;

use kiln_grammar::{Dockerfile, From, Instruction, InstructionKind, Span};
use kiln_image::ImageRef;

use super::report::{Remark, Report, Site};
use super::{Case, Check, cased};
use crate::expand::expand;
use crate::{BuildOptions, globals};

/// Names that mean something else in `FROM` or `COPY --from`.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// The `FROM` instructions, in order.
pub(super) fn froms(dockerfile: &Dockerfile) -> impl Iterator<Item = (&Instruction, &From)> {
    dockerfile.instructions.iter().filter_map(|instruction| {
        let InstructionKind::From(from) = &instruction.kind else { return None };
        Some((instruction, from))
    })
}

/// Checks the names of stages.
pub(super) fn names(dockerfile: &Dockerfile, report: &mut Report) {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    for (instruction, from) in froms(dockerfile) {
        let Some(stage) = &from.stage else { continue };
        let (name, span) = (stage.name.node.to_lowercase(), stage.name.span);
        let site = Site::of(instruction);
        if RESERVED.contains(&name.as_str()) {
            let message = format!("a stage cannot be used by the name `{name}`, which is reserved");
            report.say(&site, Remark::new(Check::ReservedStageName, span, message));
        }
        if let Some(first) = seen.get(&name) {
            let message = format!("there are several stages called `{name}`");
            let remark = Remark::new(Check::DuplicateStageName, span, message)
                .label(*first, "the first is here")
                .hint("the name stands for the last one above the line that uses it");
            report.say(&site, remark);
        }
        seen.entry(name).or_insert(span);
    }
}

/// Checks that all instructions of the stages are written in one case, that of the most of them.
pub(super) fn casing(dockerfile: &Dockerfile, report: &mut Report) {
    let first = dockerfile
        .instructions
        .iter()
        .position(|one| matches!(one.kind, InstructionKind::From(_)))
        .unwrap_or(dockerfile.instructions.len());
    let instructions = &dockerfile.instructions[first..];
    let count = |case: Case| {
        let keywords = instructions.iter().map(|one| cased(&one.keyword.node));
        keywords.filter(|found| *found == Some(case)).count()
    };
    let majority = if count(Case::Lower) > count(Case::Upper) { Case::Lower } else { Case::Upper };
    for instruction in instructions {
        let keyword = &instruction.keyword;
        let fitting = majority.apply(&keyword.node);
        if fitting != keyword.node {
            let message = format!("`{}` is not in the case of most instructions", keyword.node);
            let remark = Remark::new(Check::ConsistentInstructionCasing, keyword.span, message);
            report.say(&Site::of(instruction), remark.hint(format!("write `{fitting}`")));
        }
    }
}

/// Checks that bases have names when no build arguments are given.
pub(super) fn default_arguments(
    dockerfile: &Dockerfile,
    options: &BuildOptions,
    report: &mut Report,
) {
    let without = BuildOptions { build_args: BTreeMap::new(), ..options.clone() };
    let Ok(environment) = globals::evaluate(dockerfile, &without) else { return };
    for (instruction, from) in froms(dockerfile) {
        let Ok(name) = expand(&from.image, &environment) else { return };
        let reason = match name.parse::<ImageRef>() {
            Ok(_) => continue,
            Err(_) if name.is_empty() => "is empty".to_owned(),
            Err(error) => format!("is none: {error}"),
        };
        let message =
            format!("without build arguments the base's name `{}` {reason}", from.image.raw);
        let remark = Remark::new(Check::InvalidDefaultArgInFrom, from.image.span, message)
            .hint("give the `ARG` above the first `FROM` a default that makes a name");
        report.say(&Site::of(instruction), remark);
    }
}
