//! A small image to run things in, and a way to run them.
//!
//! The image is a static busybox. A machine that lacks one, or that is not ours as root, cannot run these
//! tests and is told so.

#![expect(clippy::unwrap_used, reason = "a part of tests")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use kiln_executor::{
    Cancel, ExecutorError, Exit, HostFacts, Input, Network, Process, RunSpec, Sandboxes, Security,
    Stream, Upcoming,
};
use kiln_ir::GuestPath;
use tempfile::TempDir;

/// The helper of every test.
pub(crate) const TESTBED: &str = env!("CARGO_BIN_EXE_kiln-executor-testbed");

const APPLETS: &str = "[ cat chgrp chmod chown cp df dd echo env expr false find grep head hostname id \
    ifconfig kill ln ls mkdir mknod mount mv nc ps pwd readlink rm rmdir sed sh sleep sort stat stty su sync \
    tail test touch tr true tty umount unshare wc which whoami yes";

/// Whether this machine can run sandboxes; if not, says why.
pub(crate) fn can_run() -> bool {
    let reason = if !nix::unistd::Uid::effective().is_root() {
        "not root"
    } else if !Path::new("/bin/busybox").exists() {
        "no /bin/busybox (Debian: busybox-static)"
    } else {
        return true;
    };
    kiln_testkit::skipped(reason);
    false
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// An image and a place for sandboxes on it.
pub(crate) struct Bed {
    pub(crate) dir: TempDir,
    runs: std::cell::Cell<u32>,
}

impl Bed {
    /// An image with busybox and nothing else.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("image/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in APPLETS.split_whitespace() {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.path(), open).unwrap();
        Self { dir, runs: 0.into() }
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// A new, empty directory.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}-{}", self.runs.get()));
        self.runs.set(self.runs.get() + 1);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file of the image.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.image().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A shell command on the image, with fresh directories.
    pub(crate) fn spec(&self, script: &str) -> RunSpec {
        RunSpec {
            lowers: vec![self.image()],
            upper: self.fresh("upper"),
            work: self.fresh("work"),
            scratch: self.fresh("scratch"),
            process: Process {
                args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
                env: vec![("PATH".to_owned(), "/bin".to_owned())],
                cwd: GuestPath::root(),
                user: String::new(),
                input: Input::Nothing,
            },
            hostname: "kiln-test".to_owned(),
            network: Network::Host,
            security: Security::Sandbox,
            mounts: Vec::new(),
            limits: Vec::new(),
            extra_hosts: Vec::new(),
            shm_size_bytes: None,
        }
    }

    /// Runs a script that must succeed, and returns its trimmed output.
    pub(crate) fn output(&self, script: &str) -> String {
        success(&self.spec(script))
    }
}

/// Sandboxes on this machine.
pub(crate) fn sandboxes() -> Sandboxes {
    Sandboxes::new(PathBuf::from(TESTBED), HostFacts::gather().unwrap())
}

/// Runs a spec.
pub(crate) fn execute(spec: &RunSpec) -> Result<Outcome, ExecutorError> {
    execute_in(&sandboxes(), spec, Upcoming::Nothing)
}

/// Runs a spec in a sandbox of these.
pub(crate) fn execute_in(
    sandboxes: &Sandboxes,
    spec: &RunSpec,
    upcoming: Upcoming,
) -> Result<Outcome, ExecutorError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut on_output = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    };
    let exit = sandboxes.run(spec, upcoming, &mut on_output, &Cancel::never())?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Outcome { exit, stdout: text(&stdout), stderr: text(&stderr) })
}

/// Runs a spec that must succeed, and returns its trimmed output.
pub(crate) fn success(spec: &RunSpec) -> String {
    let outcome = execute(spec).unwrap();
    assert_eq!(outcome.exit, Exit::Code(0), "{outcome:?}");
    outcome.stdout.trim().to_owned()
}

/// Everything in a directory, as sorted relative paths.
pub(crate) fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(current) = pending.pop() {
        for entry in fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(dir).unwrap().display().to_string());
            if path.symlink_metadata().unwrap().is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Waits, for up to ten seconds, until something holds.
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed().as_secs() < 10, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Whether any process has `word` as an argument.
pub(crate) fn process_exists(word: &str) -> bool {
    fs::read_dir("/proc").unwrap().any(|entry| {
        let line = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|argument| argument == word.as_bytes())
    })
}

/// Whether `path` is in any process's table of mounts.
pub(crate) fn is_mounted_below(path: &Path) -> bool {
    let needle = path.display().to_string();
    fs::read_dir("/proc").unwrap().any(|entry| {
        let table = fs::read_to_string(entry.unwrap().path().join("mountinfo"));
        table.unwrap_or_default().contains(&needle)
    })
}
