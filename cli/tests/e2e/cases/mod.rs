//! The differential suite: small Dockerfiles, and all that the image of each must be.
//!
//! A case is a folder of `testdata/e2e` with an `expect.json`; the README there says what is in it. All are built on
//! one store, several at a time, so that what one leaves in the cache must not change another. With
//! `KILN_BLESS=1` the expectations are written, to be read and checked against the semantics they are of.

mod image;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

use super::support::build::Kiln;
use super::support::{Work, bases, example, output, tool};

/// What makes the context of a case that has no `context.sh` of its own.
const CONTEXT: &str = "context.sh";

#[test]
fn every_case_is_as_expected() {
    let Some(base) = bases::busybox() else { return };
    let work = Work::new();
    let bench = Bench { kiln: Kiln::at(work.path("store")), base, work: &work };
    let cases = names();
    assert!(cases.len() >= 120, "{} cases", cases.len());
    let results = in_parallel(&cases, |case| bench.compare(case));
    let failures =
        cases.iter().zip(results).filter_map(|(case, result)| Some((case, result.err()?)));
    let told: Vec<_> = failures.map(|(case, failure)| format!("{case}: {failure}")).collect();
    assert!(told.is_empty(), "{} of {}:\n{}", told.len(), cases.len(), told.join("\n"));
    work.assert_no_mounts();
}

/// What comes of each name, several looked at at the same time, in their order.
pub(crate) fn in_parallel<T: Send>(names: &[String], look: impl Fn(&str) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = names.get(index) else { return };
                    let result = look(name);
                    done.lock().unwrap().insert(index, result);
                }
            });
        }
    });
    done.into_inner().unwrap().into_values().collect()
}

/// Where the expectation of a case comes from.
pub(crate) fn source(case: &str) -> String {
    let expected = fs::read(example(case).join("expect.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    expected["from"].as_str().unwrap().to_owned()
}

/// The names of all cases, sorted.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(example(".")).unwrap().map(|entry| entry.unwrap());
    let cases = entries.filter(|entry| entry.path().join("expect.json").is_file());
    let mut names: Vec<_> = cases.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What cases are built with.
struct Bench<'w> {
    kiln: Kiln,
    base: PathBuf,
    work: &'w Work,
}

impl Bench<'_> {
    fn compare(&self, name: &str) -> Result<(), String> {
        let case = example(name);
        let path = case.join("expect.json");
        let expected: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mut found = self.build(&case, name);
        found["from"] = expected["from"].clone();
        if std::env::var_os("KILN_BLESS").is_some_and(|value| value == "1") {
            fs::write(path, format!("{found:#}\n")).unwrap();
            return Ok(());
        }
        if !expected["from"].is_string() {
            return Err("does not say where its expectation is from".to_owned());
        }
        let differences = differences("", &expected, &found);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n    ")) }
    }

    /// What came of a case, in the form of its expectation.
    fn build(&self, case: &Path, name: &str) -> Value {
        let context = self.context(case, name);
        let layout = self.work.path(&format!("layouts/{name}"));
        fs::create_dir_all(layout.parent().unwrap()).unwrap();
        let mut command = self.kiln.command(&["build", "--progress", "plain"]);
        command.arg("--file").arg(case.join("Dockerfile")).env("SOURCE_DATE_EPOCH", "0");
        command.arg(format!("--build-context=busybox=oci-layout://{}", self.base.display()));
        command.arg(format!("--output=type=oci,tar=false,dest={}", layout.display()));
        let arguments = fs::read_to_string(case.join("arguments")).unwrap_or_default();
        command.args(arguments.lines()).current_dir(&context).arg(&context);
        let built = command.output().unwrap();
        let said = String::from_utf8_lossy(&built.stderr);
        let said = said.replace(context.to_str().unwrap(), "CONTEXT");
        if built.status.success() {
            return image::describe(&layout, &self.base);
        }
        refusal(&said, built.status.code())
    }

    fn context(&self, case: &Path, name: &str) -> PathBuf {
        let context = self.work.path(&format!("contexts/{name}"));
        fs::create_dir_all(&context).unwrap();
        let own = case.join(CONTEXT);
        let script = if own.is_file() { own } else { example(CONTEXT) };
        output(tool("sh").arg("-eu").arg(script).current_dir(&context).env("LC_ALL", "C"));
        context
    }
}

/// The first error, with its line, and the exit code.
fn refusal(said: &str, code: Option<i32>) -> Value {
    let mut lines = said.lines().skip_while(|line| !line.starts_with("error"));
    let message = lines.next().unwrap_or(said).to_owned();
    let place = lines.next().and_then(|line| line.trim_start().strip_prefix("--> "));
    let mut members = Map::new();
    members.insert("fails".to_owned(), json!(message));
    if let Some((_, numbers)) = place.and_then(|place| place.split_once("Dockerfile:")) {
        members.insert("line".to_owned(), json!(numbers.split(':').next()));
    }
    members.insert("exit_code".to_owned(), json!(code));
    Value::Object(members)
}

fn differences(at: &str, expected: &Value, found: &Value) -> Vec<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let names: std::collections::BTreeSet<_> =
                expected.keys().chain(found.keys()).collect();
            let of =
                |map: &Map<String, Value>, name: &str| map.get(name).cloned().unwrap_or_default();
            names
                .into_iter()
                .flat_map(|name| {
                    differences(&format!("{at} › {name}"), &of(expected, name), &of(found, name))
                })
                .collect()
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = expected.iter().zip(found).enumerate();
            pairs
                .flat_map(|(index, (expected, found))| {
                    differences(&format!("{at} [{index}]"), expected, found)
                })
                .collect()
        }
        _ if expected == found => Vec::new(),
        _ => vec![format!("{at}: expected {expected}, got {found}")],
    }
}
