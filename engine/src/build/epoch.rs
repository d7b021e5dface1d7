//! The one time that a reproducible image carries.
//!
//! `SOURCE_DATE_EPOCH` (reproducible-builds.org) as a build argument or in Kiln's environment, else the
//! commit time of the context's git HEAD, else none: then files keep their times.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread;

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

/// The commit time of the repository that a directory may be in. git is asked once at the most, so that all of a
/// build has the same answer.
#[derive(Debug)]
pub(super) struct Head(Arc<Answer>);

type Answer = LazyLock<Option<i64>, Box<dyn FnOnce() -> Option<i64> + Send>>;

impl Dated {
    /// The time of the repository that `context` may be in. Unless the build is given another, git is asked at once,
    /// while the build goes on.
    pub(super) fn of_directory(context: &Path, arguments: &BTreeMap<String, String>) -> Self {
        let head = Head::of(context.to_owned());
        if !arguments.contains_key(VARIABLE) && of_environment().is_none() && is_inside(context) {
            head.ask_ahead();
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

impl Head {
    fn of(context: PathBuf) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(move || of_git_head(&context)))))
    }

    /// Has another thread ask. If there can be none, whoever needs the answer does.
    fn ask_ahead(&self) {
        let head = Arc::clone(&self.0);
        let ask = move || {
            LazyLock::force(&head);
        };
        drop(thread::Builder::new().name("kiln-git".to_owned()).spawn(ask));
    }

    fn seconds(&self) -> Option<i64> {
        **self.0
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

/// Whether there may be a repository around `context`.
fn is_inside(context: &Path) -> bool {
    context.ancestors().any(|dir| dir.join(".git").exists())
}

/// The commit time of the repository that `context` is in.
///
/// A plumbing command with the repository's own hooks and monitors out of play: the context is not
/// trusted. A repository of another account is refused by git itself.
fn of_git_head(context: &Path) -> Option<i64> {
    if !is_inside(context) {
        return None;
    }
    let output = Command::new("git")
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(["--no-optional-locks", "-C"])
        .arg(context)
        .args(["rev-list", "--max-count=1", "--no-commit-header", "--format=%ct", "HEAD"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(epoch: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(VARIABLE.to_owned(), epoch.to_owned())])
    }

    fn commit(dir: &Path, time: &str) {
        let status = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
            .args(["commit", "-q", "--allow-empty", "-m", "one"])
            .env("GIT_COMMITTER_DATE", time)
            .status();
        assert!(status.unwrap().success());
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

    #[test]
    fn a_commit_gives_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let head = || Head::of(dir.path().to_owned());
        assert_eq!(head().seconds(), None);
        let status = Command::new("git").args(["init", "-q"]).arg(dir.path()).status();
        assert!(status.unwrap().success());
        assert_eq!(head().seconds(), None, "no commit yet");
        commit(dir.path(), "1700000000 +0000");
        assert_eq!(head().seconds(), Some(1_700_000_000));
    }

    #[test]
    fn git_is_asked_once() {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("git").args(["init", "-q"]).arg(dir.path()).status();
        assert!(status.unwrap().success());
        commit(dir.path(), "1700000000 +0000");
        let (head, other) = (Head::of(dir.path().to_owned()), Head::of(dir.path().to_owned()));
        head.ask_ahead();
        assert_eq!(head.seconds(), Some(1_700_000_000));
        commit(dir.path(), "1800000000 +0000");
        assert_eq!(head.seconds(), Some(1_700_000_000));
        assert_eq!(other.seconds(), Some(1_800_000_000));
    }
}
