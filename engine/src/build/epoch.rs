//! The one time that a reproducible image carries.
//!
//! `SOURCE_DATE_EPOCH` (reproducible-builds.org) as a build argument or in Kiln's environment, else the
//! commit time of the context's git HEAD, else none: then files keep their times.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::EngineError;

/// The variable's name.
pub(crate) const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// What a context says of its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dated {
    /// That of the repository that this directory may be in.
    Directory(PathBuf),
    /// A commit's, in seconds since 1970.
    At(i64),
    /// Nothing.
    No,
}

/// Seconds since 1970 for all times in the image, or nothing.
pub(crate) fn determine(
    argument: Option<&str>,
    context: &Dated,
) -> Result<Option<i64>, EngineError> {
    let given = argument.map(str::to_owned).or_else(|| env::var(VARIABLE).ok());
    match given.filter(|text| !text.is_empty()) {
        Some(text) => match text.parse() {
            Ok(seconds) if seconds >= 0 => Ok(Some(seconds)),
            _ => Err(EngineError::Epoch { text }),
        },
        None => Ok(match context {
            Dated::Directory(dir) => of_git_head(dir),
            Dated::At(seconds) => Some(*seconds),
            Dated::No => None,
        }),
    }
}

/// The commit time of the repository that `context` is in.
///
/// A plumbing command with the repository's own hooks and monitors out of play: the context is not
/// trusted. A repository of another account is refused by git itself.
fn of_git_head(context: &Path) -> Option<i64> {
    let inside = context.ancestors().any(|dir| dir.join(".git").exists());
    if !inside {
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

    #[test]
    fn an_argument_comes_first() {
        let here = Dated::Directory(env!("CARGO_MANIFEST_DIR").into());
        assert_eq!(determine(Some("0"), &here).unwrap(), Some(0));
        assert_eq!(determine(Some("0"), &Dated::At(7)).unwrap(), Some(0));
        assert!(determine(Some("yesterday"), &here).is_err());
        assert!(determine(Some("-1"), &here).is_err());
    }

    #[test]
    fn a_commit_gives_its_time() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_git_head(dir.path()), None);
        let git = |arguments: &[&str]| {
            let status = Command::new("git")
                .arg("-C")
                .arg(dir.path())
                .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
                .args(arguments)
                .env("GIT_COMMITTER_DATE", "1700000000 +0000")
                .status();
            assert!(status.unwrap().success());
        };
        git(&["init", "-q"]);
        assert_eq!(of_git_head(dir.path()), None, "no commit yet");
        git(&["commit", "-q", "--allow-empty", "-m", "first"]);
        assert_eq!(of_git_head(dir.path()), Some(1_700_000_000));
    }
}
