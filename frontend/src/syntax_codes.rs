//! Stable codes of the parser's mistakes.

use kiln_grammar::SyntaxErrorKind as Kind;

/// Every code that [`of`] can answer.
pub(crate) const ALL: [&str; 18] = [
    "no-instructions",
    "foreign-syntax",
    "line-too-long",
    "invalid-directive",
    "empty-continuation",
    "unknown-instruction",
    "include",
    "unknown-flag",
    "invalid-flag",
    "wrong-arguments",
    "before-from",
    "invalid-stage-name",
    "invalid-json",
    "invalid-pair",
    "invalid-healthcheck",
    "invalid-onbuild",
    "invalid-heredoc",
    "invalid-word",
];

/// The code of a mistake.
#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's kinds of mistakes may grow")]
pub(crate) fn of(kind: &Kind) -> &'static str {
    match kind {
        Kind::NoInstructions => "no-instructions",
        Kind::ForeignSyntax { .. } => "foreign-syntax",
        Kind::LineTooLong { .. } => "line-too-long",
        Kind::DuplicateDirective { .. } | Kind::InvalidEscape { .. } => "invalid-directive",
        Kind::EmptyContinuation => "empty-continuation",
        Kind::UnknownInstruction { .. } => "unknown-instruction",
        Kind::Include => "include",
        Kind::UnknownFlag { .. } => "unknown-flag",
        Kind::MissingFlagValue { .. }
        | Kind::DuplicateFlag { .. }
        | Kind::InvalidSwitch { .. }
        | Kind::MountFromVariable
        | Kind::InvalidMountOptions => "invalid-flag",
        Kind::BeforeFrom { .. } => "before-from",
        Kind::InvalidStageName { .. } => "invalid-stage-name",
        Kind::JsonNotStrings | Kind::ShellNotJson => "invalid-json",
        Kind::MissingValue { .. } | Kind::MissingEquals { .. } | Kind::EmptyName { .. } => {
            "invalid-pair"
        }
        Kind::UnknownHealthcheck { .. }
        | Kind::HealthcheckNoneArguments
        | Kind::HealthcheckWithoutCommand => "invalid-healthcheck",
        Kind::InvalidTrigger { .. } | Kind::SeveralTriggers => "invalid-onbuild",
        Kind::UnterminatedHeredoc { .. } | Kind::HeredocDestination => "invalid-heredoc",
        Kind::UnclosedQuote { .. }
        | Kind::UnclosedBrace
        | Kind::UnclosedPattern
        | Kind::NoVariable
        | Kind::UnknownOperator { .. }
        | Kind::TooDeep { .. } => "invalid-word",
        // Also what a later version of the parser may find.
        // `WrongArguments` and `EmptyVolume` are of this kind.
        _ => "wrong-arguments",
    }
}
