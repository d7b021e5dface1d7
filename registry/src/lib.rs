//! Kiln's registry.
