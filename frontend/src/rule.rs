//! The kinds of remarks, each with its stable code.

use crate::{Check, syntax_codes};

/// A kind of remark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Something correct that Kiln cannot do yet.
    NotSupportedYet,
    /// A file without a `FROM`.
    NoStage,
    /// A `FROM` whose base comes out empty.
    BlankBase,
    /// A name that no image can have.
    InvalidReference,
    /// A `--platform` that is none.
    InvalidPlatform,
    /// A stage's name or index, or a `--target`, that no stage has.
    MissingStage,
    /// A stage that is used before it is defined.
    StageOrder,
    /// Stages that need each other.
    StageCycle,
    /// A word that cannot be expanded, or a `${name:?message}` that speaks.
    Expansion,
    /// A variable where the language does not expand any.
    VariableNotExpanded,
    /// An option of `--mount` that is wrong or does not fit its type.
    InvalidMount,
    /// A flag's value that is none of those allowed.
    InvalidFlagValue,
    /// A `--chmod` that is no mode.
    InvalidMode,
    /// A path that is empty or cannot be one.
    InvalidPath,
    /// An address of a file or a repository that is wrong, or stands where none may.
    InvalidAddress,
    /// A `--checksum` that is none, or that nothing can be checked against.
    InvalidChecksum,
    /// A pattern of `--exclude` that is none.
    InvalidPattern,
    /// A port of `EXPOSE` that is none.
    InvalidPort,
    /// A signal of `STOPSIGNAL` that is none.
    InvalidSignal,
    /// An environment variable or label without a name.
    BlankName,
    /// A `RUN` of an empty list.
    EmptyCommand,
    /// A `SOURCE_DATE_EPOCH` that is no number of seconds.
    InvalidEpoch,
    /// A trigger in a base image that cannot be read.
    InvalidTrigger,
    /// An `INCLUDE` that names no file or one that cannot be included.
    InvalidInclude,
    /// A `--build-arg` that nothing declares.
    UnusedBuildArgument,
    /// A `--no-cache-filter` that names no stage.
    UnusedNoCacheFilter,
    /// Settings of the checks that make no sense.
    InvalidCheck,
    /// A `RUN` that reaches beyond its sandbox and was not allowed to.
    NotAllowed,
}

impl Rule {
    /// Every kind.
    pub const ALL: [Self; 28] = [
        Self::NotSupportedYet,
        Self::NoStage,
        Self::BlankBase,
        Self::InvalidReference,
        Self::InvalidPlatform,
        Self::MissingStage,
        Self::StageOrder,
        Self::StageCycle,
        Self::Expansion,
        Self::VariableNotExpanded,
        Self::InvalidMount,
        Self::InvalidFlagValue,
        Self::InvalidMode,
        Self::InvalidPath,
        Self::InvalidAddress,
        Self::InvalidChecksum,
        Self::InvalidPattern,
        Self::InvalidPort,
        Self::InvalidSignal,
        Self::BlankName,
        Self::EmptyCommand,
        Self::InvalidEpoch,
        Self::InvalidTrigger,
        Self::InvalidInclude,
        Self::UnusedBuildArgument,
        Self::UnusedNoCacheFilter,
        Self::InvalidCheck,
        Self::NotAllowed,
    ];

    /// The stable name, in kebab case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotSupportedYet => "not-supported-yet",
            Self::NoStage => "no-stage",
            Self::BlankBase => "blank-base",
            Self::InvalidReference => "invalid-reference",
            Self::InvalidPlatform => "invalid-platform",
            Self::MissingStage => "missing-stage",
            Self::StageOrder => "stage-order",
            Self::StageCycle => "stage-cycle",
            Self::Expansion => "expansion",
            Self::VariableNotExpanded => "variable-not-expanded",
            Self::InvalidMount => "invalid-mount",
            Self::InvalidFlagValue => "invalid-flag-value",
            Self::InvalidMode => "invalid-mode",
            Self::InvalidPath => "invalid-path",
            Self::InvalidAddress => "invalid-address",
            Self::InvalidChecksum => "invalid-checksum",
            Self::InvalidPattern => "invalid-pattern",
            Self::InvalidPort => "invalid-port",
            Self::InvalidSignal => "invalid-signal",
            Self::BlankName => "blank-name",
            Self::EmptyCommand => "empty-command",
            Self::InvalidEpoch => "invalid-epoch",
            Self::InvalidTrigger => "invalid-trigger",
            Self::InvalidInclude => "invalid-include",
            Self::UnusedBuildArgument => "unused-build-argument",
            Self::UnusedNoCacheFilter => "unused-no-cache-filter",
            Self::InvalidCheck => "invalid-check",
            Self::NotAllowed => "not-allowed",
        }
    }
}

/// The codes of all remarks: those of the parser's mistakes, then this crate's own, then the checks.
pub fn codes() -> impl Iterator<Item = &'static str> {
    let own = Rule::ALL.into_iter().map(Rule::code);
    syntax_codes::ALL.into_iter().chain(own).chain(Check::ALL.into_iter().map(Check::name))
}
