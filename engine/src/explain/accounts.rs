//! Accounts of the steps that missed, made at the end of a build.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use kiln_cache::account::{Account, Discretion, Giver, Listing, Taken};
use kiln_cache::key::{Read, reads};
use kiln_cache::{AccountRow, CacheKey, Missed, Seal, Store, Trace, made_now_ms};
use kiln_frontend::{SourceEntry, holds_secret};
use kiln_ir::{Digest, Graph, Op, OpId, SourceOp, Vertex};
use kiln_solver::Found;

use super::ledger::Entry;
use crate::runner::{Runner, Value};

/// What the accounts of one build have in common.
pub(crate) struct Setting<'a> {
    pub(crate) store: &'a Store,
    pub(crate) graph: &'a Graph,
    /// What names the Dockerfile from build to build.
    pub(crate) file: String,
    /// The build arguments that it declares.
    pub(crate) arguments: BTreeSet<String>,
    /// The instruction that a vertex came from.
    pub(crate) source: &'a dyn Fn(OpId) -> Option<&'a SourceEntry>,
    /// The secrets whose values are part of keys.
    pub(crate) counts: &'a dyn Fn(&str) -> bool,
}

/// What the steps that missed were made of.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// By vertex.
    pub(crate) rows: BTreeMap<OpId, AccountRow>,
    /// What was selected, with the key of the step that did and the selection's digest.
    pub(crate) listings: Vec<(CacheKey, Digest, Listing)>,
}

impl Accounts {
    /// The accounts of all lookups that missed.
    pub(crate) fn of(runner: &Runner<'_>, setting: &Setting<'_>) -> Self {
        let entries = runner.ledger().entries();
        let made_ms = made_now_ms();
        let seal = OnceLock::new();
        let sealed = |value: &str| setting.sealed(&seal, value);
        let discretion = Discretion {
            is_secret: &holds_secret,
            seal: &sealed,
            is_argument: &|name| setting.arguments.contains(name),
        };
        let mut accounts = Self::default();
        for (id, entry) in entries.iter().filter(|(_, entry)| entry.found != Found::Result) {
            let vertex = setting.graph.vertex(*id);
            let reads = reads(vertex, setting.counts);
            let taken = reads.iter().zip(&entry.digests).map(|(read, digest)| {
                let from = giver(read, vertex, entry, setting.graph, &entries);
                Taken::of(read, *digest, from)
            });
            let account = Account::of(vertex, taken.collect(), discretion);
            let (stage, step) = setting.stage(*id, vertex);
            let missed = setting.missed(entry);
            let row = AccountRow { key: entry.key, stage, step, made_ms, missed, account };
            accounts.rows.insert(*id, row);
            for (read, digest) in reads.iter().zip(&entry.digests) {
                if let Read::Copy(copy) = read
                    && let Some(selection) = runner.known_selection(&entry.inputs[copy.input], copy)
                {
                    let listing = Listing::of_selection(&selection, copy);
                    accounts.listings.push((entry.key, *digest, listing));
                }
            }
        }
        accounts
    }
}

impl Setting<'_> {
    /// A digest that names the stage of a vertex, and the step's number there.
    fn stage(&self, id: OpId, vertex: &Vertex) -> (Digest, u64) {
        let (stage, number) = match (self.source)(id) {
            Some(entry) => (entry.stage.as_str(), entry.number as u64),
            // A named context: it belongs to no stage.
            None => (vertex.meta.name.as_str(), 0),
        };
        (Digest::of(format!("{}\0{stage}", self.file).as_bytes()), number)
    }

    /// Why a lookup missed, as far as the store knows.
    fn missed(&self, entry: &Entry) -> Missed {
        match entry.found {
            Found::PassedOver => Missed::PassedOver,
            Found::Husk => Missed::Husk,
            Found::Nothing | Found::Result => match self.store.trace(&entry.key) {
                Ok(Some(Trace::Gone(gone))) => Missed::Gone(gone),
                Ok(Some(Trace::Begun(_))) => Missed::Unfinished,
                Ok(None) => Missed::New,
                Err(error) => {
                    tracing::warn!(%error, "what is known of a step cannot be read");
                    Missed::New
                }
            },
        }
    }

    /// The digest of a value that may be a credential. Without the store's key all are alike.
    fn sealed(&self, seal: &OnceLock<Option<Seal>>, value: &str) -> Digest {
        let seal = seal.get_or_init(|| match self.store.seal() {
            Ok(seal) => Some(seal),
            Err(error) => {
                tracing::warn!(%error, "changes of values that may be credentials go unseen");
                None
            }
        });
        match seal {
            Some(seal) => seal.digest("variable", value.as_bytes()),
            None => Digest::of(b""),
        }
    }
}

/// The step whose result a read is of.
fn giver(
    read: &Read<'_>,
    vertex: &Vertex,
    entry: &Entry,
    graph: &Graph,
    entries: &BTreeMap<OpId, Entry>,
) -> Option<Giver> {
    let input = read.input()?;
    let id = *vertex.inputs.get(input)?;
    let given = graph.vertex(id);
    if let Op::Source(SourceOp::Local(_) | SourceOp::Scratch) = &given.op {
        return None;
    }
    let top = match entry.inputs.get(input)? {
        Value::Snapshot(snapshot) => snapshot.layers().last().map(|layer| layer.digest),
        Value::Context(_) => None,
    };
    let key = entries.get(&id).map(|entry| entry.key);
    Some(Giver { name: given.meta.name.clone(), key, top })
}
