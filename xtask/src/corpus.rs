//! Compares Kiln with the reference on real input, which lies beside the project: plans, words and ignore files
//! by the tests that read them, and whole builds.
//!
//! What to build and what comes of it is in `../shared/corpus`; its README says how it was made. Images are
//! read by the corpus's own `describe.py`, so that no reader of Kiln's vouches for its writer. Every build has
//! a store of its own: what one leaves in a cache mount must not help the next.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::shell::{output, run, say, top};

/// Where the corpus lies, from the workspace's top.
const CORPUS: &str = "../shared/corpus";
/// How many differences of one build are shown.
const SHOWN: usize = 5;
/// Directories that runtimes leave behind where a base lacks them; the corpus leaves them out when empty.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];
/// How the reference marks its lines of the history.
const MARK: &str = " # buildkit";

/// The tests that compare tables of the corpus.
const TABLES: [&[&str]; 3] = [
    &["-p", "kiln-ir", "-p", "kiln-frontend", "--lib", "agrees_with_the_table"],
    &["-p", "kiln-cli", "--test", "corpus"],
    &["-p", "kiln-frontend", "--test", "corpus"],
];

/// How a build compares with the reference's.
enum Verdict {
    Equal,
    Differs(Vec<String>),
    NotSupportedYet,
}

/// Compares plans and tables of words and ignore files, or with `builds` whole builds: all, or those whose name
/// contains `only`.
pub(crate) fn corpus(builds: bool, only: Option<&str>) -> Result<()> {
    let top = top()?;
    let corpus = top.join(CORPUS);
    if !corpus.is_dir() {
        say(&format!("SKIPPED: {CORPUS} is not here: 0 equal, 0 differ, 0 not supported yet"));
        return Ok(());
    }
    if builds {
        return compare_builds(&top, &corpus.canonicalize()?, only.unwrap_or_default());
    }
    compare_tables(&top)
}

/// Runs the tests that read the corpus, and adds up what they compared.
fn compare_tables(top: &Path) -> Result<()> {
    let list = tempfile::NamedTempFile::new()?;
    let mut failed = Vec::new();
    for arguments in TABLES {
        let mut command = Command::new("cargo");
        command.args(["test", "--quiet", "--locked", "--no-fail-fast"]).args(arguments);
        let tests = command.env("KILN_COMPARED", list.path()).current_dir(top).output()?;
        if !tests.status.success() {
            failed
                .push(String::from_utf8_lossy(&[tests.stdout, tests.stderr].concat()).into_owned());
        }
    }
    let told = fs::read_to_string(list.path())?;
    if told.is_empty() {
        bail!("nothing was compared\n{}", failed.concat());
    }
    let sum = |word: &str| -> usize { told.lines().filter_map(|line| count(line, word)).sum() };
    let (equal, differ, not_yet) = (sum("equal"), sum("differ"), sum("not supported yet"));
    say(told.trim_end());
    say(&format!("{equal} equal, {differ} differ, {not_yet} not supported yet"));
    if !failed.is_empty() {
        bail!("differences that no decision argues for");
    }
    Ok(())
}

/// The number before a word in a line such as `words.json: 900 equal, 0 differ`.
fn count(line: &str, word: &str) -> Option<usize> {
    // Lines that are set in tell differences.
    let (_, counts) = line.split_once(": ").filter(|_| !line.starts_with(' '))?;
    counts.split(", ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
}

fn compare_builds(top: &Path, corpus: &Path, only: &str) -> Result<()> {
    // Not as it ships: here its assertions count, and not its speed.
    run(Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--package", "kiln-cli"])
        .current_dir(top))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(top.join("target"), PathBuf::from);
    let bench = Workbench { corpus, kiln: target.join("debug/kiln") };
    let cases = sorted_names(&corpus.join("builds"))?;
    let cases: Vec<_> = cases.into_iter().filter(|name| name.contains(only)).collect();
    let verdicts = bench.compare_all(&cases);
    let (mut equal, mut differ, mut unsupported) = (0, 0, 0);
    for (name, verdict) in cases.iter().zip(verdicts) {
        match verdict.with_context(|| name.clone())? {
            Verdict::Equal => equal += 1,
            Verdict::NotSupportedYet => {
                unsupported += 1;
                say(&format!("not supported yet: {name}"));
            }
            Verdict::Differs(lines) => {
                differ += 1;
                say(&format!("differs: {name}"));
                lines.iter().take(SHOWN).for_each(|line| say(&format!("    {line}")));
                if lines.len() > SHOWN {
                    say(&format!("    and {} more", lines.len() - SHOWN));
                }
            }
        }
    }
    say(&format!("{equal} equal, {differ} differ, {unsupported} not supported yet"));
    if differ > 0 {
        bail!("{differ} of {} builds differ from the reference's", cases.len());
    }
    Ok(())
}

/// What builds and compares.
struct Workbench<'a> {
    corpus: &'a Path,
    kiln: PathBuf,
}

impl Workbench<'_> {
    /// The verdicts in the order of the cases.
    fn compare_all(&self, cases: &[String]) -> Vec<Result<Verdict>> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(BTreeMap::new());
        let work = || {
            while let Some((index, name)) = take(&next, cases) {
                let verdict = self.compare(name);
                done.lock().unwrap_or_else(|e| e.into_inner()).insert(index, verdict);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        done.into_inner().unwrap_or_else(|e| e.into_inner()).into_values().collect()
    }

    fn compare(&self, name: &str) -> Result<Verdict> {
        let case = self.corpus.join("builds").join(name);
        let expected: Value = serde_json::from_slice(&fs::read(case.join("expect.json"))?)?;
        let work = tempfile::Builder::new().prefix("kiln-corpus-").tempdir()?;
        let built = self.build(&case, &expected, work.path())?;
        let said = String::from_utf8_lossy(&built.stderr).into_owned();
        if said.contains("not supported yet") {
            return Ok(Verdict::NotSupportedYet);
        }
        let differences = match (expected.get("fails"), built.status.success()) {
            (Some(reason), true) => vec![format!("built; the reference says {reason}")],
            (Some(_), false) => compare_lines(&expected, &said),
            (None, false) => vec![format!("failed with {}", built.status), said],
            (None, true) => {
                let found = self.describe(&expected, &work.path().join("image.tar"))?;
                differences(&comparable(expected), &comparable(found))
            }
        };
        Ok(if differences.is_empty() { Verdict::Equal } else { Verdict::Differs(differences) })
    }

    fn build(&self, case: &Path, expected: &Value, work: &Path) -> Result<Output> {
        let context = work.join("context");
        fs::create_dir(&context)?;
        output(
            Command::new("tar")
                .args(["--extract", "--same-permissions", "--file"])
                .arg(case.join("context.tar"))
                .arg("--directory")
                .arg(&context),
        )?;
        let dockerfile = text(expected, "dockerfile").context("no name of a Dockerfile")?;
        let mut command = Command::new(&self.kiln);
        command.args(["build", "--no-cache", "--progress", "plain"]).env("SOURCE_DATE_EPOCH", "0");
        command.arg("--root").arg(work.join("store")).arg("--file").arg(context.join(dockerfile));
        let bases = self.corpus.join("base");
        for base in sorted_names(&bases)? {
            let layout = bases.join(&base);
            command.arg("--build-context");
            command.arg(format!("{base}=oci-layout://{}", layout.display()));
        }
        command.arg(format!("--output=type=oci,dest={}", work.join("image.tar").display()));
        command.arg(&context).output().context("cannot run kiln")
    }

    fn describe(&self, expected: &Value, image: &Path) -> Result<Value> {
        let mut command = Command::new("python3");
        command.arg(self.corpus.join("describe.py")).arg(image);
        let base = self.corpus.join("base").join(text(expected, "base").unwrap_or("scratch"));
        if base.is_dir() {
            command.arg("--base").arg(base);
        }
        Ok(serde_json::from_str(&output(&mut command)?)?)
    }
}

fn take<'c>(next: &AtomicUsize, cases: &'c [String]) -> Option<(usize, &'c str)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, cases.get(index)?))
}

fn sorted_names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}

/// Compares the line that a failed build points at: one of several, when several steps fail side by side.
fn compare_lines(expected: &Value, said: &str) -> Vec<String> {
    let Some(line) = expected.get("line").and_then(Value::as_u64) else { return Vec::new() };
    let pointed: Vec<u64> = said.lines().filter_map(pointed_line).collect();
    if pointed.contains(&line) {
        return Vec::new();
    }
    vec![format!("fails at line {line}; Kiln points at {pointed:?}"), said.to_owned()]
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
    let Some(fields) = description.as_object_mut() else { return description };
    fields.remove("base");
    fields.remove("dockerfile");
    for line in fields.get_mut("history").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(line) = line.as_object_mut() else { continue };
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
    let places: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_read_from_what_a_build_says() {
        assert_eq!(pointed_line("  --> /a:7/Dockerfile:12:3"), Some(12));
        assert_eq!(pointed_line("   --> Dockerfile:4"), Some(4));
        assert_eq!(pointed_line("4 | RUN echo --> x:1"), None);
        let expected = json!({"fails": "no", "line": 3});
        assert!(compare_lines(&expected, "error: a\n --> f:2\nerror: b\n --> f:3:1\n").is_empty());
        assert_eq!(compare_lines(&expected, "error: a\n --> f:2\n").len(), 2);
    }

    #[test]
    fn counts_are_read_from_what_tests_tell() {
        let line = "words.json: 900 equal, 3 differ, 0 not supported yet";
        assert_eq!([count(line, "equal"), count(line, "differ")], [Some(900), Some(3)]);
        assert_eq!(count(line, "not supported yet"), Some(0));
        assert_eq!(count("    id: 1 equal, 2", "equal"), None);
    }

    #[test]
    fn only_what_counts_is_compared() {
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
        let full =
            comparable(json!({"rootfs": {"dev": {"type": "dir"}, "dev/null": {"mode": "0"}}}));
        assert_eq!(full["rootfs"].as_object().map(|paths| paths.len()), Some(2));
    }
}
