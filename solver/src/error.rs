//! Why a graph was not solved.

use std::error::Error;

use kiln_cache::CacheError;
use kiln_ir::OpId;

/// Why [`solve`](crate::solve) has no results.
#[derive(Debug, thiserror::Error)]
pub enum SolveError<E: Error + 'static> {
    /// Steps failed. What only they were needed for was stopped or never begun.
    #[error("{}", describe(failures))]
    Failed {
        /// At least one, in the order in which they failed.
        failures: Vec<Failure<E>>,
    },
    /// The caller's token fired.
    #[error("cancelled")]
    Cancelled,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` failed")]
pub struct Failure<E: Error + 'static> {
    /// Which.
    pub op: OpId,
    /// What people know it by.
    pub name: String,
    /// Why.
    #[source]
    pub error: StepError<E>,
}

/// Why one step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError<E: Error + 'static> {
    /// The runner could not do it.
    #[error(transparent)]
    Run(E),
    /// Its record could not be looked up.
    #[error("cannot look up the recorded result")]
    Lookup(#[source] CacheError),
    /// The lock that keeps others from doing the same could not be had.
    #[error("cannot lock the step against other builds")]
    Lock(#[source] CacheError),
    /// Its record could not be kept.
    #[error("cannot record the result")]
    Record(#[source] CacheError),
}

fn describe<E: Error + 'static>(failures: &[Failure<E>]) -> String {
    match failures {
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
        [] => "nothing failed".to_owned(),
    }
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
