//! Processes that run beside a test and end with it: a registry, a container.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, Work, oci, output, tool};

const PAUSE: Duration = Duration::from_millis(20);

/// A port of loopback that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Debian's `docker-registry` over a directory, ended with this value.
pub(crate) struct Registry {
    process: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
}

impl Registry {
    pub(crate) fn start(work: &Work) -> Self {
        let host = format!("127.0.0.1:{}", free_port());
        let data = work.path("registry");
        let config = work.write(
            "registry.yml",
            format!(
                "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: \"{host}\"}}\n\
                 storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\n",
                data.display()
            ),
        );
        let log = File::create(work.path("registry.log")).unwrap();
        let mut command = tool("docker-registry");
        command.arg("serve").arg(config).stdout(Stdio::null()).stderr(log);
        let registry = Self { process: command.spawn().unwrap(), host };
        let start = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            let log = || fs::read_to_string(work.path("registry.log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "the registry does not start: {}", log());
            thread::sleep(PAUSE);
        }
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A bundle that umoci unpacked, to be run by runc on the host's network.
pub(crate) struct Bundle {
    dir: PathBuf,
    /// Where runc keeps what it knows of its containers.
    state: PathBuf,
}

impl Bundle {
    /// Unpacks a layout's image named `latest`.
    pub(crate) fn unpack(work: &Work, layout: &Path) -> Self {
        let dir = work.path("bundle");
        let image = oci(layout, "latest");
        let image = image.strip_prefix("oci:").unwrap();
        output(tool("umoci").args(["unpack", "--image", image]).arg(&dir));
        let bundle = Self { dir, state: work.path("runc") };
        bundle.edit(|config| {
            config["process"]["terminal"] = json!(false);
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "network");
        });
        bundle
    }

    /// A file of the root filesystem.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path)
    }

    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let path = self.dir.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(path, config.to_string()).unwrap();
    }

    /// Sets a variable, as `docker run --env` does.
    pub(crate) fn set_variable(&self, name: &str, value: &str) {
        self.edit(|config| {
            let variables = config["process"]["env"].as_array_mut().unwrap();
            let prefix = format!("{name}=");
            variables.retain(|variable| !variable.as_str().unwrap().starts_with(&prefix));
            variables.push(json!(format!("{prefix}{value}")));
        });
    }

    fn runc(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = tool("runc");
        command.arg("--root").arg(&self.state).args(arguments).current_dir(&self.dir);
        command
    }

    /// Runs it to its end; what it wrote.
    pub(crate) fn run(&self, id: &str) -> String {
        output(&mut self.runc(&["run", id]))
    }

    /// Starts it.
    pub(crate) fn start<'a>(&'a self, id: &str) -> Container<'a> {
        let log = self.dir.join("log");
        let out = File::create(&log).unwrap();
        let err = out.try_clone().unwrap();
        let process = self.runc(&["run", id]).stdout(out).stderr(err).spawn().unwrap();
        Container { bundle: self, id: id.to_owned(), process, log }
    }
}

/// A running container, ended with this value.
pub(crate) struct Container<'a> {
    bundle: &'a Bundle,
    id: String,
    process: Child,
    log: PathBuf,
}

impl Container<'_> {
    /// What `http://127.0.0.1:PORT/` answers, once it does.
    pub(crate) fn get(&mut self, port: u16) -> String {
        let start = Instant::now();
        loop {
            if let Some(answer) = try_get(port) {
                return answer;
            }
            let ended = self.process.try_wait().unwrap();
            let log = || fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none(), "the container ended: {ended:?}\n{}", log());
            assert!(start.elapsed() < PATIENCE, "no answer\n{}", log());
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        drop(self.bundle.runc(&["delete", "--force", &self.id]).output());
        drop(self.process.wait());
    }
}

fn try_get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
