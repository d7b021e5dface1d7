//! Repositories by ssh, from OpenSSH's own server.
//!
//! The server has a network of its own, in which Kiln is started, too: there the usual port is free, as addresses of the
//! form `user@host:path` need it. Its keys, the user's and the agent are the test's; the machine's are not looked at.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::support::build::{Build, Kiln};
use super::support::git::Repository;
use super::support::{PATIENCE, Work, bases, find, have, is_root, output, tool};

/// Makes what the server wants of a machine, seen by nobody else.
const START: &str = "busybox ip link set lo up\n\
     mount -t tmpfs none /run\n\
     mkdir /run/sshd\n\
     exec \"$@\"";
/// A port beside the usual one.
const OTHER_PORT: u16 = 2222;

/// A server, an agent with the user's key, and a repository `app`. Both processes end with the value.
struct Bed {
    work: Work,
    server: Child,
    agent: Child,
}

impl Bed {
    /// Starts it; nothing where this machine cannot.
    fn new() -> Option<Self> {
        let programs = ["sshd", "ssh", "ssh-agent", "ssh-add", "ssh-keygen"];
        if !is_root() || !have(&programs) || !have(&["unshare", "nsenter", "busybox"]) {
            return None;
        }
        let work = Work::new();
        let app = Repository::new(&work, "repositories/app");
        app.write("README", "by ssh\n");
        app.commit();
        for key in ["host", "other-host", "user", "other-user"] {
            make_key(&work, key);
        }
        fs::copy(work.path("keys/user.pub"), work.path("keys/authorized")).unwrap();
        let server = serve(&work);
        let agent = agent(&work, "user");
        let bed = Self { work, server, agent };
        bed.know("host");
        Some(bed)
    }

    /// Writes the list of known hosts: this key is the server's.
    fn know(&self, key: &str) {
        let public = fs::read_to_string(self.work.path(&format!("keys/{key}.pub"))).unwrap();
        let line = |host: String| format!("{host} {public}");
        let both = line("127.0.0.1".to_owned()) + &line(format!("[127.0.0.1]:{OTHER_PORT}"));
        self.work.write(".ssh/known_hosts", both);
    }

    /// Kiln, which meets the server on its loopback and has the test's directory for its home.
    fn kiln(&self, store: &str) -> Kiln {
        let network = format!("--net=/proc/{}/ns/net", self.server.id());
        Kiln::at(self.work.path(store)).started_by(&["nsenter", &network, "--"])
    }

    /// An address of the repository, by its host and what joins that with the path.
    fn address(&self, host: &str) -> String {
        format!("{host}{}", self.work.path("repositories/app").display())
    }

    fn socket(&self) -> PathBuf {
        self.work.path("agent-user")
    }

    /// A build of one `ADD`, with an agent or without.
    fn add(&self, kiln: &Kiln, address: &str, agent: Option<&PathBuf>) -> Build {
        let text = format!("FROM scratch\nADD {address} /src\n");
        let build = kiln.build(&self.work.context("context", &text));
        match agent {
            Some(socket) => build.arg(format!("--ssh=default={}", socket.display())),
            None => build,
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for process in [&mut self.server, &mut self.agent] {
            end(process);
        }
    }
}

fn end(process: &mut Child) {
    drop(process.kill());
    drop(process.wait());
}

fn make_key(work: &Work, name: &str) {
    fs::create_dir_all(work.path("keys")).unwrap();
    let mut command = tool("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]);
    output(command.arg(work.path(&format!("keys/{name}"))));
}

/// Starts the server, and waits until it listens.
fn serve(work: &Work) -> Child {
    let keys = work.path("keys");
    let config = format!(
        "ListenAddress 127.0.0.1:22\nListenAddress 127.0.0.1:{OTHER_PORT}\nHostKey {keys}/host\n\
         AuthorizedKeysFile {keys}/authorized\nPidFile none\nUsePAM no\nStrictModes no\n\
         PasswordAuthentication no\nPermitRootLogin prohibit-password\n",
        keys = keys.display()
    );
    let config = work.write("sshd_config", config);
    let mut command = tool("unshare");
    command.args(["--net", "--mount", "sh", "-euc", START, "sh"]).arg(find("sshd").unwrap());
    command.args(["-D", "-e", "-f"]).arg(config).stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    while said.iter().filter(|line: &&String| line.contains("Server listening")).count() < 2 {
        match log.next() {
            Some(line) => said.push(line),
            None => panic!("the server does not start: {said:#?}"),
        }
    }
    // What it says later must not fill the pipe.
    std::thread::spawn(move || log.for_each(drop));
    server
}

/// Starts an agent that has a key, on a socket `agent-KEY`.
fn agent(work: &Work, key: &str) -> Child {
    let socket = work.path(&format!("agent-{key}"));
    let mut command = tool("ssh-agent");
    let agent = command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let start = std::time::Instant::now();
    while !socket.exists() {
        assert!(start.elapsed() < PATIENCE, "the agent does not start");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut command = tool("ssh-add");
    output(command.arg("-q").arg(work.path(&format!("keys/{key}"))).env("SSH_AUTH_SOCK", socket));
    agent
}

#[test]
fn repositories_come_by_ssh_with_the_agents_key() {
    let Some(bed) = Bed::new() else { return };
    let addresses = ["root@127.0.0.1:".to_owned(), format!("ssh://root@127.0.0.1:{OTHER_PORT}")];
    for (index, host) in addresses.iter().enumerate() {
        let kiln = bed.kiln(&format!("store-{index}"));
        let out = bed.work.path(&format!("out-{index}"));
        let build = bed.add(&kiln, &bed.address(host), Some(&bed.socket()));
        build.arg(format!("--output=type=local,dest={}", out.display())).run();
        assert_eq!(fs::read_to_string(out.join("src/README")).unwrap(), "by ssh\n");
        // With the commit known, only the branch is looked up.
        let again = bed.add(&kiln, &bed.address(host), Some(&bed.socket())).run();
        assert_eq!(again.ran(), Vec::<&str>::new());
    }
}

#[test]
fn a_context_comes_by_ssh_with_the_callers_agent() {
    let Some(bed) = Bed::new() else { return };
    let app = Repository::new(&bed.work, "repositories/app");
    app.write("Dockerfile", "FROM scratch\nCOPY README /\n");
    app.commit();
    let out = bed.work.path("out");
    let address = format!("{}#main", bed.address("ssh://root@127.0.0.1"));
    let kiln = bed.kiln("store");
    let mut command = kiln.command(&["build", "--progress=plain", &address]);
    command.arg(format!("--output=type=local,dest={}", out.display()));
    let refused = command.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("Permission denied"), "{said}");
    output(command.env("SSH_AUTH_SOCK", bed.socket()));
    assert_eq!(fs::read_to_string(out.join("README")).unwrap(), "by ssh\n");
}

#[test]
fn a_server_that_is_not_the_known_one_is_refused() {
    let Some(bed) = Bed::new() else { return };
    let kiln = bed.kiln("store");
    let address = bed.address("root@127.0.0.1:");
    bed.know("other-host");
    let said = bed.add(&kiln, &address, Some(&bed.socket())).fails(5);
    assert!(said.contains("Host key verification failed"), "{said}");
    fs::remove_file(bed.work.path(".ssh/known_hosts")).unwrap();
    let said = bed.add(&kiln, &address, Some(&bed.socket())).fails(5);
    assert!(said.contains("must be in `~/.ssh/known_hosts`"), "{said}");
    bed.know("host");
    bed.add(&kiln, &address, Some(&bed.socket())).run();
}

#[test]
fn no_key_but_the_given_agents_is_offered() {
    let Some(bed) = Bed::new() else { return };
    let kiln = bed.kiln("store");
    let address = bed.address("root@127.0.0.1:");
    // Neither the file that ssh would take by itself, nor an agent with another key.
    fs::copy(bed.work.path("keys/user"), bed.work.path(".ssh/id_ed25519")).unwrap();
    let said = bed.add(&kiln, &address, None).fails(5);
    assert!(said.contains("Permission denied") && said.contains("--ssh default"), "{said}");
    let mut other = agent(&bed.work, "other-user");
    let socket = bed.work.path("agent-other-user");
    let said = bed.add(&kiln, &address, Some(&socket)).fails(5);
    end(&mut other);
    assert!(said.contains("Permission denied"), "{said}");
}

#[test]
fn a_step_sees_the_keys_of_a_real_agent_through_the_relay() {
    let (Some(base), Some(bed)) = (bases::python(), Bed::new()) else { return };
    let context = bed.work.context(
        "step",
        "FROM base\nRUN --mount=type=ssh,required python3 <<EOF\n\
         import os, socket\n\
         s = socket.socket(socket.AF_UNIX)\n\
         s.connect(os.environ['SSH_AUTH_SOCK'])\n\
         s.sendall(bytes([0, 0, 0, 1, 11]))\n\
         print(s.recv(4096).hex())\n\
         EOF\n",
    );
    let ssh = format!("--ssh=default={}", bed.socket().display());
    let steps = bed.kiln("store").build(&context).layout("base", &base).arg(ssh).run();
    let public = fs::read_to_string(bed.work.path("keys/user.pub")).unwrap();
    let key = STANDARD.decode(public.split(' ').nth(1).unwrap()).unwrap();
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(steps.said("python3").contains(&key), "{}", steps.said("python3"));
}
