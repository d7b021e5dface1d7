//! Kiln's grammar.
