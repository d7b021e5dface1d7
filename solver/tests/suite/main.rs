//! The solver from outside: the schedule alone, then driven with scripted runners.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests read tables from files, look into runners from outside, and fail by panicking"
)]

mod at_once;
mod runners;
mod schedule;
mod solve;
mod tables;
