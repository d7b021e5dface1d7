//! `build`: from a Dockerfile and a context to an image.

mod ask;
mod contexts;
mod epoch;
mod missing;
mod plan;
mod request;

use std::fs;
use std::time::Instant;

use kiln_frontend::{
    BuildOptions, Checked, Diagnostic, Extent, FactRequest, Facts, Plan, Planning, ResolvedImage,
    Severity, check, plan, syntax_diagnostics,
};
use kiln_grammar::{Dockerfile, Parsed, SyntaxError};
use kiln_image::{Descriptor, OciDigest, Platform};
use kiln_ir::OpId;
use kiln_solver::{Cancel, Event, Limits, Narrator, Report, Request, SolveError, Stream, solve};

pub use ask::{Answer, Question};
pub use plan::{Bases, PlanRequest, plan_only};
pub use request::{BuildRequest, DockerfileSource, Parameters, SandboxLimits};

use self::contexts::Contexts;
use self::missing::{missing_image, place};
use crate::error::{FailedStep, Faulty, Place};
use crate::export::{Assembled, Output, Parts};
use crate::runner::{Runner, Value};
use crate::{Engine, EngineError};

/// What a build came to.
#[derive(Debug)]
pub struct Built {
    /// The image in the store; nothing when only the cache was filled.
    pub image: Option<BuiltImage>,
    /// Remarks on the Dockerfile, with what is needed to show them.
    pub remarks: Faulty,
}

/// An image that was built.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The config's digest, which Docker calls the image's id.
    pub id: OciDigest,
    /// The manifest.
    pub manifest: Descriptor,
}

/// A Dockerfile as it was read.
struct Text {
    file: String,
    source: String,
    parsed: Dockerfile,
    /// What of it the parser refused.
    errors: Vec<SyntaxError>,
}

impl Engine {
    /// Builds what `request` asks for, and tells `sink` all that happens, in order, on this thread.
    ///
    /// # Errors
    /// When the Dockerfile cannot be built, a step fails, a result cannot be written, or `cancel` fires.
    pub fn build(
        &self,
        request: &BuildRequest,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Built, EngineError> {
        let start = Instant::now();
        let clock = || start.elapsed();
        let mut narrator = Narrator::new(&clock, sink);
        let contexts = self.open_contexts(request)?;
        let text =
            narrator.perform("[internal] load build definition", |_| load(&request.dockerfile))?;
        let (plan, remarks) = self.plan(request, &text, &contexts, &mut narrator)?;
        let build = Build { engine: self, request, plan: &plan, text: &text, contexts: &contexts };
        let solved = build.solve(cancel, &mut narrator);
        self.save_stat_caches(&contexts);
        let image = build.export(&solved?, &mut narrator)?;
        let Text { file, source, .. } = text;
        Ok(Built { image, remarks: Faulty { file, source, diagnostics: remarks } })
    }

    /// Plans, finding out what the plan needs to know, until it needs nothing more. Answers the remarks on the
    /// Dockerfile, too; those that keep it from being built end it here.
    fn plan(
        &self,
        request: &BuildRequest,
        text: &Text,
        contexts: &Contexts,
        narrator: &mut Narrator<'_>,
    ) -> Result<(Plan, Vec<Diagnostic>), EngineError> {
        let options = options(request, contexts);
        let mut facts = Facts::new();
        let planned = loop {
            if !text.errors.is_empty() {
                break Err(syntax_diagnostics(&text.errors));
            }
            match plan(&text.parsed, &text.source, &options, &facts) {
                Ok(Planning::Done(plan)) => break Ok(*plan),
                Ok(Planning::Need(wanted)) => {
                    let found = self.find_out(&wanted, request, narrator);
                    note(text, &wanted, found, &mut facts)?;
                }
                Err(errors) => break Err(errors),
            }
        };
        let checked = text.check(&options, &facts, Extent::Target);
        match planned {
            Ok(mut plan) => {
                let mut remarks = std::mem::take(&mut plan.warnings);
                remarks.extend(checked.remarks);
                if remarks.iter().any(|remark| remark.severity == Severity::Error) {
                    return Err(faulty(text, remarks));
                }
                Ok((plan, remarks))
            }
            Err(mut errors) => {
                let warns = |remark: &Diagnostic| remark.severity == Severity::Warning;
                errors.extend(checked.remarks.into_iter().filter(warns));
                Err(faulty(text, errors))
            }
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
                    self.find_image(reference, platform, request.pull)
                };
                (format!("[internal] load metadata for {reference}"), work)
            });
        narrator.perform_all(request.jobs, works.collect())
    }
}

impl Text {
    /// The build checks.
    fn check(&self, options: &BuildOptions, facts: &Facts, extent: Extent) -> Checked {
        let parsed = Parsed { dockerfile: self.parsed.clone(), errors: self.errors.clone() };
        check(&parsed, &self.source, options, facts, extent)
    }
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

/// One build on its way.
struct Build<'a> {
    engine: &'a Engine,
    request: &'a BuildRequest,
    plan: &'a Plan,
    text: &'a Text,
    contexts: &'a Contexts,
}

impl Build<'_> {
    fn solve(&self, cancel: &Cancel, narrator: &mut Narrator<'_>) -> Result<Value, EngineError> {
        let trees = self.contexts.trees.clone();
        let runner = Runner::new(self.engine, &self.plan.graph, trees, self.request);
        let targets = [self.plan.target];
        let limits = Limits { jobs: self.request.jobs };
        let wanted = Request { graph: &self.plan.graph, targets: &targets, limits };
        let records = self.engine.store.records();
        match solve(&wanted, &runner, &records, cancel, narrator) {
            Ok(mut values) => Ok(values.remove(0)),
            Err(SolveError::Cancelled) => Err(EngineError::Cancelled),
            Err(SolveError::Failed { failures }) => Err(EngineError::Steps(
                failures
                    .into_iter()
                    .map(|failure| FailedStep {
                        place: self.place(failure.op),
                        name: failure.name,
                        error: failure.error,
                    })
                    .collect(),
            )),
        }
    }

    /// Where an op is in the Dockerfile.
    fn place(&self, op: OpId) -> Option<Place> {
        let origin = self.plan.graph.vertex(op).meta.origin?;
        Some(place(self.text, self.plan.sources.get(origin)?.span))
    }

    /// Puts the image into the store and wherever else it is wanted.
    fn export(
        &self,
        target: &Value,
        narrator: &mut Narrator<'_>,
    ) -> Result<Option<BuiltImage>, EngineError> {
        let outputs = &self.request.outputs;
        if outputs.contains(&Output::CacheOnly) {
            return Ok(None);
        }
        let argument = self.request.parameters.build_args.get(epoch::VARIABLE);
        let epoch = match self.plan.source_date_epoch {
            Some(seconds) => Some(seconds),
            None => epoch::determine(argument.map(String::as_str), &self.request.context)?,
        };
        let snapshot = target.snapshot();
        let (config, history) = (&self.plan.config, self.plan.history.as_slice());
        let parts = Parts { config, history, snapshot, epoch };
        let tags = &self.request.tags;
        let image = narrator.perform("exporting to image", |report| -> Result<_, EngineError> {
            let image = self.engine.assemble(&parts)?;
            self.engine.keep(&image, tags)?;
            let named = tags.iter().map(|tag| format!("naming to {tag}\n"));
            let told = format!(
                "manifest {}\nimage {}\n{}",
                image.manifest.digest,
                image.document.config.digest,
                named.collect::<String>()
            );
            report.output(Stream::Stdout, told.as_bytes());
            Ok(image)
        })?;
        for output in outputs {
            let name = describe(output);
            narrator.perform(&name, |_| self.write(output, &image, target, epoch))?;
        }
        let id = image.document.config.digest;
        Ok(Some(BuiltImage { id, manifest: image.manifest }))
    }

    fn write(
        &self,
        output: &Output,
        image: &Assembled,
        target: &Value,
        epoch: Option<i64>,
    ) -> Result<(), EngineError> {
        let (engine, tags) = (self.engine, &self.request.tags);
        match output {
            Output::Oci { dest } => engine.write_oci(&image.manifest, tags, dest),
            Output::Docker { dest } => {
                engine.write_docker(&[(image.manifest.clone(), tags.clone())], dest)
            }
            Output::Tar { dest } => engine.write_tar(target.snapshot(), epoch, dest),
            Output::Local { dir } => engine.write_local(target.snapshot(), epoch, dir),
            Output::CacheOnly => Ok(()),
        }
    }
}

/// Reads a Dockerfile, be it well formed or not.
fn load(dockerfile: &DockerfileSource) -> Result<Text, EngineError> {
    let (file, bytes) = match dockerfile {
        DockerfileSource::Text(text) => ("-".to_owned(), text.clone().into_bytes()),
        DockerfileSource::File(path) => {
            let bytes = fs::read(path).map_err(|source| EngineError::ReadFile {
                what: "Dockerfile",
                path: path.clone(),
                source,
            })?;
            (path.display().to_string(), bytes)
        }
    };
    // As the reference does: what is no text is replaced, and refused by the grammar where it matters.
    let source = String::from_utf8_lossy(&bytes).into_owned();
    let Parsed { dockerfile, errors } = kiln_grammar::parse(&source);
    Ok(Text { file, source, parsed: dockerfile, errors })
}

fn faulty(text: &Text, diagnostics: Vec<Diagnostic>) -> EngineError {
    let (file, source) = (text.file.clone(), text.source.clone());
    EngineError::Dockerfile(Box::new(Faulty { file, source, diagnostics }))
}

fn options(request: &BuildRequest, contexts: &Contexts) -> BuildOptions {
    let parameters = &request.parameters;
    BuildOptions {
        target: parameters.target.clone(),
        build_args: parameters.build_args.clone(),
        contexts: contexts.named.clone(),
        ignore: contexts.ignore.clone(),
        no_cache: parameters.no_cache,
        labels: parameters.labels.clone(),
        run: parameters.run.clone(),
        ..BuildOptions::new(Platform::host())
    }
}

fn describe(output: &Output) -> String {
    match output {
        Output::Oci { .. } => "exporting to oci image format",
        Output::Docker { .. } => "exporting to docker image format",
        Output::Tar { .. } => "exporting to tar",
        Output::Local { .. } => "exporting to directory",
        Output::CacheOnly => "exporting nothing",
    }
    .to_owned()
}
