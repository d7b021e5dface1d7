//! What builds leave behind, and what is shown of it.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::support::build::Kiln;
use super::support::{PATIENCE, Work, bases};

/// The lines of the records of all builds, the earliest build first.
fn records(work: &Work) -> Vec<Vec<Value>> {
    let dir = work.path("store/builds");
    let mut builds: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    builds.sort();
    let lines = |build: &Path| {
        let text = fs::read_to_string(build.join("events")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    builds.iter().map(|build| lines(build)).collect()
}

fn count(record: &[Value], event: &str) -> usize {
    record.iter().filter(|line| line["event"] == event).count()
}

/// A kiln with a context that needs a base; nothing where there is none.
fn kiln(work: &Work) -> Option<(Kiln, std::path::PathBuf)> {
    let base = bases::busybox()?;
    Some((Kiln::at(work.path("store")), base))
}

#[test]
fn every_build_leaves_a_record() {
    let work = Work::new();
    let Some((kiln, base)) = kiln(&work) else { return };
    let dockerfile =
        "FROM base AS made\nRUN echo made > /made && echo said\nFROM made\nCOPY a /a\n";
    let context = work.context("context", dockerfile);
    work.write("context/a", "a");
    for _ in 0..2 {
        kiln.build(&context).layout("base", &base).tag("example/app").run();
    }
    let failing = work.context("failing", "FROM base\nRUN echo why >&2; exit 3\n");
    kiln.build(&failing).layout("base", &base).fails(1);
    let wrong = work.context("wrong", "FROM base\nRUNN\n");
    kiln.build(&wrong).layout("base", &base).fails(3);
    let [first, second, failed, refused] = &records(&work)[..] else { panic!() };
    for record in [first, second, failed, refused] {
        assert_eq!(record[0]["line"], "begin");
        assert_eq!(record.last().unwrap()["line"], "end");
    }
    assert_eq!(first[0]["asked"]["tags"][0], "docker.io/example/app:latest");
    assert_eq!((count(first, "cached"), count(first, "keyed")), (0, 3));
    assert_eq!((count(second, "cached"), count(second, "keyed")), (3, 3));
    let keys = |record: &[Value]| -> Vec<String> {
        let keyed = record.iter().filter(|line| line["event"] == "keyed");
        keyed.map(|line| line["key"].to_string() + &line["result"]["layers"].to_string()).collect()
    };
    assert_eq!(keys(first), keys(second));
    let end = first.last().unwrap();
    assert_eq!(end["image"]["manifest"], kiln.digest("example/app").as_str());
    let fault = &failed.last().unwrap()["error"]["faults"][0];
    assert_eq!((&fault["at"], &fault["output"][0]), (&Value::from(2), &Value::from("why")));
    let fault = &refused.last().unwrap()["error"]["faults"][0];
    assert_eq!((&fault["code"], &fault["at"]), (&"unknown-instruction".into(), &Value::from(2)));
}

#[test]
fn no_secret_is_recorded() {
    let work = Work::new();
    let Some((kiln, base)) = kiln(&work) else { return };
    let dockerfile = "FROM base\nARG API_TOKEN\nARG URL\n\
        RUN --mount=type=secret,id=one test -s /run/secrets/one\n";
    let context = work.context("context", dockerfile);
    let secret = work.write("secret", "hunter2");
    kiln.build(&context)
        .layout("base", &base)
        .arg(format!("--secret=id=one,src={}", secret.display()))
        .arg("--build-arg=API_TOKEN=hunter3")
        .arg("--build-arg=https_proxy=http://me:hunter4@proxy.example")
        .arg("--build-arg=URL=https://me:hunter5@example.com/x?token=hunter6")
        .run();
    let [record] = &records(&work)[..] else { panic!() };
    let asked = &record[0]["asked"];
    assert_eq!(asked["secrets"][0], "one");
    assert_eq!(asked["build_args"]["API_TOKEN"], Value::Null);
    assert_eq!(asked["build_args"]["URL"], "https://example.com/x?…");
    let all = Value::from(record.clone()).to_string();
    assert!(!all.contains("hunter"), "{all}");
}

/// Starts a build that never ends by itself, and waits until its step runs.
fn endless(work: &Work, kiln: &Kiln, base: &Path) -> Child {
    let context = work.context("endless", "FROM base\nRUN echo begun; while :; do sleep 1; done\n");
    let layout = format!("--build-context=base=oci-layout://{}", base.display());
    let mut command = kiln.command(&["build", "--progress=plain", "--no-cache", &layout]);
    let mut child = command.arg(&context).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let begun = || {
        fs::read_dir(work.path("store/builds")).is_ok_and(|dirs| {
            dirs.flatten().any(|dir| {
                let text = fs::read_to_string(dir.path().join("events")).unwrap_or_default();
                text.contains("begun\\n") && !text.contains("\"end\"")
            })
        })
    };
    while !begun() {
        assert!(child.try_wait().unwrap().is_none(), "the build ended");
        assert!(start.elapsed() < PATIENCE, "nothing was recorded");
        thread::sleep(Duration::from_millis(20));
    }
    child
}

#[test]
fn builds_that_are_stopped_are_recorded() {
    let work = Work::new();
    let Some((kiln, base)) = kiln(&work) else { return };
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut child = endless(&work, &kiln, &base);
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        child.wait().unwrap();
    }
    let [interrupted, killed] = &records(&work)[..] else { panic!() };
    assert_eq!(interrupted.last().unwrap()["status"], "canceled");
    assert_eq!(count(killed, "output"), 1);
    assert_eq!(killed.last().unwrap()["line"], "event");
    work.assert_no_mounts();
}
