//! git, run so that nothing but its arguments counts.
//!
//! Neither the user's nor the machine's configuration is read, no hook, filter, pager or prompt runs, only the
//! protocols of addresses are spoken, and of the environment nothing is kept but the search path, proxies and
//! authorities. Credentials reach git in its environment, which other users cannot read, and are tied to one
//! host; with one, redirects are not followed, because git would send it along. git has a process group of its
//! own, which ends when the build is cancelled or git is at it for too long.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Access, RemoteError};
use crate::EngineError;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// The most that git may write to standard output.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;
/// The first pause between two looks at git, and the longest: most calls are short.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// How much of git's complaints is told.
const TOLD_LINES: usize = 4;
/// Variables that go on to git: how to find it, and how to get out of this network.
const KEPT: [&str; 11] = [
    "PATH",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];
/// Settings of every call.
const SETTINGS: [(&str, &str); 13] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.symlinks", "true"),
    ("core.autocrlf", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.logAllRefUpdates", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // A server that says nothing for half a minute is given up.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "30"),
];

/// Whom git may speak to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Servers, by the protocols of addresses.
    Network,
    /// Repositories of the store.
    Store,
    /// Nobody.
    Nothing,
}

/// Calls of git on one repository.
pub(super) struct Git<'a> {
    /// The repository's own directory.
    pub(super) dir: &'a Path,
    /// The remote in messages.
    pub(super) shown: &'a str,
    /// `Authorization` headers by the beginning of the addresses that they are sent to.
    pub(super) headers: &'a [(String, String)],
    pub(super) access: &'a Access<'a>,
}

impl Git<'_> {
    /// Runs git; answers what it writes to standard output. `doing` says in messages what it was to do.
    pub(super) fn run<S: AsRef<OsStr>>(
        &self,
        doing: &'static str,
        reach: Reach,
        arguments: &[S],
    ) -> Result<Vec<u8>, EngineError> {
        self.run_with(doing, reach, arguments, &[])
    }

    /// The same with further variables.
    pub(super) fn run_with<S: AsRef<OsStr>>(
        &self,
        doing: &'static str,
        reach: Reach,
        arguments: &[S],
        variables: &[(&str, &Path)],
    ) -> Result<Vec<u8>, EngineError> {
        self.access.check_cancelled()?;
        let mut command = self.command(reach);
        command.args(arguments).envs(variables.iter().copied());
        let child = command.spawn().map_err(|source| RemoteError::NoGit { source })?;
        let ended = wait(child, self.access).map_err(|source| RemoteError::NoGit { source })?;
        self.access.check_cancelled()?;
        if ended.success {
            return Ok(ended.stdout);
        }
        let said = complaint(&ended);
        Err(RemoteError::Git { doing, remote: self.shown.to_owned(), said }.into())
    }

    fn command(&self, reach: Reach) -> Command {
        let mut command = Command::new("git");
        command.env_clear().process_group(0).current_dir(self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let protocols = match reach {
            Reach::Network => "http:https:git:ssh",
            Reach::Store => "file",
            Reach::Nothing => "",
        };
        command
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env("GIT_DIR", self.dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_PAGER", "cat")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_ALLOW_PROTOCOL", protocols);
        if reach == Reach::Network {
            command.env("GIT_SSH_COMMAND", ssh_command()).env("GIT_SSH_VARIANT", "ssh");
            if let Some(agent) = &self.access.agent {
                command.env("SSH_AUTH_SOCK", agent);
            }
        }
        self.settings(&mut command, reach);
        command
    }

    /// Settings as variables: a command line would show credentials to everybody.
    fn settings(&self, command: &mut Command, reach: Reach) {
        let mut settings: Vec<(String, &str)> =
            SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        if reach == Reach::Network && !self.headers.is_empty() {
            settings.push(("http.followRedirects".to_owned(), "false"));
            for (place, header) in self.headers {
                settings.push((format!("http.{place}.extraHeader"), header));
            }
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (index, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
    }
}

/// ssh without the user's configuration and keys: those of an agent alone count, and known hosts.
fn ssh_command() -> String {
    let mut command = "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes \
                       -o IdentityFile=none -o ForwardAgent=no -o ConnectTimeout=10 \
                       -o ServerAliveInterval=10"
        .to_owned();
    // A shell and ssh both take it apart.
    let plain =
        |home: &String| !home.is_empty() && !home.contains(['\'', '"', ' ', '\\', '%', '\n']);
    if let Some(home) = std::env::var("HOME").ok().filter(plain) {
        let hosts = PathBuf::from(home).join(".ssh/known_hosts");
        command.push_str(&format!(" -o 'UserKnownHostsFile={}'", hosts.display()));
    }
    command
}

/// How a call ended.
struct Ended {
    success: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    late: bool,
}

/// Waits for git and what it started; ends them when the build is cancelled or they take too long.
fn wait(mut child: Child, access: &Access<'_>) -> io::Result<Ended> {
    let group = Pid::from_child(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let stdout = scope.spawn(move || read(out));
        let stderr = scope.spawn(move || read(err));
        let start = Instant::now();
        let (mut pause, longest) = PAUSES;
        let mut late = false;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            late = start.elapsed() > TIMEOUT;
            if late || access.cancel.wait(pause) {
                // Whoever of the group has ended by itself needs no signal.
                let _gone = kill_process_group(group, Signal::KILL);
                break child.wait()?;
            }
            pause = (pause * 2).min(longest);
        };
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        Ok(Ended { success: status.success() && !late, stdout, stderr, late })
    })
}

/// All that a pipe gives, as far as it may; what is too much ends the writer by a closed pipe.
fn read(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before a failure is still worth telling.
        let _partial = pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
    }
    bytes
}

/// The last lines of what git said, with nothing that could steer a terminal.
fn complaint(ended: &Ended) -> String {
    if ended.late {
        return format!("it took more than {} minutes", TIMEOUT.as_secs() / 60);
    }
    let text = String::from_utf8_lossy(&ended.stderr);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(TOLD_LINES)..].join("; ")
}
