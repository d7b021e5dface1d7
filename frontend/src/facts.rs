//! What a plan has to know of the world.

use std::collections::BTreeMap;

use kiln_grammar::Span;
use kiln_image::{ImageConfig, Platform};

/// One thing that a plan has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactRequest {
    /// Which manifest an image's name stands for, and its config.
    ImageConfig {
        /// A registry's name in full (`docker.io/library/busybox:latest`), or `oci-layout://…` as written.
        reference: String,
        /// The platform wanted.
        platform: Platform,
        /// The first place that names it.
        span: Span,
    },
}

impl FactRequest {
    /// Whether two requests ask for the same, be it for different places.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Self::ImageConfig { reference, platform, .. } = self;
        let Self::ImageConfig { reference: other, platform: on, .. } = other;
        (reference, platform) == (other, on)
    }
}

/// An image as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// `sha256:…` of the manifest of one platform.
    pub manifest: String,
    /// Where to fetch from; goes into [`kiln_ir::ImageSource`] unread.
    pub locator: String,
    /// The name to show.
    pub reference: String,
    /// The image's config.
    pub config: ImageConfig,
}

/// A table of answers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    images: BTreeMap<(String, Platform), ResolvedImage>,
}

impl Facts {
    /// No answers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records the answer to a [`FactRequest::ImageConfig`].
    pub fn insert(&mut self, reference: String, platform: Platform, image: ResolvedImage) {
        self.images.insert((reference, platform), image);
    }

    /// The answer for a reference as it was asked for.
    #[must_use]
    pub fn get(&self, reference: &str, platform: &Platform) -> Option<&ResolvedImage> {
        self.images.get(&(reference.to_owned(), platform.clone()))
    }
}
