//! Whole builds by the `kiln` program, judged by the tools that everybody has.
//!
//! Each test works in a directory of its own, with stores of its own, and leaves nothing behind. Base
//! images are made once and kept under `target/test-bases`. A test that this machine cannot run says
//! `SKIPPED` and why.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod caches;
mod cases;
mod commits;
mod contexts;
mod emulators;
mod exchange;
mod explain;
mod fetching;
mod graph;
mod history;
mod identical;
mod include;
mod inspect;
mod kept_roots;
mod link;
mod on_error;
mod platforms;
mod reach;
mod real_input;
mod reference;
mod remarks;
mod shell;
mod ssh;
mod support;
