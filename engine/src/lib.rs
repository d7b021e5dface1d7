//! Kiln's engine.
