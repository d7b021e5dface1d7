//! `build`: from a Dockerfile and a context to an image.

mod ask;
mod built;
mod contexts;
mod definition;
mod epoch;
mod expected;
mod explained;
mod fetched;
mod graph;
mod head;
mod joined;
mod missing;
mod outputs;
mod plan;
mod request;
mod round;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use kiln_cache::{DiskStore, RecordStore};
use kiln_frontend::{
    BuildOptions, Diagnostic, Extent, FactRequest, Facts, Plan, ResolvedImage, Severity, StepNames,
};
use kiln_image::Platform;
use kiln_ir::{OpId, Vertex};
use kiln_solver::{
    AfterFailure, Cancel, Event, Limits, Narrator, Report, Request, SolveError, StepError, solve,
};

pub use ask::{Answer, Question};
pub use built::{Built, BuiltImage, Finished};
pub use graph::{PlannedBuild, PlannedStep};
pub use plan::{Bases, PlanRequest, check_only, plan_only};
pub use request::{
    BuildContext, BuildRequest, Conduct, Definition, DockerfileSource, Parameters, SandboxLimits,
    Supplies,
};

use self::contexts::Contexts;
use self::definition::{Text, faulty};
use self::joined::Joined;
use self::missing::{missing_image, place};
use crate::error::{FailedStep, Place, chain};
use crate::explain::{Explanation, Ledger};
use crate::history::{Origin, Recorder};
use crate::runner::{Runner, Value};
use crate::transfer::{Opening, SharedRecords, Transfer};
use crate::{Engine, EngineError};

impl Engine {
    /// Builds what `request` asks for, and tells `sink` all that happens, in order, on this thread. What is
    /// told, and how the build ended, is kept in the history.
    ///
    /// It fails when the Dockerfile cannot be built, a step fails, a result cannot be written, or `cancel` fires.
    pub fn build(
        &self,
        request: &BuildRequest,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Event),
    ) -> Finished {
        let start = Instant::now();
        let clock = || start.elapsed();
        let keeper = Keeper {
            recorder: Recorder::begin(self, request),
            records: self.store.records(),
            ledger: Arc::default(),
            explanation: RefCell::new(None),
        };
        let mut tell = |event: Event| {
            keeper.recorder.event(&event);
            sink(event);
        };
        let mut narrator = Narrator::new(&clock, &mut tell);
        let result = self.build_narrated(request, cancel, &keeper, &mut narrator);
        let Keeper { recorder, records, explanation, .. } = keeper;
        let id = recorder.end(self, &records, &result, start.elapsed());
        Finished { result, id, explanation: explanation.into_inner() }
    }

    fn build_narrated(
        &self,
        request: &BuildRequest,
        cancel: &Cancel,
        keeper: &Keeper,
        narrator: &mut Narrator<'_>,
    ) -> Result<Built, EngineError> {
        let contexts = self.open_contexts(request, cancel, narrator)?;
        let text = narrator.perform_here("[internal] load build definition", |_| {
            self.load_definition(request, &contexts)
        })?;
        let (plans, remarks) = self.plan(request, &text, &contexts, narrator)?;
        let joined = Joined::of(plans);
        let build =
            Build { engine: self, request, joined: &joined, text: &text, contexts: &contexts };
        build.check_outputs()?;
        keeper.recorder.origins(joined.graph.ids().map(|op| build.origin(op)));
        let Made { image, .. } = build.perform(cancel, keeper, narrator)?;
        Ok(Built { image, remarks: text.told(remarks) })
    }

    /// Plans for each platform, finding out what the plans need to know, until they need nothing more. Answers
    /// the remarks on the Dockerfile, too; those that keep it from being built end it here.
    fn plan(
        &self,
        request: &BuildRequest,
        text: &Text,
        contexts: &Contexts,
        narrator: &mut Narrator<'_>,
    ) -> Result<(Vec<Plan>, Vec<Diagnostic>), EngineError> {
        let every = every_options(request, contexts);
        let mut facts = Facts::new();
        let (planned, checked) = loop {
            if !text.parsed.errors.is_empty() {
                break (Err(Vec::new()), None);
            }
            let (planned, checked) = round::plan_and_check(text, &every, &facts);
            match planned {
                Ok((plans, wanted)) if wanted.is_empty() => break (Ok(plans), checked),
                Ok((_, wanted)) => {
                    let found = self.find_out(&wanted, request, narrator);
                    note(text, &wanted, found, &mut facts)?;
                }
                Err(errors) => break (Err(errors), checked),
            }
        };
        let checked = checked.unwrap_or_else(|| round::check(text, &every, &facts));
        match planned {
            Ok(mut plans) => {
                let mut remarks = warnings(&mut plans);
                remarks.extend(checked);
                if remarks.iter().any(is_error) {
                    return Err(faulty(text, remarks));
                }
                Ok((plans, remarks))
            }
            Err(first) => Err(faulty(text, all_mistakes(text, &every, &facts, checked, first))),
        }
    }

    fn find_out(
        &self,
        wanted: &[FactRequest],
        request: &BuildRequest,
        narrator: &mut Narrator<'_>,
    ) -> Vec<Result<ResolvedImage, EngineError>> {
        let works =
            wanted.iter().map(|FactRequest::ImageConfig { reference, platform, .. }| {
                let work = move |_: &dyn Report| -> Result<ResolvedImage, EngineError> {
                    self.find_image(reference, platform, request.conduct.pull)
                };
                let prefix = match request.step_names() {
                    StepNames::Plain => String::new(),
                    StepNames::ByPlatform => format!("{platform} "),
                };
                (format!("[{prefix}internal] load metadata for {reference}"), work)
            });
        let mut works: Vec<_> = works.collect();
        if works.len() > 1 {
            return narrator.perform_all(request.conduct.jobs, works);
        }
        works.drain(..).map(|(name, work)| narrator.perform_here(&name, work)).collect()
    }
}

/// All that keeps a file from being built for any platform, then what else is to be said of it. `checked` is what
/// is said for the first platform; `first` is what a plan ended with.
fn all_mistakes(
    text: &Text,
    every: &[BuildOptions],
    facts: &Facts,
    checked: Vec<Diagnostic>,
    first: Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let (mut errors, warnings): (Vec<_>, Vec<_>) = checked.into_iter().partition(is_error);
    for options in &every[1..] {
        for remark in text.check(options, facts, Extent::Target).remarks {
            if is_error(&remark) && !errors.contains(&remark) {
                errors.push(remark);
            }
        }
    }
    if errors.is_empty() {
        errors = first;
    }
    errors.sort_by_key(|error| error.line_span().map(|at| at.start));
    errors.extend(warnings);
    errors
}

fn is_error(remark: &Diagnostic) -> bool {
    remark.severity == Severity::Error
}

/// Takes the remarks of all plans, each once.
fn warnings(plans: &mut [Plan]) -> Vec<Diagnostic> {
    let mut warnings: Vec<Diagnostic> = Vec::new();
    for warning in plans.iter_mut().flat_map(|plan| std::mem::take(&mut plan.warnings)) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    warnings
}

/// Adds what was found to the facts, or tells all that was not.
fn note(
    text: &Text,
    wanted: &[FactRequest],
    found: Vec<Result<ResolvedImage, EngineError>>,
    facts: &mut Facts,
) -> Result<(), EngineError> {
    let mut missing = Vec::new();
    for (FactRequest::ImageConfig { reference, platform, span }, answer) in wanted.iter().zip(found)
    {
        match answer {
            Ok(image) => facts.insert(reference.clone(), platform.clone(), image),
            Err(error) => missing.push(missing_image(text, *span, error)),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(EngineError::Images(missing)) }
}

/// What outlasts a build.
struct Keeper {
    recorder: Recorder,
    records: DiskStore,
    /// The lookups of all attempts.
    ledger: Arc<Ledger>,
    explanation: RefCell<Option<Explanation>>,
}

/// What the steps of a build came to.
struct Made {
    targets: Vec<Value>,
    image: Option<BuiltImage>,
}

/// One build on its way.
struct Build<'a> {
    engine: &'a Engine,
    request: &'a BuildRequest,
    joined: &'a Joined,
    text: &'a Text,
    contexts: &'a Contexts,
}

impl Build<'_> {
    /// Makes the image, with caches from elsewhere and for others where such are wanted.
    fn perform(
        &self,
        cancel: &Cancel,
        keeper: &Keeper,
        narrator: &mut Narrator<'_>,
    ) -> Result<Made, EngineError> {
        let Joined { graph, targets, plans, .. } = self.joined;
        // A time that makes no sense is told when the image is made.
        let epoch = || plans.first().and_then(|plan| self.epoch(plan.source_date_epoch).ok()?);
        let opening = Opening { request: self.request, graph, targets, epoch: &epoch };
        let transfer = self.engine.open_transfer(&opening, cancel, narrator)?;
        let Some(transfer) = transfer else {
            return self.make(None, cancel, keeper, narrator);
        };
        std::thread::scope(|scope| {
            let _sending = transfer.start(scope);
            let made = loop {
                let made = self.make(Some(&transfer), cancel, keeper, narrator);
                let Some(lost) = made.as_ref().err().and_then(EngineError::lost_layer) else {
                    break made?;
                };
                // It is known to be lost now, and the step that gave it runs.
                let told = chain(lost);
                narrator.perform("[internal] going on without a cached layer", |report| {
                    report.warning(&told);
                    Ok::<_, EngineError>(())
                })?;
            };
            transfer.keep(&keeper.records)?;
            transfer.export(&made.targets, narrator)?;
            Ok(made)
        })
    }

    fn make(
        &self,
        transfer: Option<&Transfer<'_>>,
        cancel: &Cancel,
        keeper: &Keeper,
        narrator: &mut Narrator<'_>,
    ) -> Result<Made, EngineError> {
        let solved = self.solve(transfer, cancel, keeper, narrator);
        self.engine.saving_stat_caches(self.contexts, || {
            let targets = solved?;
            let image = self.export(&targets, transfer, narrator)?;
            Ok(Made { targets, image })
        })
    }

    fn solve(
        &self,
        transfer: Option<&Transfer<'_>>,
        cancel: &Cancel,
        keeper: &Keeper,
        narrator: &mut Narrator<'_>,
    ) -> Result<Vec<Value>, EngineError> {
        let records = &keeper.records;
        let Joined { graph, targets, .. } = self.joined;
        let values = self.contexts.values.clone();
        // No two vertices of a graph are the same.
        let place =
            |vertex: &Vertex| self.place(graph.ids().find(|id| graph.vertex(*id) == vertex)?);
        let runner = Runner::new(self.engine, graph, values, self.request, transfer)
            .noting_in(&keeper.ledger)
            .placing(&place);
        let limits = Limits { jobs: self.request.conduct.jobs };
        let expected = expected::durations(graph, records)?;
        // Every step that is not cached is named, not only the first that is met.
        let after_failure = match self.request.conduct.require_cached {
            true => AfterFailure::KeepGoing,
            false => self.request.conduct.after_failure,
        };
        let wanted = Request { graph, targets, limits, expected: &expected, after_failure };
        let shared = transfer.map(|transfer| SharedRecords { disk: records, transfer });
        let lookup: &dyn RecordStore = match &shared {
            Some(shared) => shared,
            None => records,
        };
        let mut solved = solve(&wanted, &runner, lookup, cancel, narrator)
            .map_err(|error| failed(error, |op| self.place(op)));
        if solved.as_ref().is_err_and(|error| error.lost_layer().is_some()) {
            // It is all tried once more, with the same ledger.
            return solved;
        }
        let explanation = self.account(&runner);
        if let Err(EngineError::WouldRun(why)) = &mut solved {
            **why = explanation.unwrap_or_default();
        } else if self.request.conduct.explain {
            keeper.explanation.replace(explanation);
        }
        solved
    }

    /// What a vertex is and where it comes from.
    fn origin(&self, op: OpId) -> Origin {
        let origin = Origin::of(op.index(), self.joined.graph.vertex(op));
        match self.joined.source(op) {
            Some(entry) => origin.at(self.text.source.locate(entry.span.start), &entry.text),
            None => origin,
        }
    }

    /// Where an op is in the Dockerfile.
    fn place(&self, op: OpId) -> Option<Place> {
        Some(place(self.text, self.joined.source(op)?.span))
    }
}

/// What the frontend is told for each platform, in their order; at least one.
fn every_options(request: &BuildRequest, contexts: &Contexts) -> Vec<BuildOptions> {
    request
        .platforms()
        .into_iter()
        .map(|platform| options_for(request, contexts, platform))
        .collect()
}

/// What the frontend is told for the first platform.
fn options(request: &BuildRequest, contexts: &Contexts) -> BuildOptions {
    options_for(request, contexts, request.platforms().swap_remove(0))
}

fn options_for(request: &BuildRequest, contexts: &Contexts, platform: Platform) -> BuildOptions {
    let parameters = &request.parameters;
    BuildOptions {
        target: parameters.target.clone(),
        build_args: parameters.build_args.clone(),
        contexts: contexts.named.clone(),
        ignore: contexts.ignore.clone(),
        no_cache: parameters.no_cache.clone(),
        labels: parameters.labels.clone(),
        run: parameters.run.clone(),
        build_platform: Platform::host(),
        step_names: request.step_names(),
        ..BuildOptions::new(platform)
    }
}

/// What a failed build tells; `place` finds an op in the Dockerfile. What would run, and was not to, is not explained
/// yet.
fn failed(error: SolveError<EngineError>, place: impl Fn(OpId) -> Option<Place>) -> EngineError {
    let mut failures = match error {
        SolveError::Cancelled => return EngineError::Cancelled,
        SolveError::Failed { failures } => failures,
    };
    // What failed by itself is told before what was not to run.
    failures.retain(|failure| !matches!(failure.error, StepError::Run(EngineError::NotCached)));
    if failures.is_empty() {
        return EngineError::WouldRun(Box::default());
    }
    EngineError::Steps(
        failures
            .into_iter()
            .map(|failure| FailedStep {
                place: place(failure.op),
                name: failure.name,
                error: failure.error,
            })
            .collect(),
    )
}
