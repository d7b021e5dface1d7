//! What a build came to.

use kiln_image::{Descriptor, OciDigest};

use crate::EngineError;
use crate::error::Faulty;
use crate::explain::Explanation;

/// A build that is over, however it ended.
#[derive(Debug)]
pub struct Finished {
    /// What it made, or why it failed.
    pub result: Result<Built, EngineError>,
    /// Its id in the history; nothing when it is not recorded.
    pub id: Option<String>,
    /// Why each step ran or did not, if that was asked for, and the build came so far as to look one up. Those of
    /// a build that was not to run any are in [`EngineError::WouldRun`].
    pub explanation: Option<Explanation>,
}

/// What a build made.
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
    /// The config's digest; nothing for an index.
    pub config: Option<OciDigest>,
    /// The manifest, or the index of an image for several platforms.
    pub manifest: Descriptor,
}

impl BuiltImage {
    /// What Docker calls the image's id: the config's digest, or the index's.
    #[must_use]
    pub fn id(&self) -> OciDigest {
        self.config.unwrap_or(self.manifest.digest)
    }
}
