//! Kiln's solver.
