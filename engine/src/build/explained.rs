//! What a build leaves behind for explanations, and the explanation of the build itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use kiln_cache::made_now_ms;
use kiln_frontend::NoCache;
use kiln_grammar::InstructionKind;
use kiln_ir::OpId;

use super::Build;
use super::definition::Text;
use super::request::{BuildContext, BuildRequest, Definition, DockerfileSource};
use crate::explain::{Accounts, Explanation, Facts, Setting, State, StepFacts, explain};
use crate::runner::Runner;

impl Build<'_> {
    /// Keeps what the steps that missed were made of, once all that will run has run. Answers why each step ran
    /// or did not, if that is asked for.
    pub(super) fn account(&self, runner: &Runner<'_>) -> Option<Explanation> {
        let counts = |id: &str| self.request.parameters.counted_secrets.contains(id);
        let source = |op: OpId| self.joined.source(op);
        let setting = Setting {
            store: &self.engine.store,
            graph: &self.joined.graph,
            file: identity(self.request),
            arguments: arguments(self.text),
            source: &source,
            counts: &counts,
        };
        let accounts = Accounts::of(runner, &setting);
        let asked = self.request.conduct.explain || self.request.conduct.require_cached;
        let explanation = asked.then(|| self.explain(runner, &accounts));
        if !self.request.conduct.require_cached {
            let rows: Vec<_> = accounts.rows.into_values().collect();
            if let Err(error) = self.engine.store.put_accounts(&rows, &accounts.listings) {
                // Less of a later build can be explained, and nothing is wrong.
                tracing::warn!(%error, "what the steps were made of is not kept");
            }
        }
        explanation
    }

    fn explain(&self, runner: &Runner<'_>, accounts: &Accounts) -> Explanation {
        let graph = &self.joined.graph;
        let entries = runner.ledger().entries();
        let wanted = wanted(graph, &self.joined.targets);
        let index: BTreeMap<OpId, usize> =
            wanted.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let steps = wanted.iter().map(|&id| {
            let vertex = graph.vertex(id);
            let state = match (entries.get(&id), accounts.rows.get(&id)) {
                (Some(entry), Some(row)) => State::Missed(entry.key, Some(Box::new(row.clone()))),
                (Some(entry), None) => State::Hit(entry.key),
                (None, _) if vertex.op.is_recorded() => State::NotReached,
                (None, _) => State::Unrecorded,
            };
            StepFacts {
                vertex: id.index(),
                name: vertex.meta.name.clone(),
                place: self.place(id),
                inputs: vertex.inputs.iter().filter_map(|id| index.get(id).copied()).collect(),
                state,
            }
        });
        let listings = accounts.listings.iter();
        let facts = Facts {
            store: &self.engine.store,
            layers: &self.engine.layers,
            steps: steps.collect(),
            before_ms: made_now_ms().saturating_add(1),
            is_filtered: self.request.parameters.no_cache != NoCache::Everything,
            listings: listings.map(|(_, digest, listing)| (*digest, listing.clone())).collect(),
        };
        explain(&facts).unwrap_or_else(|error| {
            tracing::warn!(%error, "the build cannot be explained");
            Explanation::default()
        })
    }
}

/// The vertices that the targets need, inputs first.
fn wanted(graph: &kiln_ir::Graph, targets: &[OpId]) -> Vec<OpId> {
    let mut needed: BTreeSet<OpId> = targets.iter().copied().collect();
    let mut ids: Vec<_> = graph.ids().collect();
    ids.reverse();
    for id in ids {
        if needed.contains(&id) {
            needed.extend(&graph.vertex(id).inputs);
        }
    }
    needed.into_iter().collect()
}

/// What names a Dockerfile from build to build.
fn identity(request: &BuildRequest) -> String {
    let real = |path: &std::path::Path| {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
    };
    let context = match &request.context {
        BuildContext::Directory(dir) => real(dir),
        BuildContext::Address(address) => format!("{address:?}"),
        BuildContext::Stdin => "-".to_owned(),
    };
    match &request.dockerfile {
        Definition::Given(DockerfileSource::File(path)) => real(path),
        Definition::Given(DockerfileSource::Text(_)) => format!("- {context}"),
        Definition::InContext(path) => format!("{path} {context}"),
    }
}

/// The build arguments that a Dockerfile declares, but those that it also sets as variables of the image.
fn arguments(text: &Text) -> BTreeSet<String> {
    let (mut declared, mut set) = (BTreeSet::new(), BTreeSet::new());
    for instruction in &text.parsed.dockerfile.instructions {
        if let InstructionKind::Arg(arg) = &instruction.kind {
            declared.extend(arg.declarations.iter().map(|one| one.name.raw.clone()));
        } else if let InstructionKind::Env(pairs) = &instruction.kind {
            set.extend(pairs.pairs.iter().map(|pair| pair.key.raw.clone()));
        }
    }
    declared.difference(&set).cloned().collect()
}
