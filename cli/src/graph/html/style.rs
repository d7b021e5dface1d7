//! The style sheet, and its hash for the page's policy.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The style sheet: no address in it.
pub(super) const CSS: &str = include_str!("style.css");

/// The style sheet as a content security policy names it.
pub(super) fn hash() -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(CSS)))
}
