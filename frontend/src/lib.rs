//! Kiln's frontend.
