//! Where remarks gather.

use kiln_grammar::{Instruction, Span};

use super::settings::Settings;
use super::{Check, Checked};
use crate::{Diagnostic, FactRequest, Severity};

/// What a check has to say.
#[derive(Debug)]
pub(super) struct Remark {
    check: Check,
    diagnostic: Diagnostic,
}

impl Remark {
    /// A remark on the bytes at `span`: lower case, no full stop, code in backticks.
    pub(super) fn new(check: Check, span: Span, message: impl Into<String>) -> Self {
        let diagnostic = Diagnostic {
            code: check.name(),
            severity: Severity::Warning,
            message: message.into(),
            span: Some(span),
            within: None,
            labels: Vec::new(),
            hints: Vec::new(),
        };
        Self { check, diagnostic }
    }

    /// The same with a way out.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.hint(hint);
        self
    }

    /// The same with the candidate that is nearest to `name`, when one is near.
    pub(super) fn suggest(mut self, name: &str, candidates: &[&str]) -> Self {
        self.diagnostic = self.diagnostic.suggest(name, candidates);
        self
    }

    /// The same with another place.
    pub(super) fn label(mut self, span: Span, message: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.label(span, message);
        self
    }
}

/// The instruction that a remark is on.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// Its bytes.
    pub(super) within: Span,
    /// What the comments above it say of checks.
    settings: Settings,
    /// Whether it stands in the file. A base's trigger does not: what it gives rise to is shown at the
    /// `FROM` that runs it.
    is_written: bool,
}

impl Site {
    /// An instruction of the file.
    pub(super) fn of(instruction: &Instruction) -> Self {
        Self { within: instruction.span, settings: Settings::above(instruction), is_written: true }
    }

    /// A trigger that a `FROM` runs.
    pub(super) fn trigger_of(from: &Instruction) -> Self {
        Self { is_written: false, ..Self::of(from) }
    }

    /// Something that is no instruction, or was not understood as one.
    pub(super) fn at(within: Span) -> Self {
        Self { within, settings: Settings::default(), is_written: true }
    }

    /// The same with other bytes to name the line by.
    pub(super) fn on(self, within: Span) -> Self {
        Self { within, ..self }
    }
}

/// Remarks, and the facts that were missing to make or to drop some.
#[derive(Debug)]
pub(super) struct Report {
    settings: Settings,
    checked: Checked,
    quiet: bool,
}

impl Report {
    /// Nothing yet, under a file's settings.
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, checked: Checked::default(), quiet: false }
    }

    /// Adds a remark, unless its check is not to speak here.
    pub(super) fn say(&mut self, site: &Site, remark: Remark) {
        let Remark { check, mut diagnostic } = remark;
        if self.quiet || !Settings::allow(&[&self.settings, &site.settings], check) {
            return;
        }
        diagnostic.within = Some(site.within);
        if !site.is_written {
            diagnostic.span = Some(site.within);
            diagnostic.labels.clear();
            diagnostic.message.insert_str(0, "in a trigger of the base: ");
        }
        if self.settings.error {
            diagnostic.severity = Severity::Error;
        }
        self.checked.remarks.push(diagnostic);
    }

    /// Adds a remark unless `fact` could still show it wrong; then the fact is what is missing.
    pub(super) fn say_knowing(&mut self, fact: Option<&FactRequest>, site: &Site, remark: Remark) {
        match fact {
            None => self.say(site, remark),
            Some(fact) => {
                let speaks = Settings::allow(&[&self.settings, &site.settings], remark.check);
                if speaks && !self.quiet {
                    add(&mut self.checked.missing, fact);
                }
            }
        }
    }

    /// Takes no further remark: what follows the first error is not looked at as if it were right.
    pub(super) fn end(&mut self) {
        self.quiet = true;
    }

    /// Notes what would be good to know.
    pub(super) fn want(&mut self, fact: FactRequest) {
        add(&mut self.checked.unknown, &fact);
    }

    /// The remarks, in the order they were made, and what was not known.
    pub(super) fn finish(self) -> Checked {
        self.checked
    }
}

fn add(facts: &mut Vec<FactRequest>, fact: &FactRequest) {
    if !facts.iter().any(|known| known.is_same(fact)) {
        facts.push(fact.clone());
    }
}
