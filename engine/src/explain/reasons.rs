//! From accounts to reasons: for each step that missed the record that comes nearest, and what differs.
//!
//! Work is bounded: so many earlier accounts are looked at for each step, and a step that was cached but is
//! another than before is followed so far down. All is read from the store; a part that is not there any more
//! makes an answer poorer, never wrong.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use kiln_cache::account::{
    Account, Change, Difference, Giver, How, Listing, Taken, TakenPair, changes, nearest,
};
use kiln_cache::layer::LayerStore;
use kiln_cache::{AccountRow, CacheError, CacheKey, Missed, RecordStore as _, Store, Trace};
use kiln_ir::Digest;

use super::{
    Distinction, ExplainedStep, Explanation, Nearest, ReadCause, ReadDistinction, Reason,
    StepOutcome,
};
use crate::error::Place;

/// Earlier accounts of a stage that are looked at for one step.
const CANDIDATES: u32 = 64;
/// How many cached steps down the first one that is another than before is looked for.
const DEPTH: usize = 64;

/// What is known of a build that is to be explained.
pub(crate) struct Facts<'a> {
    pub(crate) store: &'a Store,
    pub(crate) layers: &'a LayerStore,
    /// Those that took part, inputs first.
    pub(crate) steps: Vec<StepFacts>,
    /// Only what was made before this time, in milliseconds since 1970, is earlier.
    pub(crate) before_ms: i64,
    /// Whether recorded results were passed over stage by stage.
    pub(crate) is_filtered: bool,
    /// Lists of files that are not in the store yet.
    pub(crate) listings: BTreeMap<Digest, Listing>,
}

/// What is known of a step.
pub(crate) struct StepFacts {
    /// Its index in the build graph.
    pub(crate) vertex: usize,
    pub(crate) name: String,
    pub(crate) place: Option<Place>,
    /// Indices of the steps whose results it reads, in the order of its inputs.
    pub(crate) inputs: Vec<usize>,
    pub(crate) state: State,
}

/// How a step's lookup ended.
pub(crate) enum State {
    /// It has no key. With inputs it is a merge.
    Unrecorded,
    /// It was never looked up.
    NotReached,
    /// Its result was recorded.
    Hit(CacheKey),
    /// It was not. Without an account nothing more is known of it.
    Missed(CacheKey, Option<Box<AccountRow>>),
    /// It was not, and was not to run; nothing more is known of it.
    Refused(CacheKey),
}

/// Says why each step ran or did not.
pub(crate) fn explain(facts: &Facts<'_>) -> Result<Explanation, CacheError> {
    let definitions = OnceCell::new();
    let reasons = Reasons { facts, definitions: &definitions };
    let steps = facts.steps.iter().enumerate().map(|(index, step)| {
        let key = match &step.state {
            State::Hit(key) | State::Missed(key, _) | State::Refused(key) => Some(*key),
            State::Unrecorded | State::NotReached => None,
        };
        Ok(ExplainedStep {
            vertex: step.vertex,
            name: step.name.clone(),
            place: step.place.clone(),
            key,
            outcome: reasons.outcome(index)?,
        })
    });
    Ok(Explanation { steps: steps.collect::<Result<_, CacheError>>()? })
}

struct Reasons<'a> {
    facts: &'a Facts<'a>,
    /// The identities of all steps of this build whose accounts are known.
    definitions: &'a OnceCell<BTreeSet<Digest>>,
}

impl Reasons<'_> {
    fn outcome(&self, index: usize) -> Result<StepOutcome, CacheError> {
        Ok(match &self.facts.steps[index].state {
            State::Unrecorded => StepOutcome::Unrecorded,
            State::NotReached => StepOutcome::NotReached,
            State::Hit(key) => {
                let record = self.facts.store.records().get(key)?;
                StepOutcome::Cached {
                    made_ms: record.as_ref().map(|record| record.created_ms),
                    duration_ms: record.map_or(0, |record| record.duration_ms),
                }
            }
            State::Missed(_, None) => StepOutcome::Missed(Reason::Forgotten),
            State::Refused(_) => StepOutcome::Missed(Reason::Refused),
            State::Missed(_, Some(row)) => StepOutcome::Missed(match row.missed {
                Missed::PassedOver if self.facts.is_filtered => Reason::NoCacheFilter,
                Missed::PassedOver => Reason::NoCache,
                Missed::Husk => Reason::Husk,
                Missed::Unfinished => Reason::Unfinished,
                Missed::Gone(gone) => Reason::Gone(gone),
                Missed::New => self.compared(index, row)?,
            }),
        })
    }

    /// The reason of a step that nothing was known of.
    fn compared(&self, index: usize, row: &AccountRow) -> Result<Reason, CacheError> {
        let Some(earlier) = self.nearest(row)? else { return Ok(Reason::First) };
        let mut differences = Vec::new();
        for difference in row.account.compare(&earlier.account) {
            differences.extend(self.distinctions(index, difference)?);
        }
        let AccountRow { key, made_ms, account, .. } = earlier;
        Ok(Reason::Differs(Nearest { key, name: account.name, made_ms, differences }))
    }

    fn nearest(&self, row: &AccountRow) -> Result<Option<AccountRow>, CacheError> {
        let (store, before_ms) = (self.facts.store, self.facts.before_ms);
        let kind = row.account.kind.as_str();
        let mut rows = store.accounts_of_stage((&row.stage, kind), before_ms, CANDIDATES)?;
        let same = |other: &AccountRow| other.account.definition == row.account.definition;
        if !rows.iter().all(same) {
            // What another step of this build does is no earlier form of this one.
            let definitions = self.definitions()?;
            rows.retain(|other| same(other) || !definitions.contains(&other.account.definition));
        }
        if rows.is_empty() {
            // Perhaps the Dockerfile has another name, or the stage.
            rows = store.recent_accounts(kind, before_ms, CANDIDATES)?;
            rows.retain(same);
        }
        rows.retain(|other| other.key != row.key);
        let of = |other: &AccountRow| other.step.abs_diff(row.step);
        let found =
            nearest(&row.account, &rows, |other| (&other.account, of(other), other.made_ms));
        Ok(found.cloned())
    }

    fn definitions(&self) -> Result<&BTreeSet<Digest>, CacheError> {
        if let Some(known) = self.definitions.get() {
            return Ok(known);
        }
        let mut definitions = BTreeSet::new();
        for step in &self.facts.steps {
            match &step.state {
                State::Missed(_, Some(row)) => {
                    definitions.insert(row.account.definition);
                }
                State::Hit(key) => {
                    definitions.extend(self.account(key)?.map(|account| account.definition));
                }
                State::Missed(_, None)
                | State::Refused(_)
                | State::Unrecorded
                | State::NotReached => {}
            }
        }
        Ok(self.definitions.get_or_init(|| definitions))
    }

    fn account(&self, key: &CacheKey) -> Result<Option<Account>, CacheError> {
        Ok(match self.facts.store.trace(key)? {
            Some(Trace::Begun(row)) => Some(row.account),
            Some(Trace::Gone(_)) | None => None,
        })
    }

    /// A difference with what is behind it: one for each step that is.
    fn distinctions(
        &self,
        index: usize,
        difference: Difference<TakenPair>,
    ) -> Result<Vec<Distinction>, CacheError> {
        let Difference::Read(pair) = difference else {
            return Ok(vec![plain(difference)]);
        };
        let told = told(&pair);
        let causes = match (&pair.is, &pair.was) {
            (Some(now), Some(was)) => self.causes(index, now, was)?,
            _ => vec![told.cause.clone()],
        };
        let files = self.files(&pair)?;
        let distinction = |cause| ReadDistinction { cause, files: files.clone(), ..told.clone() };
        Ok(causes.into_iter().map(distinction).map(Difference::Read).collect())
    }

    /// Why something that a step reads is another than it was; at least one cause.
    fn causes(&self, index: usize, now: &Taken, was: &Taken) -> Result<Vec<ReadCause>, CacheError> {
        let Some(input) = now.input.and_then(|at| self.facts.steps[index].inputs.get(at)) else {
            return Ok(vec![ReadCause::Itself]);
        };
        let givers = self.givers(*input);
        let was_key = was.from.as_ref().and_then(|from| from.key);
        let mut ran = Vec::new();
        let mut cached = None;
        for giver in givers {
            match &self.facts.steps[giver].state {
                State::Missed(key, _) => {
                    let same_action = was_key == Some(*key);
                    ran.push(ReadCause::Ran { step: giver, same_action });
                }
                State::Hit(key) => cached = Some((giver, *key)),
                State::Refused(_) | State::Unrecorded | State::NotReached => {}
            }
        }
        if !ran.is_empty() {
            return Ok(ran);
        }
        Ok(vec![match cached {
            Some((step, key)) if was_key == Some(key) => match (&now.from, &was.from) {
                (Some(now), Some(was)) if now.top == was.top => ReadCause::OtherPart { step },
                _ => ReadCause::MadeAnew { step },
            },
            Some((giver, key)) => self.cached(giver, key, was.from.as_ref())?,
            None => ReadCause::Itself,
        }])
    }

    /// The steps that give what an input is: what a merge puts together, one by one.
    fn givers(&self, input: usize) -> Vec<usize> {
        let (mut ahead, mut givers) = (vec![input], Vec::new());
        while let Some(index) = ahead.pop() {
            let step = &self.facts.steps[index];
            if matches!(step.state, State::Unrecorded) && !step.inputs.is_empty() {
                ahead.extend(&step.inputs);
            } else {
                givers.push(index);
            }
        }
        givers.reverse();
        givers
    }

    /// Looks down from a step that was cached, and is another than the one then, for the first that is.
    fn cached(
        &self,
        mut step: usize,
        mut key: CacheKey,
        was: Option<&Giver>,
    ) -> Result<ReadCause, CacheError> {
        let Some(was) = was else { return Ok(ReadCause::Unknown) };
        let mut was = was.clone();
        for _ in 0..DEPTH {
            let name = Some(was.name.clone());
            let none = ReadCause::Cached { step, was: name.clone(), differences: Vec::new() };
            let Some(was_key) = was.key.filter(|was| *was != key) else { return Ok(none) };
            let (Some(now), Some(then)) = (self.account(&key)?, self.account(&was_key)?) else {
                return Ok(none);
            };
            let differences = now.compare(&then);
            match self.below(step, &differences) {
                Some(Below::Ran(ran)) => {
                    return Ok(ReadCause::Ran { step: ran, same_action: false });
                }
                Some(Below::Cached(below, below_key, then)) => {
                    (step, key, was) = (below, below_key, then);
                }
                None => {
                    let differences = differences.into_iter().map(plain).collect();
                    return Ok(ReadCause::Cached { step, was: name, differences });
                }
            }
        }
        Ok(ReadCause::Unknown)
    }

    /// The step below, when the only difference is that another one gave what is read.
    fn below(&self, step: usize, differences: &[Difference<TakenPair>]) -> Option<Below> {
        let [Difference::Read(TakenPair { was: Some(was), is: Some(is) })] = differences else {
            return None;
        };
        let input = *self.facts.steps[step].inputs.get(is.input?)?;
        let [giver] = self.givers(input)[..] else { return None };
        match &self.facts.steps[giver].state {
            State::Missed(..) => Some(Below::Ran(giver)),
            State::Hit(key) => Some(Below::Cached(giver, *key, was.from.clone()?)),
            State::Refused(_) | State::Unrecorded | State::NotReached => None,
        }
    }

    /// The files that differ, where they can be told.
    fn files(&self, pair: &TakenPair) -> Result<Option<Vec<Change>>, CacheError> {
        let TakenPair { was: Some(was), is: Some(now) } = pair else { return Ok(None) };
        let lists = match now.how {
            How::Copy | How::Bind => (self.listing(&now.digest)?, self.listing(&was.digest)?),
            How::Root => match (&now.from, &was.from) {
                // The same action gave something else.
                (Some(now), Some(was)) if now.key.is_some() && now.key == was.key => {
                    (self.layer(now.top), self.layer(was.top))
                }
                _ => (None, None),
            },
            How::Secret => (None, None),
        };
        Ok(match lists {
            (Some(now), Some(was)) => Some(changes(&was, &now)),
            _ => None,
        })
    }

    fn listing(&self, selection: &Digest) -> Result<Option<Listing>, CacheError> {
        match self.facts.listings.get(selection) {
            Some(listing) => Ok(Some(listing.clone())),
            None => self.facts.store.listing(selection),
        }
    }

    /// What a layer holds; nothing when it is gone by now.
    fn layer(&self, layer: Option<Digest>) -> Option<Listing> {
        let manifest = self.facts.layers.manifest(&layer?).ok()?;
        Some(Listing::of_layer(&manifest))
    }
}

/// What is below a cached step that is another than it was.
enum Below {
    Ran(usize),
    Cached(usize, CacheKey, Giver),
}

/// A difference as it stands, without what is behind it.
fn plain(difference: Difference<TakenPair>) -> Distinction {
    difference.map_read(|pair| told(&pair))
}

/// What is read, as far as the two accounts say by themselves.
fn told(pair: &TakenPair) -> ReadDistinction {
    let TakenPair { was, is } = pair;
    let cause = match (was, is) {
        (None, _) => ReadCause::New,
        (_, None) => ReadCause::Gone,
        _ => ReadCause::Unknown,
    };
    let shown = is.as_ref().or(was.as_ref());
    let name = shown.map_or_else(String::new, |shown| shown.name.clone());
    let was_name = was.as_ref().map(|was| was.name.clone()).filter(|was| *was != name);
    ReadDistinction {
        how: shown.map_or(How::Root, |shown| shown.how),
        name,
        was_name,
        cause,
        files: None,
    }
}
