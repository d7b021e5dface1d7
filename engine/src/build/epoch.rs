//! The one time that a reproducible image carries.
//!
//! `SOURCE_DATE_EPOCH` (reproducible-builds.org) as a build argument or in Kiln's environment, else the
//! commit time of the context's git HEAD, else none: then files keep their times.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use super::head::Head;
use crate::EngineError;

/// The variable's name.
const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// What a context says of its time.
#[derive(Debug)]
pub(super) enum Dated {
    /// That of the repository that a directory may be in.
    Head(Head),
    /// A commit's, in seconds since 1970.
    At(i64),
    /// Nothing.
    No,
}

impl Dated {
    /// The time of the repository that `context` may be in. Unless the build is given another, git is asked at once,
    /// while the build goes on.
    /// `memo` is the file that remembers what git answers.
    pub(super) fn of_directory(
        context: &Path,
        memo: PathBuf,
        arguments: &BTreeMap<String, String>,
    ) -> Self {
        let head = Head::of(context.to_owned(), memo.clone());
        if !arguments.contains_key(VARIABLE) && of_environment().is_none() {
            head.ask_ahead(context, &memo);
        }
        Self::Head(head)
    }

    fn seconds(&self) -> Option<i64> {
        match self {
            Self::Head(head) => head.seconds(),
            Self::At(seconds) => Some(*seconds),
            Self::No => None,
        }
    }
}

/// Seconds since 1970 for all times in the image, or nothing. `planned` is what the Dockerfile or its arguments say; an
/// argument that says nothing leaves the time to the context.
pub(super) fn determine(
    planned: Option<i64>,
    arguments: &BTreeMap<String, String>,
    context: &Dated,
) -> Result<Option<i64>, EngineError> {
    if planned.is_some() {
        return Ok(planned);
    }
    match of_environment().filter(|_| !arguments.contains_key(VARIABLE)) {
        Some(text) => match text.parse() {
            Ok(seconds) if seconds >= 0 => Ok(Some(seconds)),
            _ => Err(EngineError::Epoch { text }),
        },
        None => Ok(context.seconds()),
    }
}

fn of_environment() -> Option<String> {
    env::var(VARIABLE).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(epoch: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(VARIABLE.to_owned(), epoch.to_owned())])
    }

    #[test]
    fn what_is_planned_comes_first() {
        assert_eq!(determine(Some(0), &arguments("0"), &Dated::At(7)).unwrap(), Some(0));
        assert_eq!(determine(Some(0), &BTreeMap::new(), &Dated::No).unwrap(), Some(0));
    }

    #[test]
    fn an_argument_can_leave_it_to_the_context() {
        for text in ["", "context"] {
            assert_eq!(determine(None, &arguments(text), &Dated::At(7)).unwrap(), Some(7));
            assert_eq!(determine(None, &arguments(text), &Dated::No).unwrap(), None);
        }
    }
}
