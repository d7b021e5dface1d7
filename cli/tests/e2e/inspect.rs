//! Looking into the steps of builds that are over.

use serde_json::Value;

use super::support::build::Kiln;
use super::support::{Work, bases};

const DOCKERFILE: &str = "FROM base AS made
RUN echo one > /one && ln -s one /link && mkdir -m 0700 /dir && touch \"/dir/$(printf 'a\\033[2Jb')\"
RUN echo more >> /one && rm -r /dir /link
FROM made
COPY --chown=7:8 a /copied
";

#[test]
fn what_a_step_changed_is_listed() {
    let work = Work::new();
    let Some(base) = bases::busybox() else { return };
    let kiln = Kiln::at(work.path("store"));
    let context = work.context("context", DOCKERFILE);
    work.write("context/a", "content");
    kiln.build(&context).layout("base", &base).run();
    kiln.build(&context).layout("base", &base).run();
    let diff = |arguments: &[&str]| kiln.print(&[&["diff"], arguments].concat());
    let first = "A /dir\nA /dir/a\\x1b[2Jb\nA /link\nA /one\n";
    assert_eq!(diff(&["made 2/3"]), first);
    assert_eq!(diff(&["^1", ":2"]), first);
    assert_eq!(diff(&["[made 3/3]"]), "D /dir\nD /link\nC /one\n");
    let long = diff(&["--long", "made 2/3"]);
    assert!(long.starts_with("A d0700         0:0            - /dir\n"), "{long}");
    assert!(long.contains("A l0777         0:0            - /link -> one\n"), "{long}");
    let lines: Vec<Value> = (diff(&["made 3/3", "--format=json"]).lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((&lines[1]["Kind"], &lines[1]["Before"]["Target"]), (&"D".into(), &"one".into()));
    assert_eq!((&lines[2]["Before"]["Size"], &lines[2]["After"]["Size"]), (&4.into(), &9.into()));
    let copied = diff(&["Dockerfile:5", "--long"]);
    assert!(copied.ends_with("A -0644         7:8            7 /copied\n"), "{copied}");
    let failed = kiln.command(&["diff", "made 4/3"]).output().unwrap();
    let told = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(4), "{told}");
    assert!(told.contains("the build has no step `made 4/3`"), "{told}");
    assert!(told.contains("did you mean"), "{told}");
    work.assert_no_mounts();
}

#[test]
fn what_was_collected_is_told() {
    let work = Work::new();
    let Some(base) = bases::busybox() else { return };
    let kiln = Kiln::at(work.path("store"));
    let context = work.context("context", "FROM base\nRUN echo one > /one\n");
    kiln.build(&context).layout("base", &base).arg("--output=type=cacheonly").run();
    kiln.print(&["builder", "prune", "--all", "--force"]);
    let failed = kiln.command(&["diff", ":2"]).output().unwrap();
    let told = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(4), "{told}");
    assert!(
        told.contains("after the step `[2/2] RUN echo one > /one` is not in the store"),
        "{told}"
    );
}
