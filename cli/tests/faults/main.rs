//! What users see when something goes wrong, and what is left behind: nothing.
//!
//! Each test runs the real command on a store of its own. A fault is checked for its message (golden files
//! in `testdata/cli/faults/`), its exit code, what it left, and a build that works afterwards in the same
//! store.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a part of tests")]

mod bed;
mod crowd;
mod damage;
mod disk;
mod interrupts;
mod kills;
mod messages;
mod prune;
mod records;
mod registry;
mod user;
