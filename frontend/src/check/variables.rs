//! Variables: whether they are set before they are used, how they are written, and what they hold.

use kiln_grammar::{Instruction, InstructionKind, PairForm, Pairs, Word};

use super::report::{Remark, Report};
use super::walk::Step;
use super::{Check, distinct_variables};
use crate::expand::expand;
use crate::lower::PROXY_ARGUMENTS;

/// Words of a name that say that a secret is in it.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];
/// Words of a name that say that no secret is in it after all.
const NO_SECRET: [&str; 3] = ["public", "file", "version"];
/// How many variables are looked at for one that is spelt almost alike.
const MANY_NAMES: usize = 1_000;
/// Build arguments for a scanner, which are never variables.
const NEVER_SET: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Checks that the variables of an instruction are set or declared. The base image may set them, too.
pub(super) fn undefined(step: &Step<'_>, report: &mut Report) {
    let state = step.scope.state;
    for word in evaluated(step.instruction, step) {
        for variable in distinct_variables(word) {
            let name = variable.name.as_str();
            let declared = state.arguments.get(name).is_some();
            if state.environment.get(name).is_some() || declared || NEVER_SET.contains(&name) {
                continue;
            }
            let set: Vec<&str> =
                state.environment.pairs().map(|(known, _)| known).take(MANY_NAMES).collect();
            let message = format!("the variable `{name}` is used but not set");
            let remark =
                Remark::new(Check::UndefinedVar, variable.span, message).suggest(name, &set);
            report.say_knowing(step.unknown_base, &step.site, remark);
        }
    }
}

/// The words that are looked at: those of `EXPOSE` are not, nor defaults that a build argument replaces.
fn evaluated<'i>(instruction: &'i Instruction, step: &Step<'_>) -> Vec<&'i Word> {
    if let InstructionKind::Expose(_) = &instruction.kind {
        return Vec::new();
    }
    let InstructionKind::Arg(arg) = &instruction.kind else { return instruction.kind.words() };
    let given = &step.scope.options.build_args;
    let open = arg.declarations.iter().filter(|one| !given.contains_key(&one.name.raw));
    open.filter_map(|one| one.default.as_ref()).collect()
}

/// Checks that no name of an `ARG` or `ENV` is a secret's: both end up in the image.
pub(super) fn secrets(step: &Step<'_>, report: &mut Report) {
    let mut say = |keyword: &str, name: &str, word: &Word| {
        if is_secret(name) {
            let message =
                format!("`{name}` looks like a secret, and `{keyword}` is no place for one");
            let remark = Remark::new(Check::SecretsUsedInArgOrEnv, word.span, message)
                .hint("values of `ARG` and `ENV` stay in the image; use `RUN --mount=type=secret`");
            report.say(&step.site, remark);
        }
    };
    if let InstructionKind::Env(pairs) = step.kind() {
        for pair in &pairs.pairs {
            let name = expand(&pair.key, &step.scope.state.environment).unwrap_or_default();
            say("ENV", &name, &pair.key);
        }
    } else if let InstructionKind::Arg(arg) = step.kind() {
        for declaration in &arg.declarations {
            say("ARG", &declaration.name.raw, &declaration.name);
        }
    }
}

/// Whether the value of a variable may be a secret, by its name: a password, or a proxy's address that may
/// have one in it.
#[must_use]
pub fn holds_secret(name: &str) -> bool {
    is_secret(name) || PROXY_ARGUMENTS.contains(&name)
}

fn is_secret(name: &str) -> bool {
    let has = |words: &[&str]| {
        name.split('_').any(|part| words.iter().any(|word| word.eq_ignore_ascii_case(part)))
    };
    has(&SECRET) && !has(&NO_SECRET)
}

/// Checks that pairs have their `=`.
pub(super) fn legacy_form(step: &Step<'_>, report: &mut Report) {
    let (InstructionKind::Env(Pairs { pairs, form })
    | InstructionKind::Label(Pairs { pairs, form })) = step.kind()
    else {
        return;
    };
    let (PairForm::Legacy, [pair]) = (form, pairs.as_slice()) else { return };
    let keyword = step.instruction.keyword.node.to_uppercase();
    let message = format!("`{keyword} key value` is deprecated");
    let remark = Remark::new(Check::LegacyKeyValueFormat, step.keyword(), message).hint(format!(
        "write `{keyword} {}=…`, with quotes around a value with blanks",
        pair.key.raw
    ));
    report.say(&step.site, remark);
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn names_of_secrets() {
        for name in ["API_KEY", "password", "GITHUB_TOKEN", "secret_MESSAGE", "x_auth_y"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["KEYBOARD", "PUBLIC_KEY", "PASSWORD_FILE", "TOKEN_VERSION", "authority"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
