//! What can go wrong, from the point of view of whoever asked.

mod causes;
mod hints;

use std::io;
use std::path::PathBuf;

use kiln_cache::CacheError;
use kiln_cache::select::SelectError;
use kiln_executor::ExecutorError;
use kiln_frontend::{Diagnostic, SourceText};
use kiln_image::ImageError;
use kiln_image::layer::LayerError;
use kiln_registry::RegistryError;
use kiln_solver::StepError;

use crate::explain::Explanation;
use crate::remote::RemoteError;
use crate::runner::Failed;

/// A verb that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A `kiln.toml` could not be understood.
    #[error("`{}` is not a valid configuration", .path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A file could not be read.
    #[error("cannot read the {what} `{}`", .path.display())]
    ReadFile {
        /// What the file is to Kiln.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write the {what} `{}`", .path.display())]
    WriteFile {
        /// What the file is to Kiln.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A blob of a layout could not be brought into the store.
    #[error("cannot bring the blob {digest} into the store")]
    CopyBlob {
        /// The blob's digest.
        digest: String,
        /// Why it could not be read or written.
        source: io::Error,
    },
    /// Something stands where a result would have to replace it.
    #[error("cannot replace `{}`: it is not {expected}", .path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// What may be replaced there.
        expected: &'static str,
    },
    /// Two platforms have the same file, and would have to be written to the same place.
    #[error("two platforms have a file `{}`", .path.display())]
    Overlap {
        /// The file, relative to the output.
        path: PathBuf,
    },
    /// The Dockerfile cannot be built.
    #[error("the Dockerfile has {} {}", .0.errors(), if .0.errors() == 1 { "error" } else { "errors" })]
    Dockerfile(Box<Faulty>),
    /// `SOURCE_DATE_EPOCH` is no time.
    #[error("`SOURCE_DATE_EPOCH` is `{text}`; give whole seconds since 1970")]
    Epoch {
        /// The text.
        text: String,
    },
    /// A `--build-context` cannot be used.
    #[error("the build context `{name}` cannot be used: {reason}")]
    NamedContext {
        /// The context's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A secret cannot be had.
    #[error("no secret `{id}`: {detail}")]
    Secret {
        /// Its id.
        id: String,
        /// Why, and the way out.
        detail: String,
    },
    /// An ssh agent cannot be had.
    #[error("no ssh agent `{id}`: {detail}")]
    Agent {
        /// Its id.
        id: String,
        /// Why, and the way out.
        detail: String,
    },
    /// A device of this machine's cannot be had.
    #[error("no device `{name}`: {detail}")]
    Device {
        /// Its name as `vendor/class=name`.
        name: String,
        /// Why, and the way out.
        detail: String,
    },
    /// A command of the build failed.
    #[error("`{}` failed with {exit}", .args.join(" "))]
    Command {
        /// The program and its arguments.
        args: Vec<String>,
        /// How it ended.
        exit: Failed,
        /// The last lines that it wrote, oldest first.
        output: Vec<String>,
        /// Whether the store's disk was full when it ended.
        disk_full: bool,
    },
    /// Steps of the build failed; at least one.
    #[error("{}", summary(.0))]
    Steps(Vec<FailedStep>),
    /// Images that the Dockerfile names cannot be had; at least one.
    #[error("{} named in the Dockerfile cannot be had", if .0.len() == 1 { "an image" } else { "images" })]
    Images(Vec<MissingImage>),
    /// An image is not to be found in the store, nor anywhere else that was asked.
    #[error("no image `{reference}`: {looked}")]
    NoImage {
        /// The name.
        reference: String,
        /// Where it was looked for.
        looked: String,
    },
    /// A document of an image, or a name, cannot be used.
    #[error("the image `{reference}` cannot be used")]
    Image {
        /// The image.
        reference: String,
        /// Why.
        source: ImageError,
    },
    /// A layer's archive cannot be used.
    #[error("the archive {archive} cannot be unpacked: {reason}")]
    Archive {
        /// The layer's digest, or the file's path.
        archive: String,
        /// Why.
        reason: String,
    },
    /// A layer cannot be written as an archive.
    #[error("the layer {layer} cannot be packed")]
    Pack {
        /// The layer's digest.
        layer: String,
        /// Why.
        source: LayerError,
    },
    /// A registry did not give what was asked of it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A download or a commit cannot be had.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store failed, or what is read through it.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// What a COPY or ADD wants is not there, or cannot be put where it is wanted.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A source of COPY or ADD is not where it is looked for.
    #[error("{missing} in {tree}")]
    NoSource {
        /// What it was looked for in.
        tree: String,
        /// Which one, and what is like it.
        missing: Box<SelectError>,
    },
    /// A sandbox could not be made.
    #[error(transparent)]
    Sandbox(#[from] ExecutorError),
    /// An archive for `docker load` cannot hold what was asked for.
    #[error(
        "an output of type `docker` holds an image for one platform, and this is one for several"
    )]
    SeveralPlatforms,
    /// There is no cache where one was to be read.
    #[error("no cache at `{place}`: {reason}")]
    NoCache {
        /// Where.
        place: String,
        /// Why.
        reason: String,
    },
    /// A layer that a cache from elsewhere tells of cannot be had from anywhere.
    #[error("the layer {layer} of an imported cache cannot be had: {reason}")]
    LostLayer {
        /// The layer's digest.
        layer: String,
        /// Why, at the last place that was asked.
        reason: String,
    },
    /// A cache could not be written, and was to be.
    #[error("the cache cannot be exported to {place}")]
    CacheExport {
        /// Where to.
        place: String,
        /// Why.
        source: Box<EngineError>,
    },
    /// Threads for a cache's export could not be started.
    #[error("cannot start threads")]
    Threads {
        /// Why.
        source: rayon::ThreadPoolBuildError,
    },
    /// Kiln does not do this yet.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What.
        what: String,
    },
    /// No build is recorded under a name.
    #[error("no build `{reference}` is recorded")]
    NoBuild {
        /// What was asked for.
        reference: String,
        /// What may be meant.
        hints: Vec<String>,
    },
    /// Several builds have ids that begin so.
    #[error("several builds have ids that begin with `{reference}`: {}", .ids.join(", "))]
    AmbiguousBuild {
        /// What was asked for.
        reference: String,
        /// Some of them.
        ids: Vec<String>,
    },
    /// A build cannot be told as a trace.
    #[error("the build cannot be told as a trace: {reason}")]
    Trace {
        /// Why.
        reason: String,
    },
    /// A build has no step of a name, or several.
    #[error("{} `{reference}`", if *several { "several steps of the build are meant by" } else { "the build has no step" })]
    NoStep {
        /// What was asked for.
        reference: String,
        /// Whether several are meant.
        several: bool,
        /// What may be meant.
        hints: Vec<String>,
    },
    /// What a step read or gave is not to be had any more, or never was.
    #[error("the filesystem {when} the step `{step}` is not in the store: {reason}")]
    NoState {
        /// `before` or `after`.
        when: &'static str,
        /// What people call the step.
        step: String,
        /// Why.
        reason: String,
    },
    /// What is kept of a build cannot be read.
    #[error("the record of the build `{id}` cannot be read: {reason}")]
    BuildRecord {
        /// The build.
        id: String,
        /// Why.
        reason: String,
    },
    /// A step would run, and none may.
    #[error("it is not cached")]
    NotCached,
    /// Steps of the build would run, and none may; see [`Explanation::causes`].
    #[error("{} of the build would run, and only cached results may be used", if .0.causes().len() == 1 { "a step" } else { "steps" })]
    WouldRun(Box<Explanation>),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// A Dockerfile with what is wrong with it.
#[derive(Debug)]
pub struct Faulty {
    /// Its text, which knows the names of its files as people should see them.
    pub source: SourceText,
    /// At least one of them an error.
    pub diagnostics: Vec<Diagnostic>,
}

impl Faulty {
    /// How many of the diagnostics are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        let is_error = |d: &&Diagnostic| d.severity == kiln_frontend::Severity::Error;
        self.diagnostics.iter().filter(is_error).count()
    }
}

/// A step that failed.
#[derive(Debug)]
pub struct FailedStep {
    /// Such as `[build 2/5] RUN make`.
    pub name: String,
    /// Where it is in the Dockerfile, if it is.
    pub place: Option<Place>,
    /// Why it failed.
    pub error: StepError<EngineError>,
}

impl FailedStep {
    /// Why the step itself failed; nothing when it was the keeping of its record.
    #[must_use]
    pub fn engine_error(&self) -> Option<&EngineError> {
        match &self.error {
            StepError::Run(error) => Some(error),
            StepError::Lookup(_) | StepError::Lock(_) | StepError::Record(_) => None,
        }
    }
}

/// An image that cannot be had.
#[derive(Debug)]
pub struct MissingImage {
    /// What names it in the Dockerfile.
    pub place: Option<Place>,
    /// Advice that the Dockerfile gives rise to.
    pub hints: Vec<String>,
    /// Why it cannot be had.
    pub error: EngineError,
}

/// An instruction of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name, as people should see it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The instruction's lines as they are written.
    pub source: String,
}

/// What kind of failure an error is, for an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for makes no sense.
    Usage,
    /// The Dockerfile cannot be built.
    Dockerfile,
    /// A step failed.
    Step,
    /// An image, a file or a secret that is needed does not exist.
    NotFound,
    /// A registry could not be reached or refused.
    Network,
    /// The store or the disk.
    Store,
    /// The sandbox could not be made on this machine.
    Sandbox,
    /// A step would have run, and none was to.
    NotCached,
    /// The caller cancelled.
    Interrupted,
}

impl EngineError {
    /// What kind of failure this is. Of several steps the first one counts.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Settings { .. }
            | Self::Epoch { .. }
            | Self::SeveralPlatforms
            | Self::Overlap { .. }
            | Self::AmbiguousBuild { .. }
            | Self::Trace { .. }
            | Self::Unsupported { .. } => ErrorKind::Usage,
            Self::Dockerfile(_) => ErrorKind::Dockerfile,
            Self::NotCached | Self::WouldRun(_) => ErrorKind::NotCached,
            Self::Command { .. } | Self::Archive { .. } | Self::NoSource { .. } => ErrorKind::Step,
            Self::ReadFile { source, .. } if is_absent(source) => ErrorKind::NotFound,
            Self::Secret { .. }
            | Self::Agent { .. }
            | Self::Device { .. }
            | Self::NamedContext { .. }
            | Self::NoImage { .. }
            | Self::NoBuild { .. }
            | Self::NoStep { .. }
            | Self::NoState { .. }
            | Self::NoCache { .. }
            | Self::Image { .. } => ErrorKind::NotFound,
            Self::LostLayer { .. } => ErrorKind::Network,
            Self::CacheExport { source, .. } => source.kind(),
            Self::Images(images) => {
                images.first().map_or(ErrorKind::NotFound, |image| image.error.kind())
            }
            Self::Registry(error) => registry_kind(error),
            Self::Remote(error) => error.kind(),
            Self::Cache(error) => cache_kind(error),
            Self::Select(error) => select_kind(error),
            Self::ReadFile { .. }
            | Self::WriteFile { .. }
            | Self::CopyBlob { .. }
            | Self::InTheWay { .. }
            | Self::BuildRecord { .. }
            | Self::Threads { .. }
            | Self::Pack { .. } => ErrorKind::Store,
            Self::Sandbox(ExecutorError::Cancelled) | Self::Cancelled => ErrorKind::Interrupted,
            Self::Sandbox(ExecutorError::UnknownName { .. }) => ErrorKind::Step,
            Self::Sandbox(_) => ErrorKind::Sandbox,
            Self::Steps(steps) => match steps.first().map(|step| &step.error) {
                Some(StepError::Run(error)) => error.kind(),
                Some(
                    StepError::Lookup(error) | StepError::Lock(error) | StepError::Record(error),
                ) => cache_kind(error),
                None => ErrorKind::Step,
            },
        }
    }
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether there is nothing at a path, or something else on the way to it.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn summary(steps: &[FailedStep]) -> String {
    match steps {
        [only] => format!("the step `{}` failed", only.name),
        [first, rest @ ..] => {
            format!("the step `{}` failed, and {} more", first.name, rest.len())
        }
        [] => "a step failed".to_owned(),
    }
}

pub(crate) fn registry_kind(error: &RegistryError) -> ErrorKind {
    if let RegistryError::NotFound { .. } = error {
        ErrorKind::NotFound
    } else if let RegistryError::Write { .. } = error {
        ErrorKind::Store
    } else {
        ErrorKind::Network
    }
}

fn cache_kind(error: &CacheError) -> ErrorKind {
    if let CacheError::Cancelled { .. } = error { ErrorKind::Interrupted } else { ErrorKind::Store }
}

/// A COPY that asks for what is not there, or cannot be done, is a step that failed.
fn select_kind(error: &SelectError) -> ErrorKind {
    if let SelectError::Cache(error) = error { cache_kind(error) } else { ErrorKind::Step }
}
