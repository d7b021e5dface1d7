//! What the exit code of `kiln` says. Scripts rely on it: a code never changes its meaning.
//!
//! | code | name | meaning |
//! |---:|---|---|
//! | 0 | `Success` | everything asked for was done |
//! | 1 | `StepFailed` | a step of the build failed, such as a `RUN` command or a `COPY` without source |
//! | 2 | `Usage` | the command line, an environment variable or `kiln.toml` makes no sense |
//! | 3 | `Dockerfile` | the Dockerfile is invalid, uses what is not supported, or did not pass its checks |
//! | 4 | `NotFound` | an image, a file or a secret that was named does not exist |
//! | 5 | `Network` | a registry could not be reached, refused, or answered with nonsense |
//! | 6 | `Store` | the store or another place to write to failed: a full disk, say |
//! | 7 | `Sandbox` | this machine does not let Kiln make a sandbox |
//! | 8 | `NotCached` | under `--require-cached` a step would have run |
//! | 130 | `Interrupted` | stopped by Ctrl-C or a request to terminate |
//!
//! 101 (a defect of Kiln's) and codes above 128 (killed by a signal) are the system's own.

use std::fmt;

/// How a run of `kiln` ended; the table is in the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for was done.
    Success = 0,
    /// A step of the build failed.
    StepFailed = 1,
    /// The command line, an environment variable or the configuration makes no sense.
    Usage = 2,
    /// The Dockerfile is invalid, uses what is not supported, or did not pass its checks.
    Dockerfile = 3,
    /// An image, a file or a secret that was named does not exist.
    NotFound = 4,
    /// A registry could not be reached, refused, or answered with nonsense.
    Network = 5,
    /// The store or another place to write to failed.
    Store = 6,
    /// This machine does not let Kiln make a sandbox.
    Sandbox = 7,
    /// Under `--require-cached` a step would have run.
    NotCached = 8,
    /// Stopped by Ctrl-C or a request to terminate.
    Interrupted = 130,
}

impl ExitCode {
    /// All codes, lowest first.
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::StepFailed,
        Self::Usage,
        Self::Dockerfile,
        Self::NotFound,
        Self::Network,
        Self::Store,
        Self::Sandbox,
        Self::NotCached,
        Self::Interrupted,
    ];

    /// What the system is told.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The code's meaning, for `--help`.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done",
            Self::StepFailed => "a step of the build failed",
            Self::Usage => "the command line or the configuration makes no sense",
            Self::Dockerfile => {
                "the Dockerfile is invalid, uses what is not supported, or did not pass its checks"
            }
            Self::NotFound => "an image, a file or a secret that was named does not exist",
            Self::Network => "a registry could not be reached or refused",
            Self::Store => "the store or the disk failed",
            Self::Sandbox => "this machine does not let Kiln make a sandbox",
            Self::NotCached => "under --require-cached a step would have run",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}  {}", self.code(), self.meaning())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_the_code() {
        let source = include_str!("exit_code.rs");
        let rows: Vec<(u8, &str)> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | `"))
            .filter_map(|(code, rest)| Some((code.parse().ok()?, rest.split_once('`')?.0)))
            .collect();
        let codes: Vec<_> =
            ExitCode::ALL.iter().map(|code| (code.code(), format!("{code:?}"))).collect();
        let documented: Vec<_> =
            rows.into_iter().map(|(code, name)| (code, name.to_owned())).collect();
        assert_eq!(codes, documented);
    }
}
