//! The faults of an ordinary user's builds, in a user namespace.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io::BufRead as _, io::BufReader};

use kiln_testkit::Account;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bed::{BASE, Bed, Said};

#[test]
fn an_ordinary_user_has_the_same_faults() {
    let Some(bed) = Bed::new() else { return };
    let Some(account) = Account::new("faults") else { return };
    let Account { uid, gid, .. } = account;
    for path in ["", "ctx", "store"] {
        std::os::unix::fs::chown(bed.path(path), Some(uid), Some(gid)).unwrap();
    }
    // The account may not be able to reach the directory that the command was compiled into.
    fs::copy(env!("CARGO_BIN_EXE_kiln"), bed.path("kiln")).unwrap();
    let kiln = |dockerfile: &str, more: &[&str]| {
        bed.write("ctx/Dockerfile", dockerfile);
        let arguments = [&["build"], more, &["ctx"]].concat();
        let command = bed.kiln(&arguments);
        let mut as_user = Command::new(bed.path("kiln"));
        as_user.args(command.get_args()).current_dir(bed.dir()).env_clear();
        as_user.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        as_user.uid(uid).gid(gid).stdin(std::process::Stdio::null());
        as_user.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        as_user
    };
    let build = |dockerfile: &str| {
        let output = kiln(dockerfile, &["--progress", "quiet"]).output().unwrap();
        Said::of(output, bed.dir())
    };
    // The messages of root's builds, word for word.
    let dockerfile = format!("{BASE}RUN kill -9 $$\n");
    build(&dockerfile).is("killed-run.txt", &[]);
    build("FROM scratch\nCOPY no/such/thing /\n").is("missing-source-far.txt", &[]);
    // Interrupted and killed.
    let endless = format!("{BASE}RUN echo begun; sleep 1000\n");
    for (signal, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGKILL, None)] {
        let mut child = kiln(&endless, &["--progress", "plain"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap().ends_with("begun")));
        let asked = Instant::now();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        assert!(asked.elapsed() < Duration::from_secs(2), "{signal}");
    }
    let works = build(&format!("{BASE}RUN echo fine\n"));
    assert_eq!((works.code, works.stderr.as_str()), (Some(0), ""));
    bed.left_nothing();
}
