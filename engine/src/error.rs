//! What can go wrong, from the point of view of whoever asked.

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
    /// What is kept of a build cannot be read.
    #[error("the record of the build `{id}` cannot be read: {reason}")]
    BuildRecord {
        /// The build.
        id: String,
        /// Why.
        reason: String,
    },
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
            | Self::Unsupported { .. } => ErrorKind::Usage,
            Self::Dockerfile(_) => ErrorKind::Dockerfile,
            Self::Command { .. } | Self::Archive { .. } | Self::NoSource { .. } => ErrorKind::Step,
            Self::ReadFile { source, .. } if is_absent(source) => ErrorKind::NotFound,
            Self::Secret { .. }
            | Self::Agent { .. }
            | Self::Device { .. }
            | Self::NamedContext { .. }
            | Self::NoImage { .. }
            | Self::NoBuild { .. }
            | Self::Image { .. } => ErrorKind::NotFound,
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

    /// Lines of advice.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "most messages say it all")]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Select(error) => error.hints(),
            Self::NoBuild { hints, .. } => hints.clone(),
            Self::Overlap { .. } => {
                vec![
                    "leave out `platform-split=false`: each platform then has a directory"
                        .to_owned(),
                ]
            }
            Self::SeveralPlatforms => {
                vec!["use `--output type=oci`, or build for one `--platform`".to_owned()]
            }
            Self::Remote(error) => error.hints(),
            Self::NoSource { missing, .. } => {
                scheme_hint(missing).map_or_else(|| missing.hints(), |hint| vec![hint])
            }
            Self::Command { args, exit, output, .. } => command_hints(args, *exit, output),
            Self::ReadFile { what: "Dockerfile", source, .. }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                vec!["name another file with `--file`".to_owned()]
            }
            Self::Registry(RegistryError::Unreachable { .. }) => {
                vec![
                    "is the host right, and the network up? a `kiln.toml` can name mirrors"
                        .to_owned(),
                ]
            }
            Self::Registry(RegistryError::Unauthorised { .. }) => {
                vec!["credentials are read from `~/.docker/config.json`".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    /// Whether the cause is a full disk or an exhausted quota.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        if let Self::Command { disk_full, .. } = self {
            return *disk_full;
        }
        if let Self::Images(images) = self {
            return images.iter().any(|image| image.error.is_disk_full());
        }
        // These stand for their causes, so that the chain of causes does not hold them.
        if let Self::Cache(error) | Self::Select(SelectError::Cache(error)) = self {
            return error.is_disk_full();
        }
        if let Self::Remote(RemoteError::Git { said, .. }) = self {
            return said.contains("No space left on device");
        }
        let mut error: Option<&dyn std::error::Error> = Some(self);
        while let Some(current) = error {
            if let Some(io) = current.downcast_ref::<io::Error>()
                && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            {
                return true;
            }
            if let Some(cache) = current.downcast_ref::<CacheError>()
                && cache.is_disk_full()
            {
                return true;
            }
            error = current.source();
        }
        matches!(self, Self::Steps(steps) if steps.iter().any(|step| match &step.error {
            StepError::Run(error) => error.is_disk_full(),
            StepError::Lookup(error) | StepError::Lock(error) | StepError::Record(error) => {
                error.is_disk_full()
            }
        }))
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

/// What to say of a path that was meant as an address: `file:///x` is the path `/file:/x`.
fn scheme_hint(missing: &SelectError) -> Option<String> {
    let SelectError::Missing { source_path, .. } = missing else { return None };
    let (scheme, _) = source_path.trim_start_matches('/').split_once(":/")?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    is_scheme.then(|| {
        format!("`{scheme}://` is not fetched: `ADD` takes addresses of http, https, ssh and git")
    })
}

/// What commands that fail in usual ways lack.
fn command_hints(args: &[String], exit: Failed, output: &[String]) -> Vec<String> {
    /// What the shells say, and who runs a command without one.
    const NOT_FOUND: i32 = 127;
    /// SIGKILL.
    const KILLED: i32 = 9;
    let unfound = output.last().is_some_and(|line| line == "kiln: `/bin/sh` was not found");
    match exit {
        Failed::Code(NOT_FOUND) if unfound && args.get(1).is_some_and(|flag| flag == "-c") => {
            vec![
                "the image has no shell; write the command as `RUN [\"program\", \"argument\"]`"
                    .to_owned(),
            ]
        }
        Failed::Code(_) if let Some(machine) = output.last().and_then(|line| foreign(line)) => {
            vec![format!(
                "an emulator that the kernel knows (binfmt_misc, with the flag F) could run it: install \
                 Debian's `qemu-user-binfmt`, or run `docker run --privileged --rm tonistiigi/binfmt \
                 --install {machine}`"
            )]
        }
        Failed::Signal(KILLED) => {
            vec!["perhaps the memory ran out; the kernel's log tells".to_owned()]
        }
        Failed::Code(_) | Failed::Signal(_) => Vec::new(),
    }
}

/// The machine that a program is for, when that is why it could not run.
fn foreign(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix("kiln: `")?.split_once("` is a program for ")?;
    rest.strip_suffix(", which this machine cannot run")
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
