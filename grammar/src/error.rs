//! What can be wrong with a Dockerfile's text.

use crate::suggest::Suggestion;
use crate::word::Span;

/// One mistake and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct SyntaxError {
    /// The bytes to point at.
    pub span: Span,
    /// The instruction, directive or line the mistake is in. Its first line is the one that other
    /// builders name.
    pub within: Span,
    /// What is wrong.
    pub cause: SyntaxErrorKind,
}

/// The kinds of mistakes. Messages are lower case without a full stop; advice is in
/// [`SyntaxError::hint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each kind and each field is")]
pub enum SyntaxErrorKind {
    #[error("the file has no instructions")]
    NoInstructions,
    #[error("line of {length_bytes} bytes; at most {max} are allowed", max = crate::lines::MAX_LINE_BYTES)]
    LineTooLong { length_bytes: usize },
    #[error("parser directive `{name}` is given twice")]
    DuplicateDirective { name: String },
    #[error("the file is written for the frontend `{frontend}`, and is no Dockerfile")]
    ForeignSyntax { frontend: String },
    #[error("escape character {value:?} is neither `\\` nor a backtick")]
    InvalidEscape { value: String },
    #[error("nothing follows the line continuation")]
    EmptyContinuation,
    #[error("unknown instruction `{name}`")]
    UnknownInstruction { name: String, nearest: Suggestion },
    #[error("`INCLUDE` is an instruction of Kiln's own dialect")]
    Include,
    #[error("`{instruction}` has no flag `--{name}`")]
    UnknownFlag { instruction: &'static str, name: String, nearest: Suggestion },
    #[error("flag `--{flag}` needs a value")]
    MissingFlagValue { flag: &'static str },
    #[error("flag `--{flag}` is given twice")]
    DuplicateFlag { flag: &'static str },
    #[error("flag `--{flag}` is either true or false, not `{value}`")]
    InvalidSwitch { flag: &'static str, value: String },
    #[error("`{instruction}` takes {expected}")]
    WrongArguments { instruction: &'static str, expected: &'static str },
    #[error("`{instruction}` stands before the first `FROM`")]
    BeforeFrom { instruction: &'static str },
    #[error("invalid stage name `{name}`")]
    InvalidStageName { name: String },
    #[error("the JSON array holds something other than strings")]
    JsonNotStrings,
    #[error("`SHELL` takes its arguments as a JSON array")]
    ShellNotJson,
    #[error("`{instruction} {key}` has no value")]
    MissingValue { instruction: &'static str, key: String },
    #[error("`{word}` has no `=`")]
    MissingEquals { word: String },
    #[error("`{instruction}` with an empty name")]
    EmptyName { instruction: &'static str },
    #[error("`VOLUME` with an empty path")]
    EmptyVolume,
    #[error("`HEALTHCHECK {name}` is neither `CMD` nor `NONE`")]
    UnknownHealthcheck { name: String, nearest: Suggestion },
    #[error("`HEALTHCHECK NONE` takes no arguments")]
    HealthcheckNoneArguments,
    #[error("`HEALTHCHECK CMD` has no command")]
    HealthcheckWithoutCommand,
    #[error("`{instruction}` cannot be triggered by `ONBUILD`")]
    InvalidTrigger { instruction: &'static str },
    #[error("an `ONBUILD` trigger is one instruction")]
    SeveralTriggers,
    #[error("here document `{name}` has no end")]
    UnterminatedHeredoc { name: String },
    #[error("a here document cannot be a destination")]
    HeredocDestination,
    #[error("`from` of a mount cannot hold a variable")]
    MountFromVariable,
    #[error("the options of `--mount` are not comma-separated values")]
    InvalidMountOptions,
    #[error("quote `{quote}` is not closed")]
    UnclosedQuote { quote: char },
    #[error("`${{` has no closing brace")]
    UnclosedBrace,
    #[error("the pattern has no `/` behind it")]
    UnclosedPattern,
    #[error("`${{` names no variable")]
    NoVariable,
    #[error("unknown operator `{}` inside `${{}}`", operator.escape_debug())]
    UnknownOperator { operator: String },
    #[error("more than {limit} quotes and braces inside each other")]
    TooDeep { limit: usize },
}

impl SyntaxError {
    /// A stable name for the kind of mistake, in kebab case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        use SyntaxErrorKind as Kind;
        match &self.cause {
            Kind::NoInstructions => "no-instructions",
            Kind::LineTooLong { .. } => "line-too-long",
            Kind::DuplicateDirective { .. } => "duplicate-directive",
            Kind::ForeignSyntax { .. } => "foreign-syntax",
            Kind::InvalidEscape { .. } => "invalid-escape",
            Kind::EmptyContinuation => "empty-continuation",
            Kind::UnknownInstruction { .. } => "unknown-instruction",
            Kind::Include => "include",
            Kind::UnknownFlag { .. } => "unknown-flag",
            Kind::MissingFlagValue { .. } => "missing-flag-value",
            Kind::DuplicateFlag { .. } => "duplicate-flag",
            Kind::InvalidSwitch { .. } => "invalid-switch",
            Kind::WrongArguments { .. } => "wrong-arguments",
            Kind::BeforeFrom { .. } => "instruction-before-from",
            Kind::InvalidStageName { .. } => "invalid-stage-name",
            Kind::JsonNotStrings => "json-not-strings",
            Kind::ShellNotJson => "shell-not-json",
            Kind::MissingValue { .. } => "missing-pair-value",
            Kind::MissingEquals { .. } => "missing-equals",
            Kind::EmptyName { .. } => "empty-name",
            Kind::EmptyVolume => "empty-volume",
            Kind::UnknownHealthcheck { .. } => "unknown-healthcheck",
            Kind::HealthcheckNoneArguments => "healthcheck-none-arguments",
            Kind::HealthcheckWithoutCommand => "healthcheck-without-command",
            Kind::InvalidTrigger { .. } => "invalid-trigger",
            Kind::SeveralTriggers => "several-triggers",
            Kind::UnterminatedHeredoc { .. } => "unterminated-heredoc",
            Kind::HeredocDestination => "heredoc-destination",
            Kind::MountFromVariable => "mount-from-variable",
            Kind::InvalidMountOptions => "invalid-mount-options",
            Kind::UnclosedQuote { .. } => "unclosed-quote",
            Kind::UnclosedBrace => "unclosed-brace",
            Kind::UnclosedPattern => "unclosed-pattern",
            Kind::NoVariable => "no-variable",
            Kind::UnknownOperator { .. } => "unknown-operator",
            Kind::TooDeep { .. } => "too-deep",
        }
    }

    /// What to do about it, where there is something to say.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "most messages say it all")]
    pub fn hint(&self) -> Option<String> {
        use SyntaxErrorKind as Kind;
        match &self.cause {
            Kind::UnknownInstruction { nearest, .. } | Kind::UnknownHealthcheck { nearest, .. } => {
                nearest.map(|name| format!("did you mean `{name}`?"))
            }
            Kind::UnknownFlag { nearest, .. } => {
                nearest.map(|name| format!("did you mean `--{name}`?"))
            }
            Kind::ForeignSyntax { .. } => {
                Some("Kiln runs no program to read a file; it reads Dockerfiles itself".to_owned())
            }
            Kind::Include => Some(
                "say that the file is written in it: `# syntax=kiln` as its first line".to_owned(),
            ),
            Kind::InvalidStageName { .. } => {
                Some("a letter, then letters, digits, `-`, `_` and `.`; no variables".to_owned())
            }
            Kind::MissingValue { .. } | Kind::MissingEquals { .. } => {
                Some("write `name=value`, with quotes around a value with blanks".to_owned())
            }
            Kind::ShellNotJson => Some("for example `SHELL [\"/bin/bash\", \"-c\"]`".to_owned()),
            Kind::UnterminatedHeredoc { name } => {
                Some(format!("end it with a line that is `{name}` and nothing else"))
            }
            Kind::MountFromVariable => Some(
                "name the image by a stage, `FROM $image AS name`, and mount from that".to_owned(),
            ),
            Kind::UnclosedQuote { .. } => {
                Some("a quote that stands for itself has the escape character before it".to_owned())
            }
            _ => None,
        }
    }
}
