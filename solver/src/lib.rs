//! Decides what of a graph runs when, and narrates it.
//!
//! [`Schedule`] is a pure state machine over a [`kiln_ir::Graph`]; [`solve`] drives it: the calling
//! thread owns all state, steps that take time run on threads of their own, and everything that happens is an
//! [`Event`] given to one sink in order. What an op does is the [`Runner`]'s business: nothing here
//! opens a file, starts a process, reads a clock or draws on a terminal, and nothing is behind a
//! mutex.

#![forbid(unsafe_code)]

mod cancel;
mod error;
mod event;
mod narrator;
mod pool;
mod report;
mod runner;
mod schedule;
mod solve;
mod step;

pub use cancel::{Cancel, Canceller};
pub use error::{Failure, SolveError, StepError};
pub use event::{Event, EventKind, Stream, TaskId, Unit};
pub use narrator::Narrator;
pub use report::Report;
pub use runner::{AtOnce, Found, Lookup, Runner};
pub use schedule::{AfterFailure, OpState, Outcome, Schedule};
pub use solve::{Limits, Request, solve};
