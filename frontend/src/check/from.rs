//! What shows when the words of a `FROM` are evaluated.

use kiln_grammar::{Dockerfile, From, Instruction, InstructionKind, Word};
use kiln_image::Platform;

use super::report::{Remark, Report, Site};
use super::stages::froms;
use super::{Check, distinct_variables};
use crate::environment::Environment;
use crate::expand::expand;

/// The argument that a platform has by itself.
const TARGET_PLATFORM: &str = "TARGETPLATFORM";

/// Checks every `FROM` up to the first that cannot be evaluated; says whether there was none.
pub(super) fn check(dockerfile: &Dockerfile, globals: &Environment, report: &mut Report) -> bool {
    let arguments = Arguments { globals, declared: declared(dockerfile) };
    froms(dockerfile).all(|(instruction, from)| arguments.check(instruction, from, report))
}

/// Names that an `ARG` above the first `FROM` declares.
fn declared(dockerfile: &Dockerfile) -> Vec<&str> {
    let above = dockerfile.instructions.iter().map(|one| &one.kind);
    let above = above.take_while(|kind| !matches!(kind, InstructionKind::From(_)));
    let arguments = above.filter_map(|kind| {
        let InstructionKind::Arg(arg) = kind else { return None };
        Some(&arg.declarations)
    });
    arguments.flatten().map(|one| one.name.raw.as_str()).collect()
}

struct Arguments<'a> {
    globals: &'a Environment,
    declared: Vec<&'a str>,
}

impl Arguments<'_> {
    fn check(&self, instruction: &Instruction, from: &From, report: &mut Report) -> bool {
        let site = Site::of(instruction);
        self.undefined(&from.image, &site, report);
        if !expand(&from.image, self.globals).is_ok_and(|name| !name.is_empty()) {
            return false;
        }
        let Some(platform) = &from.platform else { return true };
        self.undefined(platform, &site, report);
        let value = expand(platform, self.globals).unwrap_or_default();
        self.redundant_platform(platform, &value, &site, report);
        let stage = from.stage.as_ref().map(|stage| stage.name.node.to_lowercase());
        constant_platform(platform, &value, &stage.unwrap_or_default(), &site, report);
        value.parse::<Platform>().is_ok()
    }

    fn is_known(&self, name: &str) -> bool {
        self.globals.get(name).is_some() || self.declared.contains(&name)
    }

    fn undefined(&self, word: &Word, site: &Site, report: &mut Report) {
        let unknown = distinct_variables(word).into_iter().filter(|one| !self.is_known(&one.name));
        for variable in unknown {
            let mut names = self.declared.clone();
            names.extend(self.globals.pairs().map(|(name, _)| name));
            let message = format!("no `ARG` above the first `FROM` declares `{}`", variable.name);
            let remark = Remark::new(Check::UndefinedArgInFrom, variable.span, message)
                .suggest(&variable.name, &names);
            report.say(site, remark);
        }
    }

    /// That it comes out as the target's platform alone does not do: another argument may say so.
    fn redundant_platform(&self, word: &Word, value: &str, site: &Site, report: &mut Report) {
        let variables = distinct_variables(word);
        let [only] = variables.as_slice() else { return };
        if only.name == TARGET_PLATFORM && self.globals.get(TARGET_PLATFORM) == Some(value) {
            let message = format!("`--platform={}` is the default", word.raw);
            let remark = Remark::new(Check::RedundantTargetPlatform, word.span, message);
            report.say(site, remark.hint("leave it out"));
        }
    }
}

/// A stage whose name has the platform in it says that it is meant.
fn constant_platform(word: &Word, value: &str, stage: &str, site: &Site, report: &mut Report) {
    if !word.variables().is_empty() {
        return;
    }
    let Ok(platform) = value.parse::<Platform>() else { return };
    if stage.contains(platform.os()) || stage.contains(platform.architecture()) {
        return;
    }
    let message = format!("the platform is always `{value}`, whatever the build is for");
    let remark = Remark::new(Check::FromPlatformFlagConstDisallowed, word.span, message)
        .hint("use `$BUILDPLATFORM` or `$TARGETPLATFORM`, or give `--platform` to the build");
    report.say(site, remark);
}
