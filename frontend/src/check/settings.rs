//! Which checks run: `# check=…` above everything else, the same in a comment directly above an
//! instruction, and the build argument that replaces the former.
//!
//! `skip=A,B`, `experimental=A,B` and `error=true`, joined by semicolons; `all` stands for every name. An
//! experimental check is not skipped but left unasked for; only a hint that is asked for can be skipped, by
//! its name. What follows a blank is a comment.

use kiln_grammar::{Dockerfile, Instruction, Spanned};

use super::Check;
use crate::{BuildOptions, Diagnostic, Rule};

/// The build argument that takes the place of the file's directive.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What is said about the checks of a file, or of one instruction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    skip: Names,
    experimental: Names,
    /// Whether a remark keeps the file from being built.
    pub(crate) error: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    All,
    Listed(Vec<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Names {
    fn parse(text: &str) -> Self {
        if text == "all" {
            return Self::All;
        }
        Self::Listed(text.split(',').map(|name| name.trim().to_owned()).collect())
    }

    fn lists(&self, check: Check) -> bool {
        matches!(self, Self::Listed(_)) && self.holds(check)
    }

    fn holds(&self, check: Check) -> bool {
        match self {
            Self::All => true,
            Self::Listed(names) => names.iter().any(|name| name == check.name()),
        }
    }
}

impl Settings {
    /// The settings of a whole file.
    ///
    /// # Errors
    /// When they cannot be read: it is better to say so than to check what was to be skipped.
    pub(crate) fn of(dockerfile: &Dockerfile, options: &BuildOptions) -> Result<Self, Diagnostic> {
        let invalid = |reason: String| {
            let message = format!("the settings of the checks cannot be read: {reason}");
            Diagnostic::error(Rule::InvalidCheck, Default::default(), message)
                .hint("write `skip=NAME,NAME`, `experimental=NAME` or `error=true`, joined by `;`")
        };
        if let Some(given) = options.build_args.get(ARGUMENT) {
            return Self::parse(given).map_err(|reason| Diagnostic {
                span: None,
                ..invalid(reason).hint(format!("they are those of the build argument `{ARGUMENT}`"))
            });
        }
        let directive = dockerfile.directives.iter().find(|one| one.name.node == "check");
        let Some(directive) = directive else { return Ok(Self::default()) };
        let value = directive.value.node.split(' ').next().unwrap_or_default();
        Self::parse(value).map_err(|reason| Diagnostic {
            span: Some(directive.value.span),
            within: Some(directive.span),
            ..invalid(reason)
        })
    }

    /// The settings of one instruction beside those of its file: the first comment above it that has the
    /// form. One that cannot be read counts for nothing.
    pub(crate) fn above(instruction: &Instruction) -> Self {
        let mut values = instruction.comments.iter().filter_map(check_comment);
        values.next().and_then(|value| Self::parse(value).ok()).unwrap_or_default()
    }

    /// Whether a check is to speak, where all these settings hold.
    pub(crate) fn allow(all: &[&Self], check: Check) -> bool {
        if check.is_experimental() {
            let asked = all.iter().any(|settings| settings.experimental.holds(check));
            // The field's own are not skipped once they are asked for; a hint is, by its name.
            let declined = all.iter().any(|settings| settings.skip.lists(check));
            return asked && !(check.is_hint() && declined);
        }
        !all.iter().any(|settings| settings.skip.holds(check))
    }

    /// Reads the text behind `check=`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(settings);
        }
        for option in text.splitn(3, ';') {
            let Some((key, value)) = option.split_once('=') else {
                return Err(format!("`{option}` has no `=`"));
            };
            let value = value.trim();
            match key.trim() {
                "skip" => settings.skip = Names::parse(value),
                "experimental" => settings.experimental = Names::parse(value),
                "error" => settings.error = switch(value)?,
                other => return Err(format!("there is no setting `{other}`")),
            }
        }
        Ok(settings)
    }
}

/// Every spelling that the field takes for true and false.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("`error` is either true or false, not `{other}`")),
    }
}

/// What a comment of the form `check=…` says; nothing for any other comment.
pub(super) fn check_comment(comment: &Spanned<String>) -> Option<&str> {
    let (name, value) = comment.node.split_once('=')?;
    let value = value.trim();
    let is_check = name.trim_end().eq_ignore_ascii_case("check") && !value.is_empty();
    is_check.then(|| value.split(' ').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{Check, Settings};

    fn settings(text: &str) -> Settings {
        Settings::parse(text).unwrap()
    }

    #[test]
    fn skips_and_asks_by_name_or_for_all() {
        let listed = settings("skip=StageNameCasing, FromAsCasing;error=true");
        assert!(listed.error);
        assert!(!Settings::allow(&[&listed], Check::FromAsCasing));
        assert!(Settings::allow(&[&listed], Check::UndefinedVar));
        let experimental = Check::InvalidDefinitionDescription;
        assert!(!Settings::allow(&[&listed], experimental));
        // Asked for, it is not skipped.
        let all = settings("skip=all;experimental=all");
        assert!(Settings::allow(&[&all], experimental));
        assert!(!Settings::allow(&[&all], Check::UndefinedVar));
    }

    #[test]
    fn a_hint_that_is_asked_for_can_be_declined_by_its_name() {
        let (file, own) = (settings("experimental=all;skip=all"), settings("skip=UnusedStage"));
        assert!(Settings::allow(&[&file], Check::UnusedStage));
        assert!(!Settings::allow(&[&file, &own], Check::UnusedStage));
        assert!(!Settings::allow(&[&settings("")], Check::UnusedStage));
    }

    #[test]
    fn what_an_instruction_says_adds_to_what_the_file_says() {
        let (file, own) = (settings("skip=FromAsCasing"), settings("skip=UndefinedVar"));
        assert!(!Settings::allow(&[&file, &own], Check::UndefinedVar));
        assert!(!Settings::allow(&[&file, &own], Check::FromAsCasing));
        assert!(Settings::allow(&[&file, &own], Check::StageNameCasing));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for text in ["skip", "skip=A;what=1", "error=perhaps"] {
            assert!(Settings::parse(text).is_err(), "{text}");
        }
        assert_eq!(settings("  "), Settings::default());
    }
}
