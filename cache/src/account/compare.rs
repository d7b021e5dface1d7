//! Two accounts side by side: what differs, and which earlier one is nearest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Account, Field, How, Shown, Taken};

/// What a difference in the command counts for when the nearest account is looked for: another command is
/// most likely another instruction.
const COMMAND_WEIGHT: usize = 4;

/// One thing in which two actions differ; `R` tells of what they read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference<R> {
    /// A field.
    Field {
        /// See [`kiln_ir::Label::what`].
        what: String,
        /// See [`kiln_ir::Label::name`].
        name: String,
        /// See [`kiln_ir::Label::aspect`]; empty also for a thing that came or went with all its parts.
        aspect: String,
        /// What it was; nothing when it was not there.
        was: Option<Shown>,
        /// What it is; nothing when it is not there.
        is: Option<Shown>,
    },
    /// The same things in another order.
    Order {
        /// The sort of thing that is out of order.
        what: String,
    },
    /// What is read.
    Read(R),
}

impl<R> Difference<R> {
    /// The same with what is read told in another way.
    pub fn map_read<S>(self, tell: impl FnOnce(R) -> S) -> Difference<S> {
        match self {
            Self::Field { what, name, aspect, was, is } => {
                Difference::Field { what, name, aspect, was, is }
            }
            Self::Order { what } => Difference::Order { what },
            Self::Read(read) => Difference::Read(tell(read)),
        }
    }
}

/// Something that two actions read, and that differs; at least one of them reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenPair {
    /// What was read; nothing when that was not.
    pub was: Option<Taken>,
    /// What is read; nothing when that is not.
    pub is: Option<Taken>,
}

impl Account {
    /// In what this account differs from an earlier one, in the order of the walk.
    #[must_use]
    pub fn compare(&self, earlier: &Self) -> Vec<Difference<TakenPair>> {
        let mut differences = compare_fields(&earlier.fields, &self.fields);
        differences.extend(compare_reads(&earlier.reads, &self.reads));
        // Which input something is read of moves with what came before it, and is worth a word only by itself.
        let is_input = |one: &Difference<_>| matches!(one, Difference::Field { aspect, .. } if aspect == "input");
        if !differences.iter().all(is_input) {
            differences.retain(|one| !is_input(one));
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

fn weight<R>(difference: &Difference<R>) -> usize {
    match difference {
        Difference::Field { what, .. } if what == "command" => COMMAND_WEIGHT,
        Difference::Field { .. } | Difference::Order { .. } | Difference::Read(_) => 1,
    }
}

/// The fields of one variable, mount or copy.
struct Thing<'a> {
    what: &'a str,
    name: &'a str,
    parts: Vec<(&'a str, &'a Shown)>,
}

impl<'a> Thing<'a> {
    /// Neighbouring fields of one name, up to an aspect that was there.
    fn all(fields: &'a [Field]) -> Vec<Self> {
        let mut things: Vec<Self> = Vec::new();
        for Field { what, name, aspect, value } in fields {
            let (what, name, part) = (what.as_str(), name.as_str(), (aspect.as_str(), value));
            match things.last_mut() {
                Some(last)
                    if (last.what, last.name) == (what, name) && last.part(aspect).is_none() =>
                {
                    last.parts.push(part);
                }
                _ => things.push(Self { what, name, parts: vec![part] }),
            }
        }
        things
    }

    fn part(&self, aspect: &str) -> Option<&'a Shown> {
        self.parts.iter().find(|(known, _)| *known == aspect).map(|(_, value)| *value)
    }

    fn difference<R>(
        &self,
        aspect: &str,
        was: Option<&Shown>,
        is: Option<&Shown>,
    ) -> Difference<R> {
        Difference::Field {
            what: self.what.to_owned(),
            name: self.name.to_owned(),
            aspect: aspect.to_owned(),
            was: was.cloned(),
            is: is.cloned(),
        }
    }

    /// What the thing as a whole is said to be.
    fn whole(&self) -> Shown {
        self.part("").cloned().unwrap_or(Shown::Nothing)
    }
}

/// Pairs of an earlier and a later thing, by their indices: those of one name, then of those left whose names say
/// little the first with the first. The later ones come in order, then the earlier ones that have no partner.
fn pairs<T, K: Ord>(
    earlier: &[T],
    later: &[T],
    name: impl Fn(&T) -> K,
    is_renamed: impl Fn(&T) -> bool,
) -> Vec<(Option<usize>, Option<usize>)> {
    let mut left: BTreeMap<K, VecDeque<usize>> = BTreeMap::new();
    for (index, one) in earlier.iter().enumerate() {
        left.entry(name(one)).or_default().push_back(index);
    }
    let same = |one: &T| left.get_mut(&name(one)).and_then(VecDeque::pop_front);
    let mut partners: Vec<Option<usize>> = later.iter().map(same).collect();
    let left: BTreeSet<usize> = left.into_values().flatten().collect();
    let (renamed, gone): (Vec<usize>, Vec<usize>) =
        left.into_iter().partition(|&index| is_renamed(&earlier[index]));
    let mut renamed = renamed.into_iter();
    for (one, partner) in later.iter().zip(&mut partners) {
        if partner.is_none() && is_renamed(one) {
            *partner = renamed.next();
        }
    }
    let later = partners.into_iter().enumerate().map(|(index, was)| (was, Some(index)));
    let gone = gone.into_iter().chain(renamed).map(|was| (Some(was), None));
    later.chain(gone).collect()
}

fn compare_fields(earlier: &[Field], later: &[Field]) -> Vec<Difference<TakenPair>> {
    let (earlier, later) = (Thing::all(earlier), Thing::all(later));
    // A copy is called by its source, which is no part of its identity.
    let is_copy = |thing: &Thing<'_>| thing.what == "copy";
    let pairs = pairs(&earlier, &later, |thing| (thing.what, thing.name), is_copy);
    let mut differences = Vec::new();
    for pair in &pairs {
        match *pair {
            (Some(was), Some(is)) => compare_parts(&earlier[was], &later[is], &mut differences),
            (None, Some(is)) => {
                differences.push(later[is].difference("", None, Some(&later[is].whole())));
            }
            (Some(was), None) => {
                differences.push(earlier[was].difference("", Some(&earlier[was].whole()), None));
            }
            (None, None) => {}
        }
    }
    let order = pairs.iter().filter_map(|(was, is)| Some((*was)?).zip(*is));
    if differences.is_empty()
        && let Some((_, is)) = order.clone().find(|(was, is)| was != is)
    {
        differences.push(Difference::Order { what: later[is].what.to_owned() });
    }
    differences
}

fn compare_parts<R>(was: &Thing<'_>, is: &Thing<'_>, differences: &mut Vec<Difference<R>>) {
    let gone = was.parts.iter().filter(|(aspect, _)| is.part(aspect).is_none());
    for (aspect, _) in is.parts.iter().chain(gone) {
        let (before, now) = (was.part(aspect), is.part(aspect));
        if before != now {
            differences.push(is.difference(aspect, before, now));
        }
    }
}

fn compare_reads(earlier: &[Taken], later: &[Taken]) -> Vec<Difference<TakenPair>> {
    let is_copy = |taken: &Taken| taken.how == How::Copy;
    let pairs = pairs(earlier, later, |taken| (taken.how, taken.name.clone()), is_copy);
    let taken = pairs.into_iter().map(|(was, is)| TakenPair {
        was: was.map(|was| earlier[was].clone()),
        is: is.map(|is| later[is].clone()),
    });
    let differs = |pair: &TakenPair| match (&pair.was, &pair.is) {
        (Some(was), Some(is)) => was.digest != is.digest,
        // A mount or a copy that came or went is told of by its fields.
        (one, other) => {
            let how = one.as_ref().or(other.as_ref()).map(|taken| taken.how);
            !matches!(how, Some(How::Bind | How::Copy))
        }
    };
    taken.filter(differs).map(Difference::Read).collect()
}
