//! What can go wrong with a document or a name. Archives have `layer::LayerError`.

/// A name or a document that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A text that is not an image name.
    #[error("`{reference}` is not an image name: {reason}")]
    Reference {
        /// The text as given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text that is not a `sha256:` digest.
    #[error("`{digest}` is not a digest: {reason}")]
    Digest {
        /// The text as given.
        digest: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text that is not a platform.
    #[error("`{platform}` is not a platform; write it as os/architecture[/variant]")]
    Platform {
        /// The text as given.
        platform: String,
    },
    /// A document larger than [`crate::MAX_DOCUMENT_BYTES`].
    #[error("the {document} has {size_bytes} bytes; at most {limit_bytes} are accepted")]
    TooLarge {
        /// What the document is: "manifest", "index", "config".
        document: &'static str,
        /// Its size.
        size_bytes: u64,
        /// The limit that it passes.
        limit_bytes: u64,
    },
    /// A document that is not JSON of the expected shape.
    #[error("the {document} cannot be read")]
    Json {
        /// What the document should have been.
        document: &'static str,
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// A document whose JSON is right and whose content is not.
    #[error("the {document} is not valid: {reason}")]
    Invalid {
        /// What the document is.
        document: &'static str,
        /// The rule that it breaks.
        reason: String,
    },
    /// A document of a media type that Kiln does not read.
    #[error("the media type `{media_type}` is not supported as {expected}")]
    MediaType {
        /// The media type found.
        media_type: String,
        /// What was looked for.
        expected: &'static str,
    },
    /// An index without an image for the platform wanted.
    #[error("no image for {wanted}; there are: {}", available.join(", "))]
    NoPlatform {
        /// The platform wanted.
        wanted: String,
        /// The platforms that the index has, in its order.
        available: Vec<String>,
    },
    /// A layout or an archive without the image wanted.
    #[error("no image named `{wanted}`; there are: {}", available.join(", "))]
    NoImage {
        /// The name or digest wanted; empty when the only image was asked for.
        wanted: String,
        /// The names that there are, in their order.
        available: Vec<String>,
    },
}
