//! What the tests share: a place to work in, Kiln on a store of its own, and other programs.

pub(crate) mod bases;
pub(crate) mod build;
pub(crate) mod git;
pub(crate) mod image;
pub(crate) mod servers;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long something that should happen soon may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that goes with its value, whatever was mounted in it.
pub(crate) struct Work {
    dir: tempfile::TempDir,
}

impl Work {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kiln-e2e").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A directory that holds a Dockerfile and nothing else.
    pub(crate) fn context(&self, name: &str, dockerfile: &str) -> PathBuf {
        self.write(&format!("{name}/Dockerfile"), dockerfile);
        self.path(name)
    }

    /// A copy of a directory's files.
    pub(crate) fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        copy_tree(from, &to);
        to
    }

    /// Whether anything is mounted in it.
    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let below = self.dir.path().to_str().unwrap();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        points.filter(|point| point.starts_with(below)).map(str::to_owned).collect()
    }

    /// Fails unless soon nothing of it is mounted, for any process: what a sandbox has, others do not see.
    pub(crate) fn assert_no_sandboxes(&self) {
        let below = self.dir.path().to_str().unwrap();
        let mounted = || {
            fs::read_dir("/proc").unwrap().any(|entry| {
                let table = fs::read_to_string(entry.unwrap().path().join("mountinfo"));
                table.unwrap_or_default().contains(below)
            })
        };
        let start = Instant::now();
        while mounted() {
            assert!(start.elapsed() < PATIENCE, "a sandbox is left");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Fails if Kiln left a mount behind.
    pub(crate) fn assert_no_mounts(&self) {
        assert_eq!(self.mounts(), Vec::<String>::new());
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        for point in self.mounts().iter().rev() {
            // What cannot be unmounted shows when the directory is removed.
            drop(Command::new("umount").arg("--lazy").arg(point).status());
        }
        remove(self.dir.path());
    }
}

/// Removes a directory in which the process may still work that makes a store durable.
pub(crate) fn remove(dir: &Path) {
    let start = Instant::now();
    while fs::remove_dir_all(dir).is_err() && dir.exists() && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(20));
    }
}

fn copy_tree(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_tree(&entry.path(), &to.join(entry.file_name()));
    }
}

/// A directory of the test's as an archive; `compression` is a program of tar's, or nothing.
pub(crate) fn tar(work: &Work, name: &str, compression: &str) -> Vec<u8> {
    let mut command = tool("tar");
    command.arg("--create").arg("--directory").arg(work.path(name));
    command.args(["--owner=0", "--group=0", "--sort=name", "--mtime=@0"]);
    if !compression.is_empty() {
        command.arg(format!("--use-compress-program={compression}"));
    }
    let output = command.args(["--file=-", "."]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The example of a name under `testdata/e2e`.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/e2e").join(name)
}

/// A program, also one that is for root alone.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Whether there are these programs; says so where one is missing.
pub(crate) fn have(programs: &[&str]) -> bool {
    let missing: Vec<_> =
        programs.iter().copied().filter(|program| find(program).is_none()).collect();
    if !missing.is_empty() {
        kiln_testkit::skipped(&format!("not installed: {}", missing.join(", ")));
    }
    missing.is_empty()
}

/// Whether this is root, as containers and accounts want; says so where not.
pub(crate) fn is_root() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt as _;
        own.uid() == 0
    });
    if !root {
        kiln_testkit::skipped("only root can do this");
    }
    root
}

/// A call of another program.
pub(crate) fn tool(program: &str) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.stdin(Stdio::null());
    command
}

/// What a program that must succeed writes to standard output.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// `oci:DIR:TAG`, as skopeo and buildah name a layout's image.
pub(crate) fn oci(layout: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", layout.display())
}
