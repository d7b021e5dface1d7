//! Why steps ran, for people and for programs.
//!
//! Pure: an [`Explanation`] in, text out. For people, what lies at the root comes first: each step that missed by
//! itself with what differs, and below it the steps that ran only because of it. Texts of Dockerfiles and names
//! of files are shown without what could steer a terminal.

mod files;
mod json;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kiln_engine::{ExplainedStep, Explanation, Reason, StepOutcome};

pub use json::{line, lines};

use crate::render::one_line;
use words::{Words, simple};

/// Names that are listed below each other.
const NAMES: usize = 20;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Long lists are cut.
    Brief,
    /// All of it.
    Full,
}

/// How the steps that missed are spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tense {
    /// They ran.
    Past,
    /// They would run.
    Conditional,
}

/// What is told of a time, in milliseconds since 1970: `2 minutes ago`.
pub type Ago<'a> = &'a dyn Fn(i64) -> String;

/// All steps of a build: the causes first, then what was cached.
#[must_use]
pub fn summary(explanation: &Explanation, detail: Detail, ago: Ago<'_>) -> String {
    let words = Words { explanation, detail, ago };
    let counts = Counts::of(explanation);
    let mut text = headline(explanation, &counts);
    text += &causes(&words, Tense::Past);
    let hits: Vec<String> = (explanation.steps.iter())
        .filter_map(|step| Some(format!("{}  {}", named(step), words.cached(step)?)))
        .collect();
    if counts.cached < counts.all() && !hits.is_empty() {
        text += "\ncached, since all that they read is as it was:\n";
        text += &listed(&hits, detail);
    }
    text
}

/// The steps of a build that would have run first, where none was to run.
#[must_use]
pub fn refusal(explanation: &Explanation, ago: Ago<'_>) -> String {
    let words = Words { explanation, detail: Detail::Brief, ago };
    let first = explanation.causes();
    let mut text = match first[..] {
        [only] => format!("`{}` is not cached", one_line(&explanation.steps[only].name)),
        _ => format!("{} steps are not cached", first.len()),
    };
    text += ", and `--require-cached` lets no step run\n";
    text += &causes(&words, Tense::Conditional);
    let behind = explanation.steps.iter();
    let behind = behind.filter(|step| step.outcome == StepOutcome::NotReached).count();
    match behind {
        0 => text,
        1 => text + "\none step comes after and was not looked at\n",
        _ => text + &format!("\n{behind} steps come after and were not looked at\n"),
    }
}

/// One step, whatever became of it.
#[must_use]
pub fn step(explanation: &Explanation, index: usize, ago: Ago<'_>) -> String {
    let words = Words { explanation, detail: Detail::Full, ago };
    let Some(step) = explanation.steps.get(index) else { return String::new() };
    let mut text = format!("{}{}\n", named(step), site(step));
    if let Some(key) = &step.key {
        text += &format!("  key {key}\n");
    }
    match &step.outcome {
        StepOutcome::Cached { .. } => {
            let cached = words.cached(step).unwrap_or_default();
            text += &format!(
                "  cached: its command, variables and mounts and all that it reads are as in the \
                 record,\n  {cached}\n"
            );
        }
        StepOutcome::Unrecorded => {
            text += "  looked at in each build: what it gives is part of the keys of its readers\n";
        }
        StepOutcome::NotReached => text += "  the build ended before it was looked up\n",
        StepOutcome::Missed(reason) => {
            text += &words.reason(&step.name, reason);
            let causes = explanation.causes_of(index);
            let others: Vec<_> = causes.into_iter().filter(|cause| *cause != index).collect();
            if !others.is_empty() {
                text += "  at the root of it:\n";
            }
            for cause in others {
                text += &indented(&block(&words, cause));
            }
        }
    }
    text
}

/// How many steps ended in which way.
#[derive(Default)]
struct Counts {
    ran: usize,
    refused: usize,
    cached: usize,
    unreached: usize,
}

impl Counts {
    fn of(explanation: &Explanation) -> Self {
        let mut counts = Self::default();
        for step in &explanation.steps {
            match &step.outcome {
                StepOutcome::Missed(Reason::Refused) => counts.refused += 1,
                StepOutcome::Missed(_) => counts.ran += 1,
                StepOutcome::Cached { .. } => counts.cached += 1,
                StepOutcome::NotReached => counts.unreached += 1,
                StepOutcome::Unrecorded => {}
            }
        }
        counts
    }

    fn all(&self) -> usize {
        self.ran + self.refused + self.cached + self.unreached
    }
}

fn headline(explanation: &Explanation, counts: &Counts) -> String {
    let all = counts.all();
    let mut text = match *counts {
        _ if all == 0 => "the build has no step that could be cached".to_owned(),
        Counts { refused: 1, .. } => {
            format!("1 of {all} steps was not cached, and none was to run")
        }
        Counts { refused: 2.., .. } => {
            format!("{} of {all} steps were not cached, and none was to run", counts.refused)
        }
        Counts { ran: 0, unreached: 1.., .. } => "no step ran".to_owned(),
        Counts { ran: 0, .. } if all == 1 => "the step was cached".to_owned(),
        Counts { ran: 0, .. } => format!("all {all} steps were cached"),
        Counts { ran: 1, .. } if all == 1 => "the step ran".to_owned(),
        Counts { ran, .. } if ran == all => format!("all {all} steps ran"),
        Counts { ran, .. } => format!("{ran} of {all} steps ran"),
    };
    if let ([only], 2..) = (&explanation.causes()[..], counts.ran) {
        text += &format!(", because of `{}`", one_line(&explanation.steps[*only].name));
    }
    match counts.unreached {
        0 => {}
        1 => text += "; the build ended before one was looked up",
        several => text += &format!("; the build ended before {several} were looked up"),
    }
    text + "\n"
}

/// The causes, those with the same reason together.
fn causes(words: &Words<'_>, tense: Tense) -> String {
    let mut plain: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut differing: Vec<(Vec<usize>, String)> = Vec::new();
    for index in words.explanation.causes() {
        let StepOutcome::Missed(reason) = &words.explanation.steps[index].outcome else { continue };
        if let Some(reason) = simple(reason) {
            plain.entry(reason).or_default().push(index);
            continue;
        }
        let reason = words.reason(&words.explanation.steps[index].name, reason);
        match differing.iter_mut().find(|(_, known)| *known == reason) {
            Some((indices, _)) => indices.push(index),
            None => differing.push((vec![index], reason)),
        }
    }
    let mut text = String::new();
    for (indices, reason) in differing {
        let each = if indices.len() > 1 { "  each differs" } else { "  differs" };
        let reason = reason.replacen("  differs", each, 1);
        text += &format!("\n{}{reason}", headings(words, &indices));
        text += &followers(words, &indices, tense);
    }
    for (reason, indices) in plain {
        let names: Vec<String> = headings(words, &indices).lines().map(str::to_owned).collect();
        text += &format!("\n{reason}:\n{}", listed(&names, words.detail));
        text += &followers(words, &indices, tense);
    }
    text
}

/// The names of steps with their places, one a line.
fn headings(words: &Words<'_>, indices: &[usize]) -> String {
    let steps = indices.iter().map(|index| &words.explanation.steps[*index]);
    steps.map(|step| format!("{}{}\n", named(step), site(step))).collect()
}

/// A cause with its reason.
fn block(words: &Words<'_>, index: usize) -> String {
    let step = &words.explanation.steps[index];
    let StepOutcome::Missed(reason) = &step.outcome else { return String::new() };
    format!("{}{}", headings(words, &[index]), words.reason(&step.name, reason))
}

/// What ran only because of these steps; what has several causes stands with the first.
fn followers(words: &Words<'_>, causes: &[usize], tense: Tense) -> String {
    let explanation = words.explanation;
    let follows = |index: &usize| {
        let step = &explanation.steps[*index];
        let is_own = matches!(&step.outcome, StepOutcome::Missed(reason) if reason.is_own());
        let missed = matches!(step.outcome, StepOutcome::Missed(_));
        missed
            && !is_own
            && explanation.causes_of(*index).first().is_some_and(|first| causes.contains(first))
    };
    let names: Vec<String> = (0..explanation.steps.len())
        .filter(follows)
        .map(|index| named(&explanation.steps[index]))
        .collect();
    if names.is_empty() {
        return String::new();
    }
    let heading = match tense {
        Tense::Past => "  then ran because of it:",
        Tense::Conditional => "  then would run because of it:",
    };
    format!("{heading}\n{}", indented(&listed(&names, words.detail)))
}

fn named(step: &ExplainedStep) -> String {
    one_line(&step.name)
}

/// Where the step is written.
fn site(step: &ExplainedStep) -> String {
    step.place
        .as_ref()
        .map_or_else(String::new, |place| format!("  ({}:{})", one_line(&place.file), place.line))
}

fn listed(names: &[String], detail: Detail) -> String {
    let shown = match detail {
        // A list that is longer by one is not cut: the note would take its line.
        Detail::Brief if names.len() > NAMES + 1 => NAMES,
        Detail::Brief | Detail::Full => names.len(),
    };
    let mut text: String = names[..shown].iter().map(|name| format!("  {name}\n")).collect();
    if shown < names.len() {
        text += &format!("  … and {} more\n", names.len() - shown);
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
