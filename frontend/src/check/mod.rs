//! Build checks: what is correct and yet not what it should be.
//!
//! [`check`] looks at all stages, or at those that a target needs, in the order of the field's own frontend:
//! the text, the stages side by side, each `FROM`, then each instruction against the environment before it.
//! Like that frontend it makes no remark on what follows the first error. It needs no image's config but to
//! be sure of a remark; which ones those are, it says. Whether a remark keeps a file from being built is the
//! file's choice.

mod commands;
mod expose;
mod from;
mod hints;
mod ignored;
mod kind;
mod refusal;
mod report;
mod settings;
mod stages;
mod variables;
mod walk;
mod workdir;
mod written;

use kiln_grammar::{Parsed, Variable, Word};

pub use kind::Check;
pub(crate) use settings::Settings;
pub use variables::holds_secret;

use self::refusal::Refusal;
use self::report::Report;
use self::walk::Walk;
use crate::link::link;
use crate::stages::Stages;
use crate::survey::Survey;
use crate::{
    BuildOptions, Diagnostic, FactRequest, Facts, Rule, epoch, globals, link as names, mistakes,
    onbuild,
};

/// Which stages are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All.
    AllStages,
    /// Those that the target needs. What shows in the text alone is told of all stages even so.
    Target,
}

/// What came of a check.
#[derive(Debug, Default)]
pub struct Checked {
    /// Remarks and errors, in source order; those without a place come first.
    pub remarks: Vec<Diagnostic>,
    /// What has to be known to be sure of further remarks; none is named twice.
    pub missing: Vec<FactRequest>,
    /// What would be good to know: the bases' platforms and triggers may give rise to remarks that nothing
    /// hints at. Those that are missing are among them.
    pub unknown: Vec<FactRequest>,
}

/// Checks a Dockerfile, be it well formed or not, and says all at once what is wrong with it. `source` is the text that `parsed` was parsed from.
#[must_use]
pub fn check(
    parsed: &Parsed,
    source: &str,
    options: &BuildOptions,
    facts: &Facts,
    extent: Extent,
) -> Checked {
    let mut report = match Settings::of(&parsed.dockerfile, options) {
        Ok(settings) => Report::new(settings),
        Err(_) => {
            let remarks = mistakes::all(parsed, options, facts, extent);
            return Checked { remarks, ..Checked::default() };
        }
    };
    let subject = Subject { parsed, source, options, facts, extent };
    let verdict = subject.check(&mut report);
    let mut checked = report.finish();
    if verdict == Verdict::Wrong || !parsed.errors.is_empty() {
        checked.remarks.extend(mistakes::all(parsed, options, facts, extent));
    }
    checked.remarks.sort_by_key(|remark| (remark.line_span().map(|at| at.start), remark.span));
    checked
}

/// Whether what the parser understood can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// As far as it was looked at.
    Right,
    /// Something is wrong with it.
    Wrong,
}

/// What is checked.
struct Subject<'s> {
    parsed: &'s Parsed,
    source: &'s str,
    options: &'s BuildOptions,
    facts: &'s Facts,
    extent: Extent,
}

impl Subject<'_> {
    /// Makes all remarks, up to the first error.
    fn check(&self, report: &mut Report) -> Verdict {
        let (dockerfile, options) = (&self.parsed.dockerfile, self.options);
        let refusal = Refusal::of(&self.parsed.errors);
        if refusal.is_unreadable() {
            return Verdict::Right;
        }
        written::check(dockerfile, self.source, refusal.instruction_offset(), report);
        if let Some(error) = refusal.instruction {
            written::check_refused(error, self.source, report);
            return Verdict::Right;
        }
        stages::names(dockerfile, report);
        stages::casing(dockerfile, report);
        stages::default_arguments(dockerfile, options, report);
        let Ok(globals) = globals::evaluate(dockerfile, options) else { return Verdict::Wrong };
        if !from::check(dockerfile, &globals, report) {
            report.end();
        }
        let Ok(mut stages) = link(dockerfile, &globals, options) else { return Verdict::Wrong };
        if onbuild::add_triggers(&mut stages, self.facts).is_err() {
            return Verdict::Wrong;
        }
        let Ok(wanted) = self.wanted(&stages) else { return Verdict::Wrong };
        let epoch = epoch::epoch(dockerfile, &globals, &stages, options).err();
        if epoch.as_ref().is_some_and(|error| error.code != Rule::NotSupportedYet.code()) {
            report.end();
        }
        walk::base_platforms(&stages, &wanted, self.facts, report);
        let survey = Survey::new(&stages, options, self.facts, &globals);
        self.note_unknown(&survey, &wanted, report);
        let target = names::target(&stages, options).unwrap_or(stages.len() - 1);
        if options.target.is_none() {
            hints::unused_stages(&stages, &needed(target, &stages, options), report);
        }
        hints::untagged_bases(&stages, report);
        let verdict = Walk::new(survey, target).run(&wanted, refusal.word_offset(), report);
        if epoch.is_some() { Verdict::Wrong } else { verdict }
    }

    /// Notes the base images that would make the check complete.
    fn note_unknown(&self, survey: &Survey<'_>, wanted: &[bool], report: &mut Report) {
        let stages = survey.stages().iter().zip(wanted).filter(|(_, wanted)| **wanted);
        for unknown in stages.filter_map(|(stage, _)| survey.unknown_base(stage)) {
            report.want(unknown);
        }
    }

    /// The stages to look at, by index.
    fn wanted(&self, stages: &Stages<'_>) -> Result<Vec<bool>, Diagnostic> {
        let target = names::target(stages, self.options)?;
        let all = self.extent == Extent::AllStages && self.options.target.is_none();
        if all {
            return Ok(vec![true; stages.len()]);
        }
        Ok(needed(target, stages, self.options))
    }
}

fn needed(target: usize, stages: &Stages<'_>, options: &BuildOptions) -> Vec<bool> {
    names::needed(target, stages, options, |_| Vec::new())
}

/// A word's variables, each name once, where it stands last.
fn distinct_variables(word: &Word) -> Vec<&Variable> {
    let mut distinct: Vec<&Variable> = Vec::new();
    for variable in word.variables() {
        if !variable.name.is_empty() && !distinct.iter().any(|one| one.name == variable.name) {
            distinct.push(variable);
        }
    }
    distinct
}

/// The case that a word is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
}

impl Case {
    fn apply(self, text: &str) -> String {
        match self {
            Self::Lower => text.to_lowercase(),
            Self::Upper => text.to_uppercase(),
        }
    }
}

/// The case of all letters of a word; nothing for a mixture.
fn cased(text: &str) -> Option<Case> {
    [Case::Lower, Case::Upper].into_iter().find(|case| case.apply(text) == text)
}
