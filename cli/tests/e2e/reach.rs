//! What a `RUN` may reach beyond its sandbox, and what has to be allowed for it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::support::build::{Kiln, Steps};
use super::support::{Work, bases, is_root};

/// What a build says that must fail.
fn refused(kiln: &Kiln, base: &Path, context: &Path, arguments: &[&str]) -> String {
    let mut command = kiln.command(&["build", "--progress", "plain"]);
    command.arg(format!("--build-context=base=oci-layout://{}", base.display()));
    let output = command.args(arguments).arg(context).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    said
}

fn build(kiln: &Kiln, base: &Path, context: &Path, arguments: &[&str]) -> Steps {
    let build = kiln.build(context).layout("base", base);
    arguments.iter().fold(build, |build, argument| build.arg(argument)).run()
}

/// An agent that answers every message with a list of no keys.
fn agent(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut request) = (client.unwrap(), [0; 5]);
            while client.read_exact(&mut request).is_ok() {
                client.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
            }
        }
    });
}

#[test]
fn the_ssh_agent_has_the_place_owner_and_mode_that_its_mount_asks_for() {
    let Some(base) = bases::busybox() else { return };
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context = work.context(
        "context",
        "FROM base\n\
         RUN --mount=type=ssh --mount=type=ssh,id=work,target=/a,uid=7,gid=8,mode=0444 \\\n\
         \x20 echo $SSH_AUTH_SOCK && stat -c '%F %a %u:%g' /run/buildkit/ssh_agent.0 /a\n\
         RUN test ! -e /run && echo none\n",
    );
    agent(&work.path("agent"));
    let socket = work.path("agent").display().to_string();
    let (default, other) = (format!("default={socket}"), format!("work={socket}"));
    let given = ["--ssh", &default, "--ssh", &other];
    let steps = build(&kiln, &base, &context, &given);
    let said = steps.said("type=ssh");
    assert_eq!(said, "/run/buildkit/ssh_agent.0\nsocket 600 0:0\nsocket 444 7:8\n");
    assert_eq!(steps.said("test ! -e"), "none\n", "no socket in the layer");
    // Which agent it was is no part of the key.
    assert_eq!(build(&kiln, &base, &context, &[]).ran(), Vec::<&str>::new());
}

#[test]
fn programs_talk_to_the_agent() {
    let Some(base) = bases::python() else { return };
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context = work.context(
        "context",
        "FROM base\nRUN --mount=type=ssh,required python3 <<EOF\n\
         import os, socket\n\
         s = socket.socket(socket.AF_UNIX)\n\
         s.connect(os.environ['SSH_AUTH_SOCK'])\n\
         for kind in (11, 19):\n\
         \x20   s.sendall(bytes([0, 0, 0, 1, kind]))\n\
         \x20   print(s.recv(100).hex())\n\
         EOF\n",
    );
    agent(&work.path("agent"));
    let default = format!("default={}", work.path("agent").display());
    let steps = build(&kiln, &base, &context, &["--ssh", &default]);
    assert_eq!(steps.said("python3"), "000000050c00000000\n0000000105\n", "a list, then a refusal");
}

#[test]
fn an_agent_that_is_needed_and_not_given_fails_the_step() {
    let Some(base) = bases::busybox() else { return };
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context = work.context("context", "FROM base\nRUN --mount=type=ssh,required,id=k true\n");
    let said = refused(&kiln, &base, &context, &[]);
    assert!(said.contains("no ssh agent `k`") && said.contains("add `--ssh k`"), "{said}");
    let key = work.write("key", "private");
    let said = refused(&kiln, &base, &context, &["--ssh", &format!("k={}", key.display())]);
    assert!(said.contains("ssh-add") && said.contains("not an agent's socket"), "{said}");
}

#[test]
fn an_insecure_step_has_to_be_allowed() {
    let Some(base) = bases::busybox() else { return };
    if !is_root() {
        return;
    }
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let script = "mount -t tmpfs none /mnt && test -c /dev/fuse -a -b /dev/loop0 && \
                  ! grep -q ' /sys sysfs ro' /proc/mounts";
    let dockerfile = format!("FROM base\nRUN mkdir /mnt\nRUN --security=insecure {script}\n");
    let context = work.context("context", &dockerfile);
    let said = refused(&kiln, &base, &context, &[]);
    assert!(said.contains("error[not-allowed]") && said.contains("Dockerfile:3"), "{said}");
    assert!(said.contains("--allow security.insecure"), "{said}");
    build(&kiln, &base, &context, &["--allow", "security.insecure"]);
    work.assert_no_mounts();
}

#[test]
fn the_hosts_network_for_one_step_has_to_be_allowed() {
    let Some(base) = bases::busybox() else { return };
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context =
        work.context("context", "FROM base\nRUN --network=host readlink /proc/self/ns/net\n");
    let said = refused(&kiln, &base, &context, &[]);
    assert!(said.contains("--allow network.host"), "{said}");
    let own = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    for allowed in [["--allow", "network.host"], ["--network", "host"]] {
        let steps = kiln.build(&context).layout("base", &base).arg("--no-cache");
        let said = steps.arg(allowed[0]).arg(allowed[1]).run().said("readlink");
        assert_eq!(said.trim(), own);
    }
}

#[test]
fn hosts_limits_and_shared_memory() {
    let Some(base) = bases::busybox() else { return };
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let script =
        "tail -n 1 /etc/hosts; ulimit -n; df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2";
    let context = work.context("context", &format!("FROM base\nRUN {script}\n"));
    let given = ["--add-host", "db:10.0.0.7", "--ulimit", "nofile=99", "--shm-size", "2m"];
    let steps = build(&kiln, &base, &context, &given);
    assert_eq!(steps.said("ulimit"), "10.0.0.7\tdb\n99\n2048\n");
    // The name is a part of the key, the address and the limits are not.
    let ran = |arguments: &[&str]| build(&kiln, &base, &context, arguments).ran().len();
    assert_eq!(ran(&["--add-host", "db:10.0.0.8"]), 0);
    assert_eq!(ran(&["--add-host", "cache:10.0.0.8"]), 1);
}

#[test]
fn devices_are_those_that_the_machine_describes() {
    let Some(base) = bases::busybox() else { return };
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    work.write(
        "cdi/test.yaml",
        "cdiVersion: 0.6.0\nkind: test.example/zero\ndevices:\n- name: a\n  containerEdits:\n\
         \x20   env: [FOUND=yes]\n    deviceNodes: [{path: /dev/mine, hostPath: /dev/zero}]\n",
    );
    let settings = work
        .write("kiln.toml", format!("[cdi]\nspecDirs = [\"{}\"]\n", work.path("cdi").display()));
    let config = ["--config", settings.to_str().unwrap()];
    let context = work.context(
        "context",
        "FROM base\nRUN --device=test.example/zero=a,required \\\n\
         \x20 echo $FOUND && head -c 3 /dev/mine | wc -c\nRUN --device=test.example/none=a test ! -e /dev/mine\n",
    );
    let said = refused(&kiln, &base, &context, &config);
    assert!(said.contains("--allow device=test.example/zero=a"), "{said}");
    let allowed = [&config[..], &["--allow", "device"]].concat();
    let steps = build(&kiln, &base, &context, &allowed);
    assert_eq!(steps.said("FOUND"), "yes\n3\n");
    let none = work.context("none", "FROM base\nRUN --device=test.example/none=a,required true\n");
    let said = refused(&kiln, &base, &none, &allowed);
    assert!(said.contains("no device `test.example/none=a`") && said.contains("/cdi"), "{said}");
}
