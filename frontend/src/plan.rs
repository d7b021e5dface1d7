//! From syntax and facts to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln_grammar::{Dockerfile, LineIndex, Span};
use kiln_image::{HistoryEntry, ImageConfig, Platform};
use kiln_ir::{Graph, OpId, Origin};

use crate::build::{Builder, Given};
use crate::check::Settings;
use crate::link::{Reference, link};
use crate::stages::Stages;
use crate::{
    BuildOptions, Diagnostic, FactRequest, Facts, epoch, globals, link, no_cache, onbuild,
};

/// How far planning came.
#[derive(Debug)]
pub enum Planning {
    /// These facts are missing; none is asked for twice in one answer.
    Need(Vec<FactRequest>),
    /// The plan.
    Done(Box<Plan>),
}

/// All that is to be done, and the image that comes of it.
#[derive(Debug)]
pub struct Plan {
    /// What is to be done; only what the target needs.
    pub graph: Graph,
    /// The vertex whose filesystem is the image's.
    pub target: OpId,
    /// The image's config, with the history and layers of its base image and nothing of its own in them.
    pub config: ImageConfig,
    /// What this build adds to the history, oldest first. Along input 0 from the target down to a source
    /// there is one vertex for each entry that is not of an empty layer, in reverse order.
    pub history: Vec<HistoryEntry>,
    /// The planned stages that have names, with their last vertices.
    pub stages: BTreeMap<String, OpId>,
    /// Remarks that keep nobody from building.
    pub warnings: Vec<Diagnostic>,
    /// The image's platform.
    pub platform: Platform,
    /// Seconds since 1970 that the Dockerfile sets for `SOURCE_DATE_EPOCH`, or the build argument.
    pub source_date_epoch: Option<i64>,
    /// Where vertices came from.
    pub sources: SourceMap,
}

/// Looks up where vertices came from.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    entries: Vec<SourceEntry>,
}

/// An instruction that vertices came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEntry {
    /// The instruction's bytes; those of its `FROM` for a base image's trigger.
    pub span: Span,
    /// The line it starts on, from 1.
    pub line: usize,
    /// The instruction on one line.
    pub text: String,
    /// The stage it is in, by its name or else its index, with the platform that it is built on: the same in
    /// every build of the file, as long as the stage keeps its name or place.
    pub stage: String,
    /// Which step of the stage it is, from 1; 0 for what comes before the first.
    pub number: usize,
}

impl SourceMap {
    /// What an origin stands for; nothing for another plan's.
    #[must_use]
    pub fn get(&self, origin: Origin) -> Option<&SourceEntry> {
        self.entries.get(usize::try_from(origin.0).ok()?)
    }

    /// Adds an instruction.
    pub(crate) fn add(&mut self, entry: SourceEntry) -> Origin {
        self.entries.push(entry);
        Origin(u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX))
    }
}

/// Plans a build, or says which facts that takes.
///
/// `source` is the text that `dockerfile` was parsed from.
///
/// # Errors
/// What the first reading of the file finds wrong, in source order; at least one of them an error. What is wrong
/// besides, [`check`](crate::check) says.
pub fn plan(
    dockerfile: &Dockerfile,
    source: &str,
    options: &BuildOptions,
    facts: &Facts,
) -> Result<Planning, Vec<Diagnostic>> {
    Settings::of(dockerfile, options).map_err(|error| vec![error])?;
    let globals = globals::evaluate(dockerfile, options)?;
    let mut stages = link(dockerfile, &globals, options)?;
    onbuild::add_triggers(&mut stages, facts)?;
    let target = link::target(&stages, options).map_err(|error| vec![error])?;
    let source_date_epoch =
        epoch::epoch(dockerfile, &globals, &stages, options).map_err(|error| vec![error])?;
    let needed = link::needed(target, &stages, options, |_| Vec::new());
    let missing = missing_facts(&stages, &needed, options, facts);
    if !missing.is_empty() {
        return Ok(Planning::Need(missing));
    }
    let lines = LineIndex::of(source);
    let given = Given { lines: &lines, options, facts, globals: &globals, stages: &stages };
    let mut builder = Builder::default();
    let mut errors = Vec::new();
    for index in (0..stages.len()).filter(|index| needed[*index]) {
        errors.extend(builder.stage(index, &given).err().into_iter().flatten());
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.span);
        return Err(errors);
    }
    let mut plan = finish(builder, target, &given);
    plan.warnings = globals::unused(dockerfile, options);
    plan.warnings.extend(no_cache::unused(&stages, options));
    plan.source_date_epoch = source_date_epoch;
    Ok(Planning::Done(Box::new(plan)))
}

/// Joins what the target's stage came to with the graph.
fn finish(builder: Builder, target: usize, given: &Given<'_>) -> Plan {
    let stages =
        given.stages.iter().enumerate().filter_map(|(index, stage)| {
            Some((stage.name.clone()?, builder.finished(index)?.root))
        });
    let stages: BTreeMap<String, OpId> = stages.collect();
    let history = builder.history(target, given.stages);
    let state = builder.finished(target).cloned().expect("the target's stage is needed");
    let mut config = Arc::unwrap_or_clone(state.config);
    config.config.labels.extend(given.options.labels.iter().cloned());
    let (graph, sources) = builder.finish();
    Plan {
        graph,
        target: state.root,
        config,
        history,
        stages,
        warnings: Vec::new(),
        platform: given.stages[target].platform.clone(),
        source_date_epoch: None,
        sources,
    }
}

/// What the needed stages rest on or read from and is not known yet.
fn missing_facts(
    stages: &Stages<'_>,
    needed: &[bool],
    options: &BuildOptions,
    facts: &Facts,
) -> Vec<FactRequest> {
    let mut seen = BTreeSet::new();
    let mut missing = Vec::new();
    let mut ask = |reference: &Reference, platform: &Platform, span: Span| {
        let Reference::Image(reference) = reference else { return };
        let known = facts.get(reference, platform).is_some();
        if !known && seen.insert((reference.clone(), platform.clone())) {
            let (reference, platform) = (reference.clone(), platform.clone());
            missing.push(FactRequest::ImageConfig { reference, platform, span });
        }
    };
    for (index, stage) in stages.iter().enumerate().filter(|(index, _)| needed[*index]) {
        ask(&stage.base, &stage.platform, stage.base_span());
        for command in &stage.commands {
            let read = link::references(&command.instruction, index, stages, options);
            for (reference, span) in read {
                ask(&reference, &options.platform, command.trigger_of.unwrap_or(span));
            }
        }
    }
    missing
}
