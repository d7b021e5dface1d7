//! Kiln's executor.
