//! Which of the parser's mistakes end the remarks where.

use kiln_grammar::{SyntaxError, SyntaxErrorKind as Kind};

/// The first mistake of each reach.
#[derive(Debug)]
pub(super) struct Refusal<'e> {
    /// The lines could not be told apart, or not be read as instructions: nothing is sure.
    unreadable: bool,
    /// An instruction makes no sense.
    pub(super) instruction: Option<&'e SyntaxError>,
    /// A value cannot be evaluated, which shows only when its turn comes.
    word: Option<&'e SyntaxError>,
}

/// How far a mistake reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    File,
    Instruction,
    Word,
}

impl<'e> Refusal<'e> {
    /// Sorts mistakes, which are in source order.
    pub(super) fn of(errors: &'e [SyntaxError]) -> Self {
        let first = |reach| errors.iter().find(|error| reach_of(&error.cause) == reach);
        Self {
            unreadable: first(Reach::File).is_some(),
            instruction: first(Reach::Instruction),
            word: first(Reach::Word),
        }
    }

    /// Whether there is nothing to make remarks on.
    pub(super) fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// Where the first senseless instruction begins.
    pub(super) fn instruction_offset(&self) -> usize {
        self.instruction.map_or(usize::MAX, |error| error.within.start)
    }

    /// Where the first instruction with a value begins that cannot be evaluated.
    pub(super) fn word_offset(&self) -> usize {
        self.word.map_or(usize::MAX, |error| error.within.start)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most mistakes are an instruction's")]
fn reach_of(kind: &Kind) -> Reach {
    match kind {
        Kind::NoInstructions
        | Kind::LineTooLong { .. }
        | Kind::DuplicateDirective { .. }
        | Kind::InvalidEscape { .. }
        | Kind::JsonNotStrings
        | Kind::MissingValue { .. }
        | Kind::MissingEquals { .. }
        | Kind::UnterminatedHeredoc { .. } => Reach::File,
        Kind::UnclosedQuote { .. }
        | Kind::UnclosedBrace
        | Kind::UnclosedPattern
        | Kind::NoVariable
        | Kind::UnknownOperator { .. }
        | Kind::TooDeep { .. } => Reach::Word,
        _ => Reach::Instruction,
    }
}
