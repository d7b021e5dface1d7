//! Sandboxes of an ordinary user, with and without subordinate ids.
//!
//! The tests make an account, run the testbed as it, and remove it again.

#![expect(clippy::unwrap_used, reason = "a part of tests")]

#[expect(dead_code, reason = "each test program uses its own part")]
mod common;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use kiln_testkit::{Account, give};

use common::{Bed, TESTBED, can_run, is_mounted_below, process_exists, wait_until};

struct UserBed {
    bed: Bed,
    base: PathBuf,
    testbed: PathBuf,
    uid: u32,
    gid: u32,
}

impl UserBed {
    fn new(uid: u32, gid: u32) -> Self {
        let bed = Bed::new();
        bed.write("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n");
        bed.write("etc/group", "wheel:x:10:app\n");
        let testbed = bed.dir.path().join("testbed");
        fs::copy(TESTBED, &testbed).unwrap();
        let base = bed.fresh("base");
        give(bed.dir.path(), uid, gid);
        Self { bed, base, testbed, uid, gid }
    }

    fn command(&self, user: &str, network: &str, script: &str) -> Command {
        let mut command = Command::new(&self.testbed);
        command
            .args([&self.base, &self.bed.image()])
            .args([user, network, "/bin/sh", "-c", script])
            .current_dir("/")
            .uid(self.uid)
            .gid(self.gid)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, user: &str, network: &str, script: &str) -> Output {
        self.command(user, network, script).output().unwrap()
    }
}

fn text(output: &Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn check(bed: &UserBed, user: &str, network: &str, script: &str, expected: &str) {
    let (code, stdout, stderr) = text(&bed.run(user, network, script));
    assert_eq!((code, stdout.as_str()), (0, expected), "{script}: {stderr}");
    for name in ["upper", "work", "scratch"] {
        // The subordinate ids' files, too, are root's to remove here.
        fs::remove_dir_all(bed.base.join(name)).unwrap();
    }
}

#[test]
fn with_subordinate_ids() {
    if !can_run() {
        return;
    }
    let Some(account) = Account::new("sub") else { return };
    let bed = UserBed::new(account.uid, account.gid);
    let map = "set -- $(cat /proc/self/uid_map); echo $1 $3 $4 $6";
    check(&bed, "", "host", map, "0 1 1 65536");
    check(
        &bed,
        "",
        "host",
        "id -u; touch /x; chown 1000:1000 /x; stat -c '%u %g' /x",
        "0\n1000 1000",
    );
    let groups = "id -u; id -g; sed -n 's/^Groups:[[:space:]]*//p' /proc/self/status";
    check(&bed, "app", "host", groups, "1000\n1000\n10 1000");
    check(
        &bed,
        "",
        "host",
        "sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status",
        "00000000a80425fb",
    );
    check(&bed, "", "none", "ls /sys/class/net", "lo");
    check(&bed, "", "host", "test -d /sys/kernel && mkdir /sys/x 2>&1 | grep -c Read-only", "1");
    let devices =
        "echo x > /dev/null; head -c 2 /dev/zero | wc -c; ls /dev/pts; stat -c %t:%T /dev/full";
    check(&bed, "", "host", devices, "2\nptmx\n1:7");
}

#[test]
fn what_rootless_changes_is_all_that_is_in_the_layer() {
    if !can_run() {
        return;
    }
    let Some(account) = Account::new("lay") else { return };
    let bed = UserBed::new(account.uid, account.gid);
    let (code, _, stderr) = text(&bed.run("", "host", "rm /etc/group; touch /new"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(common::listing(&bed.base.join("upper")), ["etc", "etc/group", "new"]);
}

#[test]
fn with_a_single_id() {
    if !can_run() {
        return;
    }
    // No account has this number, so there are no subordinate ids for it.
    let bed = UserBed::new(54_321, 54_321);
    check(
        &bed,
        "",
        "host",
        "id -u; touch /x; stat -c %u /x; cat /proc/self/setgroups",
        "0\n0\ndeny",
    );
    check(
        &bed,
        "",
        "none",
        "ls /sys/class/net; test -c /dev/pts/ptmx; head -c 1 /dev/zero | wc -c",
        "lo\n1",
    );
    let (code, _, stderr) = text(&bed.run("app", "host", "true"));
    assert_eq!(code, 99);
    assert!(stderr.contains("user 1000 does not exist in this user namespace"), "{stderr}");
}

#[test]
fn the_exit_status_is_preserved() {
    if can_run() {
        let bed = UserBed::new(54_322, 54_322);
        assert_eq!(bed.run("", "host", "exit 37").status.code(), Some(37));
    }
}

/// Starts a command that waits, and returns once it does.
fn start_waiting(bed: &UserBed, word: &str) -> std::process::Child {
    use std::io::BufRead as _;
    let script = format!("echo ready; sleep {word}");
    let mut caller = bed.command("", "host", &script).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(caller.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    caller
}

#[test]
fn signals_are_forwarded() {
    use std::os::unix::process::ExitStatusExt as _;
    if !can_run() {
        return;
    }
    let bed = UserBed::new(54_323, 54_323);
    let word = format!("7{}", std::process::id());
    let mut caller = start_waiting(&bed, &word);
    let outer = nix::unistd::Pid::from_raw(i32::try_from(caller.id()).unwrap());
    nix::sys::signal::kill(outer, nix::sys::signal::Signal::SIGTERM).unwrap();
    // The testbed has no handler: it dies by the signal, and its parent does likewise.
    assert_eq!(caller.wait().unwrap().signal(), Some(libc::SIGTERM));
    wait_until("a process outlived its caller", || !process_exists(&word));
}

#[test]
fn a_killed_parent_leaves_nothing() {
    if !can_run() {
        return;
    }
    let bed = UserBed::new(54_324, 54_324);
    let word = format!("8{}", std::process::id());
    let mut caller = start_waiting(&bed, &word);
    caller.kill().unwrap();
    caller.wait().unwrap();
    wait_until("a process outlived its caller", || !process_exists(&word));
    wait_until("a mount outlived its caller", || !is_mounted_below(bed.bed.dir.path()));
}

#[test]
fn a_machine_without_user_namespaces_is_explained() {
    if !can_run() {
        return;
    }
    // Inside a namespace whose limit is lowered, so that the machine's own setting stays.
    let bed = UserBed::new(54_325, 54_325);
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-user=54325", "--keep-caps", "sh", "-c", script, "sh"])
        .arg(&bed.testbed)
        .args([&bed.base, &bed.bed.image()])
        .args(["", "host", "true"])
        .current_dir("/")
        .output();
    let Ok(output) = output else {
        kiln_testkit::skipped("no unshare (Debian: util-linux)");
        return;
    };
    let (code, _, stderr) = text(&output);
    assert_eq!(code, 99, "{stderr}");
    let hint = "cannot make a user namespace: the setting `user.max_user_namespaces` is 0";
    assert!(stderr.contains(hint), "{stderr}");
}
