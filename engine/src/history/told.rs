//! What is told of a build: how it was asked for and how it ended, in the terms of its record.
//!
//! Pure: requests and errors in, lines out. Values that are nobody's business do not pass here.

use std::time::Duration;

use kiln_cache::BuildStatus;
use kiln_frontend::{Address, Diagnostic, NoCache, holds_secret, redact};
use kiln_ir::{Op, SourceOp};

use super::line::{Asked, End, How, RecordedError, RecordedFault, RecordedImage};
use super::recorder::status;
use crate::error::{FailedStep, Faulty, MissingImage, Place, chain};
use crate::export::Output;
use crate::{BuildContext, BuildRequest, Built, Definition, DockerfileSource, EngineError};

/// The build argument that names a build.
const NAME_ARGUMENT: &str = "BUILDKIT_BUILD_NAME";
/// Characters of a name or text that are kept.
const MAX_TEXT_CHARS: usize = 10_000;

/// What people call a build, as buildx has it: the context's name, the Dockerfile's where it is another than usual,
/// and the target.
pub(crate) fn build_name(request: &BuildRequest) -> String {
    let parameters = &request.parameters;
    if let Some(name) = parameters.build_args.get(NAME_ARGUMENT).filter(|name| !name.is_empty()) {
        return cut(name);
    }
    let mut name = match &request.context {
        BuildContext::Directory(dir) => {
            let whole = dir.canonicalize().unwrap_or_else(|_| dir.clone());
            let last = whole.file_name().unwrap_or(whole.as_os_str());
            last.to_string_lossy().into_owned()
        }
        BuildContext::Address(_) | BuildContext::Stdin => context(request),
    };
    let dockerfile = dockerfile(request);
    let file = dockerfile.rsplit('/').next().unwrap_or_default();
    if !matches!(file, "Dockerfile" | "-" | "") {
        name.push('/');
        name.push_str(file);
    }
    if let Some(target) = &parameters.target {
        name.push_str(&format!(" ({target})"));
    }
    cut(&name)
}

/// What was asked for, without what is secret.
pub(super) fn asked(request: &BuildRequest) -> Asked {
    let parameters = &request.parameters;
    let argument = |(name, value): (&String, &String)| {
        let shown = (!holds_secret(name)).then(|| redact_address(value));
        (name.clone(), shown)
    };
    Asked {
        context: context(request),
        dockerfile: dockerfile(request),
        target: parameters.target.clone(),
        platforms: request.platforms().iter().map(ToString::to_string).collect(),
        build_args: parameters.build_args.iter().map(argument).collect(),
        labels: parameters.labels.iter().cloned().collect(),
        contexts: (request.named_contexts.iter())
            .map(|(name, source)| (name.clone(), redact_address(source)))
            .collect(),
        tags: request.tags.iter().map(ToString::to_string).collect(),
        outputs: request.outputs.iter().map(|output| form(output).to_owned()).collect(),
        secrets: request.supplies.secrets.keys().cloned().collect(),
        agents: request.supplies.agents.keys().cloned().collect(),
        how: How {
            no_cache_filter: match &parameters.no_cache {
                NoCache::Stages(stages) => stages.clone(),
                NoCache::Nothing | NoCache::Everything => Vec::new(),
            },
            no_cache: parameters.no_cache == NoCache::Everything,
            pull: request.conduct.pull,
            jobs: request.conduct.jobs.get(),
            require_cached: request.conduct.require_cached,
        },
    }
}

fn context(request: &BuildRequest) -> String {
    match &request.context {
        BuildContext::Directory(dir) => dir.display().to_string(),
        BuildContext::Address(Address::Http(http)) => redact(&http.url),
        BuildContext::Address(Address::Git(git)) => {
            let reference = git.reference.as_deref().unwrap_or_default();
            let subdir = git.subdir.to_string();
            let subdir = subdir.trim_start_matches('/');
            let fragment = match (reference, subdir) {
                ("", "") => String::new(),
                (reference, "") => format!("#{reference}"),
                (reference, subdir) => format!("#{reference}:{subdir}"),
            };
            redact(&git.remote) + &fragment
        }
        BuildContext::Stdin => "-".to_owned(),
    }
}

fn dockerfile(request: &BuildRequest) -> String {
    match &request.dockerfile {
        Definition::Given(DockerfileSource::File(path)) => path.display().to_string(),
        Definition::Given(DockerfileSource::Text(_)) => "-".to_owned(),
        Definition::InContext(path) => path.clone(),
    }
}

/// A value that may be an address with a password in it; what names an image is none.
fn redact_address(value: &str) -> String {
    let is_image = value.starts_with("docker-image://") || value.starts_with("oci-layout://");
    if value.contains("://") && !is_image { redact(value) } else { value.to_owned() }
}

const fn form(output: &Output) -> &'static str {
    match output {
        Output::Oci { .. } => "oci",
        Output::Docker { .. } => "docker",
        Output::Tar { .. } => "tar",
        Output::Local { .. } => "local",
        Output::CacheOnly => "cacheonly",
    }
}

/// The name of a kind of op.
pub(super) const fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Source(SourceOp::Image(_)) => "image",
        Op::Source(SourceOp::Local(_)) => "local",
        Op::Source(SourceOp::Http(_)) => "http",
        Op::Source(SourceOp::Git(_)) => "git",
        Op::Source(SourceOp::Scratch) => "scratch",
        Op::Exec(_) => "exec",
        Op::File(_) => "file",
        Op::Merge => "merge",
        Op::Diff => "diff",
    }
}

/// How a build ended.
pub(super) fn ending(result: &Result<Built, EngineError>, at: Duration) -> End {
    let status = match status(result) {
        BuildStatus::Completed => "completed",
        BuildStatus::Failed => "error",
        BuildStatus::Cancelled => "canceled",
    };
    let mut end = End {
        at,
        status: status.to_owned(),
        image: None,
        error: None,
        remarks: Vec::new(),
        left_out_bytes: 0,
    };
    match result {
        Ok(Built { image, remarks, .. }) => {
            end.image = image.as_ref().map(|image| RecordedImage {
                manifest: image.manifest.digest.to_string(),
                config: image.config.map(|config| config.to_string()),
            });
            end.remarks = faults(remarks);
        }
        Err(error) => {
            let faults = faults_of(error);
            end.error = Some(RecordedError { message: cut(&chain(error)), faults });
        }
    }
    end
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others have no place in a Dockerfile")]
fn faults_of(error: &EngineError) -> Vec<RecordedFault> {
    match error {
        EngineError::Steps(steps) => steps.iter().map(step).collect(),
        EngineError::Dockerfile(faulty) => faults(faulty),
        EngineError::Images(images) => images.iter().map(image).collect(),
        _ => Vec::new(),
    }
}

fn step(step: &FailedStep) -> RecordedFault {
    let (message, output) = match step.engine_error() {
        Some(EngineError::Command { exit, output, .. }) => {
            (format!("`{}` failed with {exit}", step.name), output.clone())
        }
        _ => (format!("`{}` failed: {}", step.name, chain(&step.error)), Vec::new()),
    };
    RecordedFault { output, ..placed(String::new(), &message, step.place.as_ref()) }
}

fn image(image: &MissingImage) -> RecordedFault {
    placed(String::new(), &chain(&image.error), image.place.as_ref())
}

fn placed(code: String, message: &str, place: Option<&Place>) -> RecordedFault {
    let place = place.cloned();
    let (file, at, source) =
        place.map_or_else(Default::default, |place| (place.file, place.line, place.source));
    RecordedFault {
        code,
        message: cut(message),
        file,
        at,
        source: cut(&source),
        output: Vec::new(),
    }
}

fn faults(faulty: &Faulty) -> Vec<RecordedFault> {
    let one = |diagnostic: &Diagnostic| {
        let place = diagnostic.within.or(diagnostic.span).map(|span| {
            let location = faulty.source.locate(span.start);
            let source = faulty.source.text().get(span.start..span.end).unwrap_or_default();
            Place {
                file: location.file.to_owned(),
                line: location.line,
                source: source.trim_end().to_owned(),
            }
        });
        placed(diagnostic.code.to_owned(), &diagnostic.message, place.as_ref())
    };
    faulty.diagnostics.iter().map(one).collect()
}

/// The first of a text.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
