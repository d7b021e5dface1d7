//! Whole builds against the reference's: what its corpus has built, built by Kiln.
//!
//! The corpus is kept beside the project; where it is missing the test says so. Compared are the config, the history,
//! the number of layers and every path that differs from the base, or the line that a failing build points at.
//! Images are read by the corpus's own `describe.py`, so that no reader of Kiln's vouches for its writer. Every
//! build has a store of its own: what one leaves in a cache mount must not help the next.
//!
//! Built are those that cases of the differential suite rest on. `KILN_BUILDS` chooses others: those whose names
//! contain its value, all when that is empty; so `cargo xtask corpus --builds` has all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use kiln_testkit::Comparison;
use serde_json::Value;

use super::cases;
use super::support::build::Kiln;
use super::support::{Work, have, is_root, output, tool};

/// Chooses builds.
const CHOSEN: &str = "KILN_BUILDS";
/// Builds that may differ, and ADR 0008 says why.
const ARGUED: [&str; 1] = ["bud-multiarch-Dockerfile"];
/// How many differences of one build are shown.
const SHOWN: usize = 5;
/// Directories that runtimes leave behind where a base lacks them; the corpus leaves them out when empty.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];
/// How the reference marks its lines of the history.
const MARK: &str = " # buildkit";

#[test]
fn builds_give_the_references_images() {
    let Some(corpus) = kiln_testkit::corpus_directory("builds") else { return };
    if !is_root() || !have(&["python3", "tar"]) {
        return;
    }
    let corpus = corpus.parent().unwrap().to_owned();
    let all = names(&corpus.join("builds"));
    let chosen: Vec<String> = match std::env::var(CHOSEN) {
        Ok(part) => all.into_iter().filter(|name| name.contains(&part)).collect(),
        Err(_) => rested_on(&all).into_iter().collect(),
    };
    let differences = cases::in_parallel(&chosen, |name| Bench { corpus: &corpus }.compare(name));
    let mut comparison = Comparison::of("builds");
    let mut argued = Vec::new();
    for (name, difference) in chosen.iter().zip(differences) {
        argued.extend(ARGUED.into_iter().filter(|one| one == name && difference.is_some()));
        comparison.case(name, difference);
    }
    comparison.finish(&argued, chosen.len().max(1));
}

/// The builds that cases name as where their expectation comes from; such a case names one at least.
fn rested_on(all: &[String]) -> BTreeSet<String> {
    let mut builds = BTreeSet::new();
    for case in cases::names() {
        let Some(source) = cases::source(&case).strip_prefix("corpus: ").map(str::to_owned) else {
            continue;
        };
        let words = source.split([' ', ':', ',']);
        let named: Vec<_> = words.filter(|word| all.iter().any(|name| name == word)).collect();
        let is_plan = source.starts_with("visible.jsonl");
        assert!(is_plan == named.is_empty(), "{case} rests on no build of the corpus: {source}");
        builds.extend(named.into_iter().map(str::to_owned));
    }
    builds
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// What builds and compares.
struct Bench<'c> {
    corpus: &'c Path,
}

impl Bench<'_> {
    /// In what a build differs from the reference's.
    fn compare(&self, name: &str) -> Option<String> {
        let case = self.corpus.join("builds").join(name);
        let expected: Value =
            serde_json::from_slice(&fs::read(case.join("expect.json")).unwrap()).unwrap();
        let work = Work::new();
        let built = self.build(&case, &expected, &work);
        let said = String::from_utf8_lossy(&built.stderr).into_owned();
        let differences = match (expected.get("fails"), built.status.success()) {
            (Some(reason), true) => vec![format!("built; the reference says {reason}")],
            (Some(_), false) => other_line(&expected, &said).into_iter().collect(),
            (None, false) => vec![format!("failed with {}: {said}", built.status)],
            (None, true) => {
                let found = self.describe(&expected, &work.path("image.tar"));
                differences(&comparable(expected), &comparable(found))
            }
        };
        let more = differences.len().saturating_sub(SHOWN);
        let mut told = differences[..differences.len() - more].join("\n        ");
        if more > 0 {
            told.push_str(&format!("\n        and {more} more"));
        }
        (!differences.is_empty()).then_some(told)
    }

    fn build(&self, case: &Path, expected: &Value, work: &Work) -> Output {
        let context = work.path("context");
        fs::create_dir(&context).unwrap();
        let mut unpack = tool("tar");
        unpack.args(["--extract", "--same-permissions", "--file"]).arg(case.join("context.tar"));
        output(unpack.arg("--directory").arg(&context));
        let kiln = Kiln::at(work.path("store"));
        let mut command = kiln.command(&["build", "--no-cache", "--progress", "plain"]);
        command.env("SOURCE_DATE_EPOCH", "0");
        command.arg("--file").arg(context.join(expected["dockerfile"].as_str().unwrap()));
        let bases = self.corpus.join("base");
        for base in names(&bases) {
            let layout = bases.join(&base);
            command.arg(format!("--build-context={base}=oci-layout://{}", layout.display()));
        }
        command.arg(format!("--output=type=oci,dest={}", work.path("image.tar").display()));
        command.arg(&context).output().unwrap()
    }

    fn describe(&self, expected: &Value, image: &Path) -> Value {
        let mut command = tool("python3");
        command.arg(self.corpus.join("describe.py")).arg(image);
        let base = self.corpus.join("base").join(expected["base"].as_str().unwrap_or("scratch"));
        if base.is_dir() {
            command.arg("--base").arg(base);
        }
        serde_json::from_str(&output(&mut command)).unwrap()
    }
}

/// What a failed build points at when that is another line than the reference's: one of several, when several steps
/// fail side by side.
fn other_line(expected: &Value, said: &str) -> Option<String> {
    let line = expected["line"].as_u64()?;
    let pointed: Vec<u64> = said.lines().filter_map(pointed_line).collect();
    let other = || format!("fails at line {line}; Kiln points at {pointed:?}: {said}");
    (!pointed.contains(&line)).then(other)
}

/// The line of ` --> FILE:LINE` or ` --> FILE:LINE:COLUMN`.
fn pointed_line(text: &str) -> Option<u64> {
    let place = text.trim_start().strip_prefix("--> ")?;
    let mut parts = place.rsplit(':').map(str::parse::<u64>);
    let last = parts.next()?.ok()?;
    Some(parts.next().and_then(Result::ok).unwrap_or(last))
}

/// A description without what is not compared.
fn comparable(mut description: Value) -> Value {
    let fields = description.as_object_mut().unwrap();
    fields.remove("base");
    fields.remove("dockerfile");
    for line in fields.get_mut("history").and_then(Value::as_array_mut).into_iter().flatten() {
        let line = line.as_object_mut().unwrap();
        line.remove("comment");
        if let Some(Value::String(created_by)) = line.get_mut("created_by") {
            *created_by = created_by.trim_end_matches(MARK).to_owned();
        }
    }
    if let Some(paths) = fields.get_mut("rootfs").and_then(Value::as_object_mut) {
        for name in MOUNT_POINTS {
            let below = format!("{name}/");
            if paths.keys().all(|path| !path.starts_with(&below)) {
                paths.remove(name);
            }
        }
    }
    description
}

/// Every place where two descriptions are not the same, as `place: expected …, got …`.
fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let (mut left, mut right) = (BTreeMap::new(), BTreeMap::new());
    flatten("", expected, &mut left);
    flatten("", found, &mut right);
    let places: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let shown = |value: Option<&&Value>| value.map_or("nothing".to_owned(), |v| v.to_string());
    places
        .into_iter()
        .filter(|place| left.get(*place) != right.get(*place))
        .map(|place| {
            let (expected, got) = (shown(left.get(place)), shown(right.get(place)));
            format!("{place}: expected {expected}, got {got}")
        })
        .collect()
}

fn flatten<'v>(place: &str, value: &'v Value, into: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&format!("{place} › {name}"), value, into);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{place} [{index}]"), value, into);
            }
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => {
            into.insert(place.to_owned(), value);
        }
    }
}

#[test]
fn lines_are_read_from_what_a_build_says() {
    assert_eq!(pointed_line("  --> /a:7/Dockerfile:12:3"), Some(12));
    assert_eq!(pointed_line("   --> Dockerfile:4"), Some(4));
    assert_eq!(pointed_line("4 | RUN echo --> x:1"), None);
    let expected = serde_json::json!({"fails": "no", "line": 3});
    assert_eq!(other_line(&expected, "error: a\n --> f:2\nerror: b\n --> f:3:1\n"), None);
    assert!(other_line(&expected, "error: a\n --> f:2\n").is_some());
}

#[test]
fn only_what_counts_is_compared() {
    use serde_json::json;
    let expected = comparable(json!({
        "base": "scratch", "dockerfile": "D",
        "history": [{"created_by": "RUN x # buildkit", "comment": "buildkit.dockerfile.v0"}],
        "rootfs": {"a": {"mode": "0644"}, "sys": null},
    }));
    let found = |mode: &str| {
        comparable(json!({
            "history": [{"created_by": "RUN x"}],
            "rootfs": {"a": {"mode": mode}, "dev": {"type": "dir"}, "proc": {"type": "dir"}},
        }))
    };
    assert_eq!(differences(&expected, &found("0644")), Vec::<String>::new());
    let differing = differences(&expected, &found("0600"));
    assert_eq!(differing, [" › rootfs › a › mode: expected \"0644\", got \"0600\""]);
    let full = comparable(json!({"rootfs": {"dev": {"type": "dir"}, "dev/null": {"mode": "0"}}}));
    assert_eq!(full["rootfs"].as_object().map(|paths| paths.len()), Some(2));
}
