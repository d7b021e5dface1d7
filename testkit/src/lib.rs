//! Kiln's testkit.
