//! A Dockerfile that is refused: the first cause, and the line that other builders give for it.
//!
//! Kiln finds all mistakes at once; the reference stops at its first, and it reads a file several times:
//! its lines, its instructions, and then the words of each. So the first cause is that of the earliest
//! reading, and not that of the first line.

use std::cmp::Reverse;

use kiln_engine::Faulty;
use kiln_frontend::{Diagnostic, Rule, Severity};
use kiln_grammar::{
    Dockerfile, Instruction, InstructionKind, Span, SyntaxError, SyntaxErrorKind, line_column,
    parse,
};
use serde_json::{Value, json};

use super::prune;

/// A refusal: `{"error": {"line": …, "message": …}}`. The line is that on which the instruction begins; there
/// is none where the reference gives none.
#[must_use]
pub fn refused(faulty: &Faulty) -> Value {
    let source = faulty.source.text();
    let parsed = parse(source);
    let (line, message) = match first_syntax_error(&parsed.errors) {
        Some(error) => (syntax_line(error, source), error.to_string()),
        None => semantic(&faulty.diagnostics, &parsed.dockerfile, source),
    };
    json!({"error": prune(json!({"line": line, "message": message}))})
}

/// The one of the parser's mistakes that other builders stop at.
#[must_use]
pub fn first_syntax_error(errors: &[SyntaxError]) -> Option<&SyntaxError> {
    errors.iter().min_by_key(|error| (reading(error), error.within.start))
}

/// At which reading of the file the reference finds a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reading {
    Lines,
    Instructions,
    Words,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's kinds of mistakes may grow")]
fn reading(error: &SyntaxError) -> Reading {
    use SyntaxErrorKind as Kind;
    match &error.cause {
        Kind::NoInstructions
        | Kind::LineTooLong { .. }
        | Kind::DuplicateDirective { .. }
        | Kind::InvalidEscape { .. }
        | Kind::MissingValue { .. }
        | Kind::MissingEquals { .. }
        | Kind::UnterminatedHeredoc { .. } => Reading::Lines,
        Kind::UnclosedQuote { .. }
        | Kind::UnclosedBrace
        | Kind::UnclosedPattern
        | Kind::NoVariable
        | Kind::UnknownOperator { .. }
        | Kind::TooDeep { .. } => Reading::Words,
        _ => Reading::Instructions,
    }
}

fn syntax_line(error: &SyntaxError, source: &str) -> Option<usize> {
    // The reference reads this directive before it counts lines, and there are none in an empty file.
    let placeless =
        matches!(error.cause, SyntaxErrorKind::InvalidEscape { .. }) || source.is_empty();
    (!placeless).then(|| line_column(source, error.within.start).0)
}

fn semantic(
    diagnostics: &[Diagnostic],
    dockerfile: &Dockerfile,
    source: &str,
) -> (Option<usize>, String) {
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error);
    let Some(first) = errors.min_by_key(|error| turn(error)) else { return (None, String::new()) };
    let line = first.span.and_then(|span| {
        let whole = instruction(span, dockerfile);
        let is_from = whole.is_some_and(|whole| matches!(whole.kind, InstructionKind::From(_)));
        // The reference looks these up outside of any instruction.
        let placeless = first.code == Rule::VariableNotExpanded.code()
            || (first.code == Rule::InvalidEpoch.code() && !is_from);
        let start = whole.map_or(span, |whole| whole.span).start;
        (!placeless).then(|| line_column(source, start).0)
    });
    (line, first.message.clone())
}

/// When the reference comes to an error: it resolves names of images after it has joined the stages, all at
/// the same time, and the last one is heard first.
fn turn(error: &Diagnostic) -> (bool, Reverse<usize>) {
    let is_name = error.code == Rule::InvalidReference.code();
    let start = error.span.filter(|_| is_name).map_or(0, |span| span.start);
    (is_name, Reverse(start))
}

/// The instruction that a span is in.
fn instruction(span: Span, dockerfile: &Dockerfile) -> Option<&Instruction> {
    let around = |whole: Span| whole.start <= span.start && span.start <= whole.end;
    dockerfile.instructions.iter().find(|instruction| around(instruction.span))
}
