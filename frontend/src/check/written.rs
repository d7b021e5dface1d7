//! What shows in the text alone, one instruction at a time.

use kiln_grammar::{Dockerfile, Instruction, InstructionKind, Span, Spanned, SyntaxError};

use super::report::{Remark, Report, Site};
use super::settings::check_comment;
use super::{Check, cased};

/// Checks every instruction before `end`, an offset.
pub(super) fn check(dockerfile: &Dockerfile, source: &str, end: usize, report: &mut Report) {
    for instruction in &dockerfile.instructions {
        no_empty_continuation(instruction, source, report);
    }
    let readable = dockerfile.instructions.iter().filter(|one| one.span.start < end);
    for instruction in readable {
        let site = Site::of(instruction);
        match &instruction.kind {
            InstructionKind::From(from) => {
                if let Some(stage) = &from.stage {
                    stage_name_casing(&stage.name, &site, report);
                    from_as_casing(&instruction.keyword, &stage.keyword, &site, report);
                    let names = [stage.name.node.to_lowercase()];
                    description(instruction, "FROM", &names, &site, report);
                }
            }
            InstructionKind::Arg(arg) => {
                let names = arg.declarations.iter().map(|one| one.name.raw.clone());
                let names: Vec<String> = names.collect();
                description(instruction, "ARG", &names, &site, report);
            }
            InstructionKind::Maintainer(_) => maintainer(&instruction.keyword, &site, report),
            InstructionKind::Run(_)
            | InstructionKind::Cmd(_)
            | InstructionKind::Entrypoint(_)
            | InstructionKind::Shell(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Env(_)
            | InstructionKind::Label(_)
            | InstructionKind::Expose(_)
            | InstructionKind::User(_)
            | InstructionKind::Workdir(_)
            | InstructionKind::Volume(_)
            | InstructionKind::Stopsignal(_)
            | InstructionKind::Healthcheck(_)
            | InstructionKind::Onbuild(_) => {}
        }
    }
}

/// Checks a `FROM` that was refused: its `AS` and its name may be wrong in other ways, too.
pub(super) fn check_refused(error: &SyntaxError, source: &str, report: &mut Report) {
    let Some(text) = source.get(error.within.start..error.within.end) else { return };
    let mut position = error.within.start;
    let words = text.split_whitespace().map(|word| {
        let start = position + source[position..].find(word).unwrap_or(0);
        position = start + word.len();
        Spanned { node: word.to_owned(), span: Span { start, end: position } }
    });
    let words: Vec<_> = words.filter(|word| !word.node.starts_with("--")).collect();
    let [from, _, keyword, name] = words.as_slice() else { return };
    let is_named =
        from.node.eq_ignore_ascii_case("FROM") && keyword.node.eq_ignore_ascii_case("AS");
    if is_named {
        let site = Site::at(error.within);
        stage_name_casing(name, &site, report);
        from_as_casing(from, keyword, &site, report);
    }
}

fn stage_name_casing(name: &Spanned<String>, site: &Site, report: &mut Report) {
    let lower = name.node.to_lowercase();
    if lower != name.node {
        let message = format!("the stage's name `{}` is not in lower case", name.node);
        let remark = Remark::new(Check::StageNameCasing, name.span, message);
        report.say(site, remark.hint(format!("call it `{lower}`: case makes no difference here")));
    }
}

fn from_as_casing(
    from: &Spanned<String>,
    keyword: &Spanned<String>,
    site: &Site,
    report: &mut Report,
) {
    let fitting = match cased(&from.node) {
        Some(case) => case.apply(&keyword.node),
        // Another check speaks of that.
        None => return,
    };
    if fitting != keyword.node {
        let message = format!("`{}` is not in the case of `{}`", keyword.node, from.node);
        let remark = Remark::new(Check::FromAsCasing, keyword.span, message);
        report.say(site, remark.hint(format!("write `{fitting}`")));
    }
}

fn maintainer(keyword: &Spanned<String>, site: &Site, report: &mut Report) {
    let remark =
        Remark::new(Check::MaintainerDeprecated, keyword.span, "`MAINTAINER` is deprecated");
    report.say(site, remark.hint("write `LABEL org.opencontainers.image.authors=…`"));
}

/// The line that counts is the last one that the instruction takes.
fn no_empty_continuation(instruction: &Instruction, source: &str, report: &mut Report) {
    let blanks = &instruction.blank_continuations;
    let (Some(first), Some(last)) = (blanks.first(), blanks.last()) else { return };
    let Span { start, end } = instruction.span;
    let last_text = source[start..end].rfind('\n').map_or(start, |newline| start + newline + 1);
    let last_line = if last.start > end { *last } else { Span { start: last_text, end } };
    let message = "an empty line stands inside a continued line";
    let remark = Remark::new(Check::NoEmptyContinuation, *first, message);
    let site = Site::of(instruction).on(last_line);
    report.say(&site, remark.hint("remove it, or make it a comment"));
}

/// The comment directly above, the last line of it, is a description when it begins with the name.
fn description(
    instruction: &Instruction,
    keyword: &str,
    names: &[String],
    site: &Site,
    report: &mut Report,
) {
    let mut comments = instruction.comments.iter().filter(|one| check_comment(one).is_none());
    let (Some(comment), [first, others @ ..]) = (comments.next_back(), names) else { return };
    let word = comment.node.split(' ').next().unwrap_or_default();
    if names.iter().any(|name| name == word) {
        return;
    }
    let example = if others.is_empty() { first.as_str() } else { "NAME" };
    let message = format!("the comment above this `{keyword}` does not describe it");
    let remark = Remark::new(Check::InvalidDefinitionDescription, comment.span, message)
        .hint(format!("begin it with the name, `# {example} …`, or leave an empty line below it"));
    report.say(site, remark);
}
