//! Why each step of a build ran, or did not.
//!
//! While a build runs, a [`Ledger`] notes how each lookup ended, and nothing more. At the end, the steps that
//! missed get an account of what they were made of, which is kept in the store ([`accounts`]). Only when somebody
//! asks, those accounts are compared with earlier ones ([`reasons`]): the record that comes nearest, and what
//! differs, down to the file, the variable or the flag. Steps that ran because one before them gave another result
//! point to it; those that differ by themselves are the causes. Absent: how any of it is said.

mod accounts;
mod ledger;
mod past;
mod reasons;

use kiln_cache::account::{Change, Difference, How};
use kiln_cache::{CacheKey, Gone};

pub(crate) use accounts::{Accounts, Setting};
pub(crate) use ledger::Ledger;
pub(crate) use reasons::{Facts, State, StepFacts, explain};

use crate::error::Place;

/// Why the steps of one build ran or did not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// Those that took part, inputs first. Other indices in here point into this list.
    pub steps: Vec<ExplainedStep>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedStep {
    /// Its index in the build graph.
    pub vertex: usize,
    /// What people call it: `[build 2/5] RUN make`.
    pub name: String,
    /// Where it is in the Dockerfile.
    pub place: Option<Place>,
    /// Its cache key; nothing for what is not recorded or was never looked up.
    pub key: Option<CacheKey>,
    /// What became of it.
    pub outcome: StepOutcome,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// A recorded result was taken.
    Cached {
        /// When that was made, in milliseconds since 1970; nothing when the record went since.
        made_ms: Option<i64>,
        /// How long it took to make, in milliseconds.
        duration_ms: u64,
    },
    /// It ran, or would have.
    Missed(Reason),
    /// It is looked at in each build: a context, an address without a checksum.
    Unrecorded,
    /// The build ended before it.
    NotReached,
}

/// Why there was no result to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Recorded results were to be passed over.
    NoCache,
    /// Those of its stage were.
    NoCacheFilter,
    /// No earlier build of this step is known.
    First,
    /// There was a record, which went.
    Gone(Gone),
    /// There is a record, but its content was gone.
    Husk,
    /// It was begun before, and did not end well.
    Unfinished,
    /// What it was made of is not kept.
    Forgotten,
    /// It was not cached, and no step was to run, in a build of the past.
    Refused,
    /// It differs from the record that comes nearest.
    Differs(Nearest),
}

/// The record that comes nearest to a step that missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// Its key.
    pub key: CacheKey,
    /// What the step was called then.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: i64,
    /// What differs; at least one thing, unless the two are so alike that the accounts do not tell them apart.
    pub differences: Vec<Distinction>,
}

/// One thing that differs.
pub type Distinction = Difference<ReadDistinction>;

/// Something that a step reads, and that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadDistinction {
    /// In which way it is read.
    pub how: How,
    /// Which one of several: a source, a mount's target, a secret's id.
    pub name: String,
    /// What it was called then, if that is another name.
    pub was_name: Option<String>,
    /// Why it is another than then.
    pub cause: ReadCause,
    /// The files that differ; nothing when that is not known.
    pub files: Option<Vec<Change>>,
}

/// Why something that is read is another than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadCause {
    /// It is a context's, and files there changed; or a secret's value.
    Itself,
    /// It was not read then.
    New,
    /// It is not read any more.
    Gone,
    /// A step of this build ran and gave another result.
    Ran {
        /// The index of that step.
        step: usize,
        /// Whether it was the same action then, and gave something else.
        same_action: bool,
    },
    /// A step of this build was cached, as the one then, and something else of the same result is read.
    OtherPart {
        /// The index of that step.
        step: usize,
    },
    /// A step of this build was cached, and was made anew since then with another result.
    MadeAnew {
        /// The index of that step.
        step: usize,
    },
    /// A step of this build was cached, and is another than the one then.
    Cached {
        /// The index of the first such step.
        step: usize,
        /// What the one then was called.
        was: Option<String>,
        /// In what the two differ, if that is known; what they read of other steps is not looked into.
        differences: Vec<Distinction>,
    },
    /// Not known.
    Unknown,
}

impl Explanation {
    /// The steps that missed by themselves, and not only because of another step that ran; by index.
    #[must_use]
    pub fn causes(&self) -> Vec<usize> {
        let is_cause = |index: &usize| match &self.steps[*index].outcome {
            StepOutcome::Missed(reason) => reason.is_own(),
            StepOutcome::Cached { .. } | StepOutcome::Unrecorded | StepOutcome::NotReached => false,
        };
        (0..self.steps.len()).filter(is_cause).collect()
    }

    /// The causes that lead to a step that missed, by index; itself if it is one.
    #[must_use]
    pub fn causes_of(&self, step: usize) -> Vec<usize> {
        let (mut ahead, mut seen, mut causes) =
            (vec![step], vec![false; self.steps.len()], Vec::new());
        while let Some(index) = ahead.pop() {
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let StepOutcome::Missed(reason) = &self.steps[index].outcome else { continue };
            if reason.is_own() {
                causes.push(index);
            }
            ahead.extend(reason.steps());
        }
        causes.sort_unstable();
        causes
    }
}

impl Reason {
    /// Whether more than the results of other steps that ran is behind it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        let differences = self.differences();
        differences.is_empty() || differences.iter().any(|difference| ran(difference).is_none())
    }

    /// The steps that ran and whose results it follows from, by index.
    pub fn steps(&self) -> impl Iterator<Item = usize> + '_ {
        self.differences().iter().filter_map(ran)
    }

    /// From the nearest earlier record; none where no record is what matters.
    fn differences(&self) -> &[Distinction] {
        match self {
            Self::Differs(nearest) => &nearest.differences,
            Self::NoCache
            | Self::NoCacheFilter
            | Self::First
            | Self::Gone(_)
            | Self::Husk
            | Self::Unfinished
            | Self::Forgotten
            | Self::Refused => &[],
        }
    }
}

/// The step that ran and gave another result, if that is all that is behind a difference.
fn ran(difference: &Distinction) -> Option<usize> {
    match difference {
        Difference::Read(ReadDistinction { cause: ReadCause::Ran { step, .. }, .. }) => Some(*step),
        Difference::Read(_) | Difference::Field { .. } | Difference::Order { .. } => None,
    }
}
