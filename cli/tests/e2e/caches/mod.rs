//! Caches that one machine makes and another uses. A machine is a store.

mod directory;
mod foreign;
mod hostile;
mod inline;
mod mounts;
mod registry;

use std::fs;
use std::path::{Path, PathBuf};

use super::support::build::{Build, Kiln, Steps};
use super::support::{Work, bases};

/// What archives can hold, in a stage that is copied from and in the result.
const APP: &str = "\
FROM base AS build
WORKDIR /src
COPY main.txt .
RUN mkdir /out && cat main.txt > /out/made && ln /out/made /out/hard && mkfifo /out/pipe \\
    && ln -s made /out/link && chmod 4755 /out/made && touch -d '2001-02-03 04:05:06' /out/old
FROM base
COPY --from=build /out /opt
RUN rm /bin/vi && rm -r /root && mkdir /root && echo x > /root/x && echo ran
";

/// A context, a base, and machines.
pub(super) struct Bed {
    pub(super) work: Work,
    base: PathBuf,
    context: PathBuf,
}

impl Bed {
    /// Nothing where there is no base.
    pub(super) fn new() -> Option<Self> {
        let base = bases::busybox()?;
        let work = Work::new();
        let context = work.context("context", APP);
        work.write("context/main.txt", "hello\n");
        Some(Self { work, base, context })
    }

    /// A machine by its name, new or not.
    pub(super) fn machine(&self, name: &str) -> Kiln {
        Kiln::at(self.work.path(name))
    }

    pub(super) fn build(&self, machine: &str) -> Build {
        self.machine(machine).build(&self.context).layout("base", &self.base).tag("app")
    }

    /// Builds with further arguments; what happened and the image's digest.
    pub(super) fn run(&self, machine: &str, arguments: &[&str]) -> (Steps, String) {
        let build = arguments.iter().fold(self.build(machine), Build::arg);
        (build.run(), self.machine(machine).digest("app"))
    }

    /// The same with the first second of 1970 for all times.
    pub(super) fn run_at_epoch(&self, machine: &str, arguments: &[&str]) -> (Steps, String) {
        let build = arguments.iter().fold(self.build(machine).at_epoch(), Build::arg);
        (build.run(), self.machine(machine).digest("app"))
    }

    /// The layers that a machine has.
    pub(super) fn layers(&self, machine: &str) -> Vec<String> {
        names(&self.work.path(machine).join("layers"))
    }

    /// Removes a machine.
    pub(super) fn forget(&self, machine: &str) {
        super::support::remove(&self.work.path(machine));
    }

    /// `key=value,…` with a directory of the test's.
    pub(super) fn at(&self, fields: &str, name: &str) -> String {
        format!("{fields}={}", self.work.path(name).display())
    }
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How many blobs an export sent, and how many bytes.
fn sent(steps: &Steps) -> (u64, u64) {
    let said = steps.of_task("exporting cache to");
    let line = said.lines().find(|line| line.starts_with("sent ")).expect(&said);
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}
