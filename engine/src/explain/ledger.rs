//! How the lookups of one build ended: a note for each, and for a miss what its account will need.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_cache::CacheKey;
use kiln_ir::{Digest, OpId};
use kiln_solver::{Found, Lookup};

use crate::runner::Value;

/// The lookups of one build, by vertex.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<BTreeMap<OpId, Entry>>);

/// One lookup.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: CacheKey,
    pub(crate) found: Found,
    /// What was read; empty for a hit, of which nothing is kept.
    pub(crate) digests: Vec<Digest>,
    /// What it was read from; empty for a hit.
    pub(crate) inputs: Vec<Value>,
}

impl Ledger {
    /// Takes note of a lookup. That an action was not recorded when it was first looked up counts, whatever this
    /// build itself recorded since.
    pub(crate) fn note(&self, lookup: &Lookup<'_, Value>) {
        let mut entries = self.entries();
        let missed = |entry: &Entry| entry.key == lookup.key && entry.found != Found::Result;
        if entries.get(&lookup.id).is_some_and(missed) {
            return;
        }
        let (digests, inputs) = match lookup.found {
            Found::Result => (Vec::new(), Vec::new()),
            Found::Nothing | Found::Husk | Found::PassedOver => {
                (lookup.digests.to_vec(), lookup.inputs.to_vec())
            }
        };
        let entry = Entry { key: lookup.key, found: lookup.found, digests, inputs };
        entries.insert(lookup.id, entry);
    }

    /// All lookups so far.
    pub(crate) fn entries(&self) -> MutexGuard<'_, BTreeMap<OpId, Entry>> {
        // Every change under this lock is one call on a map: there is no half of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
