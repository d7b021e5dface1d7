//! Repositories that are served over HTTP by git itself, on loopback.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_testkit::{Answer, Asked, Server};

use super::{Work, output, tool};

/// When every commit is made.
pub(crate) const COMMITTED: i64 = 1_700_000_000;

/// A repository with a working tree.
pub(crate) struct Repository {
    dir: PathBuf,
}

impl Repository {
    pub(crate) fn new(work: &Work, name: &str) -> Self {
        let dir = work.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        let repository = Self { dir };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = tool("git");
        command.arg("-C").arg(&self.dir);
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]);
        command.args(["-c", "protocol.file.allow=always", "-c", "commit.gpgSign=false"]);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_DATE"), format!("{COMMITTED} +0000"));
        }
        command
    }

    /// What git prints.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        output(self.command().args(arguments)).trim().to_owned()
    }

    /// Puts an object of any kind into the repository, whatever git thinks of it.
    pub(crate) fn object(&self, kind: &str, content: &[u8]) -> String {
        let mut command = self.command();
        command.args(["hash-object", "-w", "--literally", "--stdin", "-t", kind]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes `main` a commit of this tree, given as `(mode, name, object)`.
    pub(crate) fn commit_tree(&self, entries: &[(&str, &str, &str)]) {
        let mut tree = Vec::new();
        for (mode, name, object) in entries {
            tree.extend(format!("{mode} {name}\0").into_bytes());
            let digits = |at: usize| u8::from_str_radix(&object[at..at + 2], 16).unwrap();
            tree.extend((0..object.len()).step_by(2).map(digits));
        }
        let tree = self.object("tree", &tree);
        let commit = self.git(&["commit-tree", "-m", "crafted", &tree]);
        self.git(&["update-ref", "refs/heads/main", &commit]);
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits everything; the commit.
    pub(crate) fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "one more"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Adds a commit of another repository at a path.
    pub(crate) fn submodule(&self, path: &str, address: &str, commit: &str) {
        let config = std::fs::read_to_string(self.dir.join(".gitmodules")).unwrap_or_default();
        let more = format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {address}\n");
        self.write(".gitmodules", &format!("{config}{more}"));
        self.git(&["add", ".gitmodules"]);
        let info = format!("160000,{commit},{path}");
        self.git(&["update-index", "--add", "--cacheinfo", &info]);
        self.git(&["commit", "--quiet", "-m", "a submodule"]);
    }
}

/// Serves the repositories below a directory as `/NAME/.git`, which is also `/NAME.git`.
pub(crate) fn serve(root: &Path) -> Server {
    serve_with(root, |_| None)
}

/// The same; requests for which `first` has an answer get that.
pub(crate) fn serve_with(
    root: &Path,
    first: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) -> Server {
    let root = root.to_owned();
    Server::start(move |asked| first(asked).unwrap_or_else(|| backend(&root, asked)))
}

fn backend(root: &Path, asked: &Asked) -> Answer {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let path = path.replacen(".git/", "/.git/", 1);
    let mut command = tool("git");
    command
        .arg("http-backend")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &asked.method)
        .env("CONTENT_TYPE", asked.header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", asked.header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", asked.header("git-protocol").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = asked.body.clone();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let end = output.stdout.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let mut answer = Answer::ok(&output.stdout[end + 4..]);
    for line in String::from_utf8_lossy(&output.stdout[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "Status" => answer.status = value[..3].parse().unwrap(),
            name => answer = answer.header(name, value),
        }
    }
    answer
}
