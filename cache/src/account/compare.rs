//! Two accounts side by side: what differs, and which earlier one is nearest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Account, Field, Shown, Taken};

/// What a difference in the command counts for when the nearest account is looked for: another command is
/// most likely another instruction.
const COMMAND_WEIGHT: usize = 4;

/// One thing in which two actions differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A field.
    Field {
        /// See [`kiln_ir::Label::what`].
        what: String,
        /// See [`kiln_ir::Label::name`].
        name: String,
        /// See [`kiln_ir::Label::aspect`].
        aspect: String,
        /// What it was; nothing when it was not there.
        was: Option<Shown>,
        /// What it is; nothing when it is not there.
        is: Option<Shown>,
    },
    /// The same fields in another order.
    Order {
        /// The sort of thing that is out of order.
        what: String,
    },
    /// What is read.
    Read {
        /// The index in the newer account's `reads`.
        index: usize,
        /// What was read; nothing when nothing was read there.
        was: Option<Taken>,
    },
}

impl Account {
    /// In what this account differs from an earlier one, in the order of the walk.
    #[must_use]
    pub fn compare(&self, earlier: &Self) -> Vec<Difference> {
        let mut differences = compare_fields(&earlier.fields, &self.fields);
        for (index, taken) in self.reads.iter().enumerate() {
            let was = earlier.reads.get(index);
            if was.is_none_or(|was| was.digest != taken.digest) {
                differences.push(Difference::Read { index, was: was.cloned() });
            }
        }
        if differences.is_empty() && earlier.reads.len() > self.reads.len() {
            let index = self.reads.len();
            differences.push(Difference::Read { index, was: earlier.reads.get(index).cloned() });
        }
        differences
    }
}

/// The account that comes nearest to `account`: that with the fewest differences, then that of the nearest
/// place, then the newest. Each candidate comes with how far away its place is, and when it was made.
#[must_use]
pub fn nearest<'a, T>(
    account: &Account,
    candidates: &'a [T],
    of: impl Fn(&T) -> (&Account, u64, i64),
) -> Option<&'a T> {
    candidates.iter().min_by_key(|candidate| {
        let (earlier, distance, made_ms) = of(candidate);
        let weight: usize = account.compare(earlier).iter().map(weight).sum();
        (weight, distance, Reverse(made_ms))
    })
}

fn weight(difference: &Difference) -> usize {
    match difference {
        Difference::Field { what, .. } if what == "command" => COMMAND_WEIGHT,
        Difference::Field { .. } | Difference::Order { .. } | Difference::Read { .. } => 1,
    }
}

/// A label, and the how manieth of its kind the field is.
type Place<'a> = (&'a str, &'a str, &'a str, usize);

fn places(fields: &[Field]) -> Vec<(Place<'_>, &Shown)> {
    let mut seen: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    fields
        .iter()
        .map(|field| {
            let label = (field.what.as_str(), field.name.as_str(), field.aspect.as_str());
            let count = seen.entry(label).or_default();
            *count += 1;
            ((label.0, label.1, label.2, *count), &field.value)
        })
        .collect()
}

fn compare_fields(earlier: &[Field], later: &[Field]) -> Vec<Difference> {
    let (earlier, later) = (places(earlier), places(later));
    let was: BTreeMap<_, _> = earlier.iter().copied().collect();
    let is: BTreeMap<_, _> = later.iter().copied().collect();
    let mut differences = Vec::new();
    // Things that came or went as a whole: nothing more is said of their parts.
    let mut whole = BTreeSet::new();
    let gone = earlier.iter().filter(|(place, _)| !is.contains_key(place));
    for (place, _) in later.iter().chain(gone) {
        let (what, name, aspect, count) = *place;
        let (before, now) = (was.get(place), is.get(place));
        if before == now || whole.contains(&(what, name, count)) {
            continue;
        }
        if aspect.is_empty() && (before.is_none() || now.is_none()) {
            whole.insert((what, name, count));
        }
        differences.push(Difference::Field {
            what: what.to_owned(),
            name: name.to_owned(),
            aspect: aspect.to_owned(),
            was: before.map(|shown| (*shown).clone()),
            is: now.map(|shown| (*shown).clone()),
        });
    }
    if differences.is_empty()
        && let Some((place, _)) =
            earlier.iter().zip(&later).find(|(a, b)| a.0 != b.0).map(|(_, later)| later)
    {
        differences.push(Difference::Order { what: place.0.to_owned() });
    }
    differences
}
