//! Kiln's image.
