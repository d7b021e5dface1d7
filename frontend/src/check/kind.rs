//! The checks, each with its name, what it is about, and whether it runs unasked.

/// A check of a correct Dockerfile. The first 22 are those of the Dockerfile frontend that everybody uses,
/// under their names; the rest are Kiln's own hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "`description` says what each of them is about")]
pub enum Check {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JSONArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    InvalidBaseImagePlatform,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
    UnusedStage,
    UntaggedBase,
    OverwrittenCopy,
    CacheHostileCopy,
    SecretInLayer,
    AptUpdateAlone,
    AptListsKept,
    PipeWithoutPipefail,
    LastUserRoot,
}

impl Check {
    /// Every check, those of the field first.
    pub const ALL: [Self; 31] = [
        Self::StageNameCasing,
        Self::FromAsCasing,
        Self::NoEmptyContinuation,
        Self::ConsistentInstructionCasing,
        Self::DuplicateStageName,
        Self::ReservedStageName,
        Self::JSONArgsRecommended,
        Self::MaintainerDeprecated,
        Self::UndefinedArgInFrom,
        Self::WorkdirRelativePath,
        Self::UndefinedVar,
        Self::MultipleInstructionsDisallowed,
        Self::LegacyKeyValueFormat,
        Self::InvalidBaseImagePlatform,
        Self::RedundantTargetPlatform,
        Self::SecretsUsedInArgOrEnv,
        Self::InvalidDefaultArgInFrom,
        Self::FromPlatformFlagConstDisallowed,
        Self::CopyIgnoredFile,
        Self::InvalidDefinitionDescription,
        Self::ExposeProtoCasing,
        Self::ExposeInvalidFormat,
        Self::UnusedStage,
        Self::UntaggedBase,
        Self::OverwrittenCopy,
        Self::CacheHostileCopy,
        Self::SecretInLayer,
        Self::AptUpdateAlone,
        Self::AptListsKept,
        Self::PipeWithoutPipefail,
        Self::LastUserRoot,
    ];

    /// The name, which `skip` and `experimental` take and which is the code of the check's remarks.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StageNameCasing => "StageNameCasing",
            Self::FromAsCasing => "FromAsCasing",
            Self::NoEmptyContinuation => "NoEmptyContinuation",
            Self::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Self::DuplicateStageName => "DuplicateStageName",
            Self::ReservedStageName => "ReservedStageName",
            Self::JSONArgsRecommended => "JSONArgsRecommended",
            Self::MaintainerDeprecated => "MaintainerDeprecated",
            Self::UndefinedArgInFrom => "UndefinedArgInFrom",
            Self::WorkdirRelativePath => "WorkdirRelativePath",
            Self::UndefinedVar => "UndefinedVar",
            Self::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Self::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Self::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
            Self::RedundantTargetPlatform => "RedundantTargetPlatform",
            Self::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Self::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Self::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Self::CopyIgnoredFile => "CopyIgnoredFile",
            Self::InvalidDefinitionDescription => "InvalidDefinitionDescription",
            Self::ExposeProtoCasing => "ExposeProtoCasing",
            Self::ExposeInvalidFormat => "ExposeInvalidFormat",
            Self::UnusedStage => "UnusedStage",
            Self::UntaggedBase => "UntaggedBase",
            Self::OverwrittenCopy => "OverwrittenCopy",
            Self::CacheHostileCopy => "CacheHostileCopy",
            Self::SecretInLayer => "SecretInLayer",
            Self::AptUpdateAlone => "AptUpdateAlone",
            Self::AptListsKept => "AptListsKept",
            Self::PipeWithoutPipefail => "PipeWithoutPipefail",
            Self::LastUserRoot => "LastUserRoot",
        }
    }

    /// What it is about, in one line without a full stop.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::StageNameCasing => "names of stages are written in lower case",
            Self::FromAsCasing => "`AS` is written in the case of its `FROM`",
            Self::NoEmptyContinuation => "no empty lines stand inside a continued line",
            Self::ConsistentInstructionCasing => "all instructions are written in one case",
            Self::DuplicateStageName => "no two stages have the same name",
            Self::ReservedStageName => "no stage is called `context` or `scratch`",
            Self::JSONArgsRecommended => {
                "`CMD` and `ENTRYPOINT` are JSON arrays, so that signals reach the program"
            }
            Self::MaintainerDeprecated => "a label names the author, not `MAINTAINER`",
            Self::UndefinedArgInFrom => "`FROM` uses declared arguments only",
            Self::WorkdirRelativePath => {
                "the first `WORKDIR` of a stage is absolute, whatever the base image's is"
            }
            Self::UndefinedVar => "variables are set before they are used",
            Self::MultipleInstructionsDisallowed => {
                "a stage has one `CMD`, one `ENTRYPOINT` and one `HEALTHCHECK`; only the last counts"
            }
            Self::LegacyKeyValueFormat => "`ENV` and `LABEL` are written `key=value`",
            Self::InvalidBaseImagePlatform => "a base image is of the platform that is built for",
            Self::RedundantTargetPlatform => {
                "`--platform=$TARGETPLATFORM` is left out, as it is the default"
            }
            Self::SecretsUsedInArgOrEnv => "no secret is passed in `ARG` or `ENV`",
            Self::InvalidDefaultArgInFrom => {
                "a base has a valid name also when no build arguments are given"
            }
            Self::FromPlatformFlagConstDisallowed => "the platform of a `FROM` is no constant",
            Self::CopyIgnoredFile => "nothing is copied that the ignore file leaves out",
            Self::InvalidDefinitionDescription => {
                "a comment above an `ARG` or a named `FROM` begins with its name, to describe it"
            }
            Self::ExposeProtoCasing => "the protocol of `EXPOSE` is written in lower case",
            Self::ExposeInvalidFormat => "`EXPOSE` names no address and no port of the host",
            Self::UnusedStage => "the last stage needs every other",
            Self::UntaggedBase => "the name of a base image says which version it is",
            Self::OverwrittenCopy => "no copied file is replaced before anything reads it",
            Self::CacheHostileCopy => {
                "dependencies are installed before the rest of the context is copied"
            }
            Self::SecretInLayer => "no file with a secret is copied into the image",
            Self::AptUpdateAlone => "`apt-get update` and what needs it are in one `RUN`",
            Self::AptListsKept => "lists of packages do not stay in the image",
            Self::PipeWithoutPipefail => "a failed download fails its step, also in a pipe",
            Self::LastUserRoot => "an image that knows another user does not end as root's",
        }
    }

    /// Where the field's documentation of the check is; nothing for Kiln's own and for the one that has none.
    #[must_use]
    pub fn url(self) -> Option<String> {
        if self == Self::InvalidBaseImagePlatform || self.is_hint() {
            return None;
        }
        Some(format!("https://docs.docker.com/go/dockerfile/rule/{}/", kebab_case(self.name())))
    }

    /// Whether it runs only when `experimental` asks for it.
    #[must_use]
    pub const fn is_experimental(self) -> bool {
        matches!(self, Self::InvalidDefinitionDescription) || self.is_hint()
    }

    /// Whether it is Kiln's own.
    #[must_use]
    pub const fn is_hint(self) -> bool {
        matches!(
            self,
            Self::UnusedStage
                | Self::UntaggedBase
                | Self::OverwrittenCopy
                | Self::CacheHostileCopy
                | Self::SecretInLayer
                | Self::AptUpdateAlone
                | Self::AptListsKept
                | Self::PipeWithoutPipefail
                | Self::LastUserRoot
        )
    }

    /// The check of a remark, by its code; nothing for other remarks.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.name() == code)
    }
}

/// `JSONArgsRecommended` as `json-args-recommended`.
fn kebab_case(name: &str) -> String {
    let mut out = String::new();
    let letters: Vec<char> = name.chars().collect();
    for (index, letter) in letters.iter().enumerate() {
        let after_small = index > 0 && letters[index - 1].is_lowercase();
        let before_small = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
        if index > 0 && letter.is_uppercase() && (after_small || before_small) {
            out.push('-');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Check;

    #[test]
    fn addresses_are_the_names_in_kebab_case() {
        let end = |check: Check| {
            let url = check.url().unwrap();
            url.trim_end_matches('/').rsplit('/').next().unwrap().to_owned()
        };
        assert_eq!(end(Check::JSONArgsRecommended), "json-args-recommended");
        assert_eq!(end(Check::SecretsUsedInArgOrEnv), "secrets-used-in-arg-or-env");
        assert_eq!(end(Check::FromAsCasing), "from-as-casing");
    }

    #[test]
    fn a_check_is_found_by_its_name() {
        for check in Check::ALL {
            assert_eq!(Check::of_code(check.name()), Some(check));
        }
        assert_eq!(Check::of_code("no-stage"), None);
    }
}
