//! The command's parts: arguments in, rendered events and an exit code out.
//!
//! Decides nothing about builds: [`args`] is plain data about what was asked for, [`render`] folds
//! over the events of what happens, [`answers`] and [`planned`] show what Dockerfiles are and come to, [`graph`] and
//! [`trace`] show builds that are over, [`why`] says why steps ran, and
//! [`exit_code`] says how it ended. `main.rs` joins them with the engine.

#![forbid(unsafe_code)]

pub mod answers;
pub mod args;
pub mod exit_code;
pub mod graph;
pub mod planned;
pub mod render;
pub mod trace;
pub mod why;
