//! What the caller of a build may choose.

use std::collections::BTreeMap;

use kiln_image::Platform;
use kiln_ir::NetworkMode;

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
    /// Whether recorded results are passed over.
    pub no_cache: bool,
    /// The network of every `RUN` that does not choose one.
    pub network: NetworkMode,
    /// Labels put on the image last, in order.
    pub labels: Vec<(String, String)>,
    /// The sandboxes' host name; nothing for the default.
    pub hostname: Option<String>,
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
            no_cache: false,
            network: NetworkMode::Default,
            labels: Vec::new(),
            hostname: None,
        }
    }
}
