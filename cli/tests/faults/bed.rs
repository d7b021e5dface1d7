//! A store, a context and the command, with the means to look for leftovers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The first lines of a Dockerfile whose RUN instructions work.
pub(crate) const BASE: &str = "\
FROM scratch
COPY busybox /bin/busybox
SHELL [\"/bin/busybox\", \"sh\", \"-c\"]
";
/// How long something that goes by itself may stay.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a context `ctx`, which holds a busybox, and a store `store`.
pub(crate) struct Bed {
    dir: TempDir,
}

impl Bed {
    /// Nothing, after saying so, where sandboxes cannot be tested.
    pub(crate) fn new() -> Option<Self> {
        let busybox = Path::new("/bin/busybox");
        if !nix::unistd::Uid::effective().is_root() || !busybox.exists() {
            kiln_testkit::skipped("not root, or no /bin/busybox (Debian: busybox-static)");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("kiln-faults-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bed = Self { dir };
        fs::create_dir(bed.path("ctx")).unwrap();
        fs::create_dir(bed.path("store")).unwrap();
        fs::copy(busybox, bed.path("ctx/busybox")).unwrap();
        Some(bed)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn write(&self, relative: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(relative), text).unwrap();
    }

    /// The command, in the bed's directory and with nothing of the caller's settings.
    pub(crate) fn kiln(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.dir.path())
            .env("KILN_ROOT", self.path("store"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Builds `ctx` with a Dockerfile of this text, showing no progress.
    pub(crate) fn build(&self, dockerfile: &str, more: &[&str]) -> Said {
        self.write("ctx/Dockerfile", dockerfile);
        let arguments = [&["build", "--progress", "quiet"], more, &["ctx"]].concat();
        self.run(&arguments)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.kiln(arguments).output().unwrap(), self.dir.path())
    }

    /// That nothing is left, and that the store can be used.
    pub(crate) fn is_whole(&self) {
        self.left_nothing();
        let dockerfile = format!("{BASE}RUN echo it works > /proof && cat /proof\n");
        let said = self.build(&dockerfile, &["--no-cache", "-o", "type=tar,dest=proof.tar"]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "a build afterwards");
        let archive = fs::read(self.path("proof.tar")).unwrap();
        assert!(archive.windows(8).any(|bytes| bytes == b"it works"), "the image's file");
        self.left_nothing();
    }

    /// That nobody ever took the store's database for damaged.
    pub(crate) fn was_never_damaged(&self) {
        for part in ["rebuild", "set-aside"] {
            assert!(!self.path("store").join(part).exists(), "the database was made anew");
        }
    }

    /// That `kiln system check` finds nothing wrong with the store.
    pub(crate) fn is_sound(&self) {
        let output = self.kiln(&["system", "check"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}{told}");
    }

    /// That there is no mount and no process of this store's, nothing in its staging directory after it
    /// was opened once more, and no layer or blob that is not whole.
    pub(crate) fn left_nothing(&self) {
        let store = self.path("store");
        wait_until_unused(&store);
        assert_eq!(self.run(&["images", "-q"]).code, Some(0), "the store opens");
        assert_eq!(names(&store.join("staging")), Vec::<String>::new(), "in staging");
        for layer in names(&store.join("layers")) {
            let found = names(&store.join("layers").join(&layer));
            assert_eq!(found, ["fs", "manifest"], "in the layer {layer}");
        }
        for blob in names(&store.join("oci/blobs/sha256")) {
            let whole = blob.len() == 64 && blob.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(whole, "{blob} is no blob's name");
        }
    }
}

/// What a run of the command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    /// With the bed's directory as `BED`, and without digests.
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn of(output: Output, dir: &Path) -> Self {
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            without_digests(&text.replace(&dir.display().to_string(), "BED"))
        };
        Self { code: output.status.code(), stderr: text(output.stderr) }
    }

    /// Compares the message and the exit code with a golden file, after replacing what differs from run
    /// to run.
    pub(crate) fn is(&self, golden: &str, replaced: &[(&str, &str)]) {
        let code = self.code.map_or("a signal".to_owned(), |code| code.to_string());
        let mut text = self.stderr.clone();
        for (from, to) in replaced {
            text = text.replace(from, to);
        }
        assert!(!text.contains("os error"), "a number for a cause: {text}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/cli/faults");
        kiln_testkit::check(&folder.join(golden), &format!("{text}exit code {code}\n"));
    }
}

/// Digests of archives differ with the times of files.
fn without_digests(text: &str) -> String {
    const NAME: &str = "sha256:";
    let mut parts = text.split(NAME);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        out.push_str(NAME);
        out.push_str(if rest.len() < part.len() { "DIGEST" } else { "" });
        out.push_str(rest);
    }
    out
}

/// Waits until no process is at work on a store: a build may leave one behind that tidies up.
pub(crate) fn wait_until_unused(store: &Path) {
    let gone = Instant::now() + PATIENCE;
    loop {
        let users = users_of(store);
        if users.is_empty() {
            return;
        }
        assert!(Instant::now() < gone, "still there: {users:#?}");
        sleep(Duration::from_millis(10));
    }
}

/// Processes that are at work on a store, or have something of it mounted: their number and command. A sandbox that is
/// being made has no environment and shows nothing of the store yet: it is known by its working directory.
fn users_of(store: &Path) -> Vec<String> {
    let mark = store.display().to_string();
    let mut found = Vec::new();
    for pid in names(Path::new("/proc")).into_iter().filter(|name| name.parse::<u32>().is_ok()) {
        let proc = Path::new("/proc").join(&pid);
        let says = |name: &str| {
            let text = fs::read(proc.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&text).replace('\0', " ")
        };
        // A tmpfs that a test made is not the store's doing.
        let mounts = says("mountinfo");
        let mounted = mounts
            .lines()
            .find(|line| line.contains(&mark) && !line.contains(&format!(" {mark} ")));
        let uses = says("environ").contains(&mark) || says("cmdline").contains(&mark);
        let works_here =
            fs::read_link(proc.join("cwd")).is_ok_and(|dir| Some(&*dir) == store.parent());
        if uses || works_here || mounted.is_some() {
            found.push(format!("{pid} {} {}", says("cmdline"), mounted.unwrap_or_default()));
        }
    }
    found
}

/// The names in a directory, sorted; none where there is no directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}
