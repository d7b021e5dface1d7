//! What a caller asks of a build.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use kiln_executor::ResourceLimit;
use kiln_frontend::{Address, NoCache, RunOptions, StepNames, parse_context_address, redact};
use kiln_image::{ImageRef, Platform};
use kiln_solver::AfterFailure;

use crate::EngineError;
use crate::export::Output;
use crate::inspect::Attendant;
use crate::secrets::SecretSource;
use crate::transfer::CacheTransfers;

/// A build, as asked for.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The main context.
    pub context: BuildContext,
    /// The Dockerfile.
    pub dockerfile: Definition,
    /// What of it is wanted, and with which values.
    pub parameters: Parameters,
    /// `--build-context`: names with directories, `docker-image://…`, `oci-layout://…` or addresses.
    pub named_contexts: BTreeMap<String, String>,
    /// What its commands are given.
    pub supplies: Supplies,
    /// Names for the image.
    pub tags: Vec<ImageRef>,
    /// Where the result goes besides the store.
    pub outputs: Vec<Output>,
    /// The caches that it reads and writes besides the store.
    pub cache: CacheTransfers,
    /// How it goes about it.
    pub conduct: Conduct,
}

/// What commands are given besides their inputs; no part of any cache key by itself.
#[derive(Debug, Clone, Default)]
pub struct Supplies {
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Sockets of ssh agents by id.
    pub agents: BTreeMap<String, PathBuf>,
    /// What every command may use up.
    pub limits: SandboxLimits,
}

/// How a build goes about its work, whatever that is.
#[derive(Debug, Clone)]
pub struct Conduct {
    /// Whether names of images are resolved at the registry even when the store knows them.
    pub pull: bool,
    /// How many steps run at the same time.
    pub jobs: NonZeroUsize,
    /// What becomes of the other steps when one fails.
    pub after_failure: AfterFailure,
    /// Whether it is told why each step ran or did not.
    pub explain: bool,
    /// Whether the build fails when a command would run or a file be copied.
    pub require_cached: bool,
    /// Whoever looks into the commands that fail.
    pub attendant: Option<Attendant>,
}

/// What COPY and ADD read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildContext {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A repository, or the address of an archive or of a Dockerfile that stands alone.
    Address(Address),
    /// The standard input: an archive, or a Dockerfile that stands alone.
    Stdin,
}

impl BuildContext {
    /// What a context's text means: a directory goes before an address that looks like one.
    ///
    /// # Errors
    /// When it is plainly meant as an address, and is wrong.
    pub fn of(text: &str) -> Result<Self, EngineError> {
        if Path::new(text).is_dir() {
            return Ok(Self::Directory(text.into()));
        }
        let address = parse_context_address(text).map_err(|error| EngineError::NamedContext {
            name: redact(text),
            reason: error.to_string(),
        })?;
        Ok(address.map_or_else(|| Self::Directory(text.into()), Self::Address))
    }
}

/// The Dockerfile of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// One that is given beside the context.
    Given(DockerfileSource),
    /// A file of the context, by its path there. A Dockerfile that comes in place of a context goes before it.
    InContext(String),
}

/// Where the Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A file, given as people should see it.
    File(PathBuf),
    /// Text at hand, read from the standard input.
    Text(String),
}

/// What of a Dockerfile is wanted, and with which values.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    /// The stage to build; nothing for the last.
    pub target: Option<String>,
    /// Values for `ARG`s.
    pub build_args: BTreeMap<String, String>,
    /// Labels to add.
    pub labels: Vec<(String, String)>,
    /// Whose recorded results are passed over.
    pub no_cache: NoCache,
    /// The secrets whose values are part of cache keys, by id.
    pub counted_secrets: BTreeSet<String>,
    /// What every `RUN` finds around it, and how far it may reach.
    pub run: RunOptions,
    /// The platforms of the image; none for this machine's.
    pub platforms: Vec<Platform>,
}

/// The build argument that asks for an index of a single platform.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

impl BuildRequest {
    /// The platforms, each once; at least one.
    pub(crate) fn platforms(&self) -> Vec<Platform> {
        let mut platforms: Vec<Platform> = Vec::new();
        for platform in &self.parameters.platforms {
            if !platforms.contains(platform) {
                platforms.push(platform.clone());
            }
        }
        if platforms.is_empty() {
            platforms.push(Platform::host());
        }
        platforms
    }

    /// Whether the result is an index of images, or one image.
    pub(crate) fn is_index(&self) -> bool {
        let asked = self.parameters.build_args.get(MULTI_PLATFORM);
        self.platforms().len() > 1
            || asked.is_some_and(|text| matches!(text.as_str(), "1" | "true"))
    }

    pub(crate) fn step_names(&self) -> StepNames {
        if self.is_index() { StepNames::ByPlatform } else { StepNames::Plain }
    }
}

/// What every command of a build may use up; no part of any cache key.
#[derive(Debug, Clone, Default)]
pub struct SandboxLimits {
    /// Resource limits; what is not named keeps the caller's.
    pub resources: Vec<ResourceLimit>,
    /// The most that `/dev/shm` holds, in bytes; nothing for 64 MiB.
    pub shm_size_bytes: Option<u64>,
}
