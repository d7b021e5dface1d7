//! Kiln on a store of its own, called as a user calls it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_testkit::Account;
use serde_json::Value;

use super::{Work, output};

/// Calls of `kiln` on one store, with nothing of the caller's environment.
pub(crate) struct Kiln {
    program: PathBuf,
    root: PathBuf,
    account: Option<(u32, u32)>,
    /// A program that starts it, with arguments.
    starter: Vec<OsString>,
}

impl Kiln {
    /// Works on the store at `root`, which need not exist.
    pub(crate) fn at(root: PathBuf) -> Self {
        let program = env!("CARGO_BIN_EXE_kiln").into();
        Self { program, root, account: None, starter: Vec::new() }
    }

    /// The same, started by another program that is given it behind these words.
    pub(crate) fn started_by<S: AsRef<OsStr>>(self, words: &[S]) -> Self {
        let starter = words.iter().map(|word| word.as_ref().to_owned()).collect();
        Self { starter, ..self }
    }

    /// The same as another account, which must be able to run `program` and to make `root`.
    pub(crate) fn of(account: &Account, program: PathBuf, root: PathBuf) -> Self {
        Self { program, root, account: Some((account.uid, account.gid)), starter: Vec::new() }
    }

    /// The same in a directory of the account's own, `for-user`.
    pub(crate) fn of_account(account: &Account, work: &Work) -> Self {
        let own = work.path("for-user");
        fs::create_dir(&own).unwrap();
        let program = own.join("kiln");
        fs::copy(env!("CARGO_BIN_EXE_kiln"), &program).unwrap();
        account.give(&own);
        Self::of(account, program, own.join("store"))
    }

    /// A call, by its arguments.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut words =
            self.starter.iter().map(OsString::as_os_str).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.parent().unwrap())
            .env("KILN_ROOT", &self.root)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null());
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// What a call that must succeed prints.
    pub(crate) fn print<S: AsRef<OsStr>>(&self, arguments: &[S]) -> String {
        output(&mut self.command(arguments))
    }

    /// A build.
    pub(crate) fn build(&self, context: &Path) -> Build {
        let mut command = self.command(&["build", "--progress", "rawjson"]);
        command.arg(context);
        Build { command, epoch: false }
    }

    /// The digest of an image's manifest.
    pub(crate) fn digest(&self, image: &str) -> String {
        let shown: Value = serde_json::from_str(&self.print(&["inspect", image])).unwrap();
        shown[0]["Descriptor"]["digest"].as_str().unwrap().to_owned()
    }
}

/// A build that is being put together.
pub(crate) struct Build {
    command: Command,
    epoch: bool,
}

impl Build {
    /// Another argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// A name for the image.
    pub(crate) fn tag(self, name: &str) -> Self {
        self.arg("--tag").arg(name)
    }

    /// A layout, or a directory, under a name.
    pub(crate) fn layout(self, name: &str, dir: &Path) -> Self {
        self.arg(format!("--build-context={name}=oci-layout://{}", dir.display()))
    }

    /// Writes the image as a layout's directory, too.
    pub(crate) fn into_layout(self, dir: &Path) -> Self {
        self.arg(format!("--output=type=oci,tar=false,dest={}", dir.display()))
    }

    /// Gives the image no time but the first second of 1970.
    pub(crate) fn at_epoch(mut self) -> Self {
        self.epoch = true;
        self
    }

    /// Builds; fails the test with all that was said when the build fails.
    pub(crate) fn run(mut self) -> Steps {
        if self.epoch {
            self.command.env("SOURCE_DATE_EPOCH", "0");
        }
        let output = self.command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{:?}: {}\n{stderr}", self.command, output.status);
        Steps::parse(&stderr)
    }

    /// Builds what must fail with an exit code; all that was said, as people see it.
    pub(crate) fn fails(mut self, code: i32) -> String {
        let output = self.command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{:?}\n{stderr}", self.command);
        stderr
    }
}

/// A task of a build, as `--progress rawjson` tells of it.
#[derive(Debug, Default)]
struct Task {
    name: String,
    is_step: bool,
    cached: bool,
    output: Vec<u8>,
    warnings: Vec<String>,
}

/// What a build did.
#[derive(Debug)]
pub(crate) struct Steps {
    tasks: Vec<Task>,
}

impl Steps {
    fn parse(events: &str) -> Self {
        let mut tasks: Vec<Task> = Vec::new();
        for line in events.lines() {
            let event: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            if event["event"] == "diagnostic" {
                continue;
            }
            let index = usize::try_from(event["task"].as_u64().unwrap()).unwrap();
            match event["event"].as_str().unwrap() {
                "declared" => {
                    assert_eq!(index, tasks.len(), "tasks are declared in order");
                    let name = event["name"].as_str().unwrap().to_owned();
                    let is_step = name.starts_with('[') && !name.contains("internal] ");
                    tasks.push(Task { name, is_step, ..Task::default() });
                }
                "cached" => tasks[index].cached = true,
                "output" => {
                    let bytes = STANDARD.decode(event["data"].as_str().unwrap()).unwrap();
                    tasks[index].output.extend(bytes);
                }
                "warning" => {
                    tasks[index].warnings.push(event["message"].as_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
        Self { tasks }
    }

    fn of_dockerfile(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.is_step)
    }

    /// The steps of the Dockerfile that did run.
    pub(crate) fn ran(&self) -> Vec<&str> {
        self.of_dockerfile().filter(|task| !task.cached).map(|task| task.name.as_str()).collect()
    }

    /// The steps of the Dockerfile, run or not.
    pub(crate) fn count(&self) -> usize {
        self.of_dockerfile().count()
    }

    /// All warnings, in the order of the tasks.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.tasks.iter().flat_map(|task| task.warnings.iter().map(String::as_str)).collect()
    }

    /// What the tasks wrote whose name begins with `start`.
    pub(crate) fn of_task(&self, start: &str) -> String {
        let tasks = self.tasks.iter().filter(|task| task.name.starts_with(start));
        tasks.map(|task| String::from_utf8_lossy(&task.output).into_owned()).collect()
    }

    /// What the steps wrote whose name holds `part`.
    pub(crate) fn said(&self, part: &str) -> String {
        let tasks = self.of_dockerfile().filter(|task| task.name.contains(part));
        tasks.map(|task| String::from_utf8_lossy(&task.output).into_owned()).collect()
    }
}
