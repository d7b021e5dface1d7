//! What every verb works with: a store, registries and this machine.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kiln_cache::layer::LayerStore;
use kiln_cache::tree::Manifest;
use kiln_cache::{Rebuilt, Store};
use kiln_executor::{HostFacts, Sandboxes};
use kiln_ir::Digest;
use kiln_registry::{Client, Credentials};

use crate::turns::Turns;
use crate::{EngineError, Settings};

/// How an [`Engine`] is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The store's directory; made if absent.
    pub root: PathBuf,
    /// How registries are reached.
    pub settings: Settings,
    /// The program that begins with [`kiln_executor::helper_main`]: the running one, as
    /// `/proc/self/exe`, or a test's.
    pub helper: PathBuf,
}

/// A store that is open, and the means to work on it. Every method may be called from any thread.
#[derive(Debug)]
pub struct Engine {
    pub(crate) store: Store,
    rebuilt: Option<Rebuilt>,
    pub(crate) layers: LayerStore,
    pub(crate) settings: Settings,
    /// Made when a registry is first asked something: most builds ask nothing.
    registry: OnceLock<Client>,
    pub(crate) host: HostFacts,
    helper: PathBuf,
    /// Layers that are being packed, and how.
    pub(crate) packing: Turns<(Digest, String)>,
}

impl Engine {
    /// Opens the store, after making a damaged database anew, and looks at the machine. No registry is asked anything
    /// yet. People are to be told of [`Self::rebuilt`].
    ///
    /// # Errors
    /// When the store cannot be opened or the settings of a registry cannot be used.
    pub fn open(config: EngineConfig) -> Result<Self, EngineError> {
        let (store, rebuilt) = Store::open_or_rebuild(&config.root)?;
        let layers = store.layers();
        Ok(Self {
            settings: config.settings,
            registry: OnceLock::new(),
            host: HostFacts::gather()?,
            helper: config.helper,
            store,
            rebuilt,
            layers,
            packing: Turns::default(),
        })
    }

    /// What came of making the store's database anew; nothing when it was not damaged.
    #[must_use]
    pub const fn rebuilt(&self) -> Option<&Rebuilt> {
        self.rebuilt.as_ref()
    }

    /// Whether anything was stored that a crash of the machine could still undo, or later builds would be slower
    /// for; see [`Engine::settle`].
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.store.is_unsettled()
    }

    /// Sandboxes for one build.
    pub(crate) fn sandboxes(&self) -> Sandboxes {
        Sandboxes::new(self.helper.clone(), self.host.clone())
    }

    /// What this process's sandboxes share; goes with its staging directory.
    pub(crate) fn sandbox_dir(&self) -> PathBuf {
        self.store.staging_dir().join("sandbox")
    }

    /// The store's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// The client of all registries.
    pub(crate) fn registry(&self) -> Result<&Client, EngineError> {
        if let Some(client) = self.registry.get() {
            return Ok(client);
        }
        let client = Client::new(self.settings.registry.clone(), Credentials::from_environment()?)?;
        Ok(self.registry.get_or_init(|| client))
    }

    /// The digest of the layer that changes nothing.
    pub(crate) fn empty_layer(&self) -> Digest {
        Manifest::default().digest()
    }
}
