//! Cache mounts that go along with a cache.

use std::fs;
use std::path::PathBuf;

use super::super::support::build::{Kiln, Steps};
use super::super::support::servers::Registry;
use super::super::support::{Work, bases, have};
use super::{names, sent};

/// A context whose command works on the cache mount `things`.
struct Bed {
    work: Work,
    base: PathBuf,
}

const LIST: &str = "cd /c && ls -l | awk '{print $1, $2, $5, $9, $10, $11}' && cat [a-z]*.txt";

impl Bed {
    fn new() -> Option<Self> {
        let base = bases::busybox()?;
        Some(Self { work: Work::new(), base })
    }

    /// Runs a command over the mount on a machine; what it wrote.
    fn run(&self, machine: &str, command: &str, arguments: &[&str]) -> (Steps, String) {
        let text = format!("FROM base\nRUN --mount=type=cache,id=things,target=/c {command}\n");
        let context = self.work.context("context", &text);
        let kiln = Kiln::at(self.work.path(machine));
        let build = kiln.build(&context).layout("base", &self.base);
        let steps = arguments.iter().fold(build, |build, argument| build.arg(argument)).run();
        let said = steps.said("RUN");
        (steps, said)
    }

    fn to(&self, more: &str) -> String {
        format!("--cache-to=type=local,dest={},{more}", self.work.path("cache").display())
    }

    fn from(&self) -> String {
        format!("--cache-from=type=local,src={}", self.work.path("cache").display())
    }

    /// Fills the mount on machine `a` and exports it.
    fn fill(&self, more: &str) -> Steps {
        let fill = "cd /c && echo one > one.txt && mkdir d && head -c 500000 /dev/urandom > d/noise \
                    && ln one.txt hard.txt && ln -s one.txt link && chmod 750 one.txt \
                    && touch -d '2001-02-03 04:05:06' d/noise && cp d/noise d/same";
        self.run("a", fill, &[&self.to(more)]).0
    }
}

#[test]
fn a_mount_is_filled_on_another_machine() {
    let Some(bed) = Bed::new() else { return };
    bed.fill("mounts=all");
    let list = format!("{LIST} && stat -c '%Y %s' d/noise && sha256sum d/* ");
    let (_, made) = bed.run("a", &list, &[]);
    assert!(made.contains("981173106 500000"), "{made}");
    let (steps, used) = bed.run("b", &list, &[&bed.from()]);
    assert_eq!(used, made);
    assert_eq!(steps.warnings(), Vec::<&str>::new());
    // What is equal is there once.
    let bytes: u64 = names(&bed.work.path("cache/blobs/sha256"))
        .iter()
        .map(|name| fs::metadata(bed.work.path("cache/blobs/sha256").join(name)).unwrap().len())
        .sum();
    assert!(bytes < 600_000, "{bytes}");
    bed.work.assert_no_mounts();
}

#[test]
fn only_what_changed_in_a_mount_is_sent() {
    let Some(bed) = Bed::new() else { return };
    let first = sent(&bed.fill("mounts=things"));
    assert!(first.1 > 500_000, "{first:?}");
    let to = bed.to("mounts=things");
    let (steps, _) = bed.run("a", "echo two > /c/two.txt", &[&to]);
    assert!(sent(&steps).1 < 5_000, "{:?}", sent(&steps));
    // A machine where no command ran keeps what the cache has.
    let (steps, _) = bed.run("b", "echo two > /c/two.txt", &[&bed.from(), &to]);
    assert_eq!(steps.ran(), Vec::<&str>::new());
    assert!(sent(&steps).0 <= 1, "{:?}", sent(&steps));
    let (_, used) = bed.run("c", "cat /c/two.txt /c/one.txt", &[&bed.from()]);
    assert_eq!(used, "two\none\n");
}

#[test]
fn what_a_machine_has_of_its_own_stays() {
    let Some(bed) = Bed::new() else { return };
    bed.fill("mounts=all");
    bed.run("b", "echo own > /c/own.txt", &[]);
    let (_, used) = bed.run("b", "ls /c", &[&bed.from()]);
    assert_eq!(used, "own.txt\n");
    // An empty one is no more than none.
    bed.run("c", "true", &[]);
    let (_, used) = bed.run("c", "cat /c/one.txt", &[&bed.from()]);
    assert_eq!(used, "one\n");
}

#[test]
fn a_mount_that_is_too_large_or_absent_is_told() {
    let Some(bed) = Bed::new() else { return };
    let steps = bed.fill("mounts=all,mount-max-size=400kB");
    let warnings = steps.warnings();
    assert!(warnings[0].contains("the cache mount `things` is left out"), "{warnings:?}");
    let (_, used) = bed.run("b", "ls /c", &[&bed.from()]);
    assert_eq!(used, "");
    let (steps, _) = bed.run("a", "true", &[&bed.to("mounts=other")]);
    let warnings = steps.warnings();
    assert!(warnings[0].contains("`other` is not exported: there is none"), "{warnings:?}");
}

#[test]
fn a_damaged_mount_is_not_filled_and_nothing_fails() {
    let Some(bed) = Bed::new() else { return };
    bed.fill("mounts=all");
    let blobs = bed.work.path("cache/blobs/sha256");
    let largest =
        names(&blobs).into_iter().max_by_key(|name| fs::metadata(blobs.join(name)).unwrap().len());
    let path = blobs.join(largest.unwrap());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (steps, used) = bed.run("b", "ls /c", &[&bed.from()]);
    assert_eq!(used, "");
    let warnings = steps.warnings();
    assert!(warnings[0].contains("the cache mount `things` is not filled"), "{warnings:?}");
}

#[test]
fn a_mount_goes_through_a_registry() {
    if !have(&["docker-registry"]) {
        return;
    }
    let Some(bed) = Bed::new() else { return };
    let registry = Registry::start(&bed.work);
    let name = format!("{}/team/app:cache", registry.host);
    let to = format!("--cache-to=type=registry,ref={name},mounts=all");
    bed.run("a", "echo one > /c/one.txt", &[&to]);
    let (_, used) = bed.run("b", "cat /c/one.txt", &["--cache-from", &name]);
    assert_eq!(used, "one\n");
}
