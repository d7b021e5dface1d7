//! What the caller of a build may choose.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kiln_image::Platform;
use kiln_ir::{GitSource, NetworkMode};

use crate::NoCache;

/// The name of the main context in [`kiln_ir::LocalSource`].
pub const MAIN_CONTEXT: &str = "context";

/// Everything that a build is told beside its Dockerfile.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The stage to build, by name or index; nothing for the last.
    pub target: Option<String>,
    /// `--build-arg`, also those that the Dockerfile does not declare.
    pub build_args: BTreeMap<String, String>,
    /// The platform of the image to be made.
    pub platform: Platform,
    /// The platform of the machine that builds.
    pub build_platform: Platform,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Patterns of the main context's ignore file, as [`kiln_ir::read_ignore_file`] leaves them.
    pub ignore: Vec<String>,
    /// Whose recorded results are passed over.
    pub no_cache: NoCache,
    /// Labels put on the image last, in order.
    pub labels: Vec<(String, String)>,
    /// What every `RUN` finds around it.
    pub run: RunOptions,
    /// How steps are called.
    pub step_names: StepNames,
}

/// How steps are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StepNames {
    /// `[build 2/5] RUN make`.
    #[default]
    Plain,
    /// `[linux/arm64 build 2/5] RUN make`, as fits a build for several platforms. A stage that is built on one
    /// platform and declares `TARGETPLATFORM` for another says both: `[linux/amd64->arm64 build 2/5]`.
    ByPlatform,
}

/// What every `RUN` finds around it, and how far it may reach.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The network of a `RUN` that does not choose one.
    pub network: NetworkMode,
    /// The sandboxes' host name; nothing for the default.
    pub hostname: Option<String>,
    /// Names for `/etc/hosts` with their addresses, in order.
    pub extra_hosts: Vec<(String, String)>,
    /// What a `RUN` may ask for beyond its sandbox; nothing for all of it, as fits a plan that nobody
    /// means to run.
    pub allowed: Option<BTreeSet<Entitlement>>,
}

impl RunOptions {
    /// Whether a `RUN` may ask for this.
    #[must_use]
    pub fn allows(&self, entitlement: &Entitlement) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(entitlement))
    }
}

/// Something beyond the sandbox that whoever builds has to allow, by its name in `--allow`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `network.host`: `RUN --network=host`.
    NetworkHost,
    /// `security.insecure`: `RUN --security=insecure`.
    SecurityInsecure,
    /// `device`: every device of the host's. Checked where the host's devices are known.
    AnyDevice,
    /// `device=NAME`: the devices of one name or class.
    Device(String),
}

impl fmt::Display for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkHost => f.write_str("network.host"),
            Self::SecurityInsecure => f.write_str("security.insecure"),
            Self::AnyDevice => f.write_str("device"),
            Self::Device(name) => write!(f, "device={name}"),
        }
    }
}

/// What a `--build-context` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory on this machine.
    Local {
        /// Patterns of its ignore file, as [`kiln_ir::read_ignore_file`] leaves them.
        ignore: Vec<String>,
    },
    /// An image.
    Image {
        /// A registry's name for it, `docker-image://…` or `oci-layout://…`.
        reference: String,
    },
    /// A commit's files; no ignore file applies.
    Git(GitSource),
    /// The address of an archive, which is unpacked, or of a file; no ignore file applies.
    Http {
        /// `http://…` or `https://…`.
        url: String,
    },
}

impl NamedContext {
    /// The patterns of the context's ignore file, which only a directory has.
    pub(crate) fn ignore(&self) -> Vec<String> {
        match self {
            Self::Local { ignore } => ignore.clone(),
            Self::Image { .. } | Self::Git(_) | Self::Http { .. } => Vec::new(),
        }
    }
}

impl BuildOptions {
    /// A build of the last stage for one platform, with nothing else chosen.
    #[must_use]
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            build_platform: platform.clone(),
            platform,
            contexts: BTreeMap::new(),
            ignore: Vec::new(),
            no_cache: NoCache::Nothing,
            labels: Vec::new(),
            run: RunOptions::default(),
            step_names: StepNames::Plain,
        }
    }
}
