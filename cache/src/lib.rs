//! Kiln's cache.
