//! Build checks as a user meets them: with a build, with `--check`, with `--call`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A base that no registry gives: nobody listens there.
const NOWHERE: &str = "127.0.0.1:1/base";

/// What a call came to.
struct Called {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    work: TempDir,
}

impl Called {
    /// Whether an image was made.
    fn has_built(&self) -> bool {
        let index = fs::read_to_string(self.work.path().join("store/oci/index.json"));
        index.is_ok_and(|index| index.contains("sha256:"))
    }
}

/// `kiln build ARGUMENTS .` beside a Dockerfile, on a store of its own.
fn build(dockerfile: &str, arguments: &[&str]) -> Called {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("context")).unwrap();
    fs::write(work.path().join("context/Dockerfile"), dockerfile).unwrap();
    fs::write(work.path().join("context/.dockerignore"), "*.log\n").unwrap();
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .arg("build")
        .args(arguments)
        .arg(".")
        .env("KILN_ROOT", work.path().join("store"))
        .current_dir(work.path().join("context"))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Called { code: status.code(), stdout: text(stdout), stderr: text(stderr), work }
}

#[test]
fn a_build_ends_with_its_remarks() {
    let called = build("FROM scratch as base\nFROM scratch\nENV a b\n", &["--progress=plain"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert!(called.has_built());
    let (_, end) = called.stderr.split_once("2 warnings found:\n\n").unwrap();
    assert!(end.starts_with("warning[FromAsCasing]: "), "{end}");
    assert!(end.contains("warning[LegacyKeyValueFormat]: "), "{end}");
    assert!(end.contains(" --> ./Dockerfile:3:1\n"), "{end}");
}

#[test]
fn a_build_of_one_stage_tells_what_the_text_shows_of_the_others_alone() {
    let dockerfile = "FROM scratch as one\nENV a b\nFROM scratch AS two\nENV a=$b\n";
    let called = build(dockerfile, &["--progress=plain", "--target=two"]);
    assert!(called.stderr.contains("2 warnings found:"), "{}", called.stderr);
    assert!(!called.stderr.contains("LegacyKeyValueFormat"), "{}", called.stderr);
}

#[test]
fn remarks_end_a_build_where_the_file_says_so() {
    let dockerfile = "# check=error=true\nFROM scratch\nENV a b\n";
    let called = build(dockerfile, &["--progress=plain"]);
    assert_eq!(called.code, Some(3), "{}", called.stderr);
    assert!(!called.has_built());
    assert!(called.stderr.contains("error[LegacyKeyValueFormat]: "), "{}", called.stderr);
    // The build argument takes the place of the directive.
    let called = build(dockerfile, &["--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let called = build(dockerfile, &["--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip:all"]);
    assert_eq!(called.code, Some(3), "{}", called.stderr);
    assert!(called.stderr.contains("error[invalid-check]: "), "{}", called.stderr);
}

#[test]
fn rawjson_has_a_line_for_each_remark_and_each_error() {
    let last = |called: &Called| -> Value {
        let line = called.stderr.lines().next_back().unwrap();
        serde_json::from_str(line).unwrap()
    };
    let called = build("FROM scratch\nENV a b\n", &["--progress=rawjson"]);
    let told = last(&called);
    assert_eq!(told["event"], "diagnostic");
    assert_eq!(told["code"], "LegacyKeyValueFormat");
    assert_eq!(told["within"]["start"]["line"], 2);
    let called = build("FROM scratch\nCOPPY a \\\n  b\n", &["--progress=rawjson"]);
    assert_eq!(called.code, Some(3));
    let told = last(&called);
    assert_eq!((&told["level"], &told["code"]), (&"error".into(), &"unknown-instruction".into()));
    assert_eq!(told["within"]["end"]["line"], 3);
    assert_eq!(told["hints"][0], "did you mean `COPY`?");
}

#[test]
fn a_check_builds_nothing_and_fails_by_its_remarks() {
    let called = build("FROM scratch\nENV a b\nCOPY today.log /\n", &["--check"]);
    assert_eq!(called.code, Some(3), "{}", called.stderr);
    assert!(!called.has_built());
    let (head, rest) = called.stdout.split_once("\n\n").unwrap();
    assert_eq!(head, "Check complete, 2 warnings have been found!");
    assert!(rest.contains("warning[CopyIgnoredFile]: "), "{rest}");
    let called = build("FROM scratch\nENV a b\n", &["--call=check,ignorestatus=true"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let called = build("FROM scratch\nENV a=b\n", &["--check"]);
    assert_eq!(called.stdout, "Check complete, no warnings found.\n");
    assert_eq!(called.code, Some(0), "{}", called.stderr);
}

#[test]
fn a_check_of_a_refused_file_tells_its_errors_too() {
    let called = build("FROM scratch as a\nCOPPY a b\n", &["--call=check,format=json"]);
    assert_eq!(called.code, Some(3), "{}", called.stderr);
    let shown: Value = serde_json::from_str(&called.stdout).unwrap();
    assert_eq!(shown["warnings"][0]["ruleName"], "FromAsCasing");
    assert_eq!(shown["buildError"]["location"]["ranges"][0]["start"]["line"], 2);
}

#[test]
fn a_base_that_cannot_be_had_matters_only_where_a_remark_depends_on_it() {
    let called = build(&format!("FROM {NOWHERE} as a\nRUN make\n"), &["--check"]);
    assert_eq!(called.code, Some(3), "{}", called.stderr);
    assert!(called.stdout.starts_with("Check complete, 1 warning has been found!\n"));
    assert!(called.stderr.contains("no remark depends on"), "{}", called.stderr);
    let called = build(&format!("FROM {NOWHERE}\nCOPY $from /\n"), &["--check"]);
    assert_eq!(called.code, Some(5), "{}", called.stderr);
    assert!(called.stderr.contains("Dockerfile:1"), "{}", called.stderr);
    // Nobody asks for remarks on variables: the base need not be known.
    let dockerfile = format!("# check=skip=UndefinedVar\nFROM {NOWHERE}\nCOPY $from /\n");
    assert_eq!(build(&dockerfile, &["--check"]).code, Some(0));
}

#[test]
fn outlines_and_targets_fetch_nothing_that_they_do_not_need() {
    let dockerfile = format!("# a is first\nFROM {NOWHERE} AS a\nARG MODE=x\nFROM a AS b\n");
    let called = build(&dockerfile, &["--call=targets"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert!(called.stdout.contains("\na             "), "{}", called.stdout);
    assert!(called.stdout.contains("\nb (default)   "), "{}", called.stdout);
    let called = build(&dockerfile, &["--call=outline,format=json"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let shown: Value = serde_json::from_str(&called.stdout).unwrap();
    assert_eq!((&shown["name"], &shown["args"][0]["name"]), (&"b".into(), &"MODE".into()));
    let called = build("FROM scratch\nCOPPY a b\n", &["--call=outline"]);
    assert_eq!(called.code, Some(3));
}

#[test]
fn nothing_of_a_dockerfile_steers_a_terminal() {
    let hostile = "\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\r";
    let unknown = format!("FROM scratch\n{hostile}RUN x\nEXPOSE {hostile}80\n");
    let failing = format!(
        "# {hostile}\nFROM scratch AS one\nLABEL a {hostile}\nCOPY a{hostile} /\n\
         FROM scratch AS two\n# N {hostile}\nARG N=\"{hostile}\"\nCOPY --from=one / /\n"
    );
    let modes: [&[&str]; 7] = [
        &["--progress=plain"],
        &["--progress=tty"],
        &["--progress=rawjson"],
        &["--progress=quiet"],
        &["--check"],
        &["--call=check,format=json"],
        &["--call=outline"],
    ];
    for (dockerfile, is_always_told) in [(&unknown, true), (&failing, false)] {
        for arguments in modes {
            let called = build(dockerfile, arguments);
            for text in [&called.stdout, &called.stderr] {
                let steers = |ch: char| kiln_frontend::steers(ch) && !matches!(ch, '\n' | '\t');
                let found = text.chars().find(|ch| steers(*ch));
                assert_eq!(found, None, "{arguments:?}: {text:?}");
            }
            let told = called.stdout + &called.stderr;
            let is_told = told.contains("\\u001b]0;title\\u0007");
            assert!(is_told || !is_always_told, "{arguments:?}: {told}");
        }
    }
}

#[test]
fn the_error_of_the_document_is_the_one_that_other_builders_stop_at() {
    let dockerfile = "FROM scratch\nEXPOSE none\nENV A=$\nRUNN x\nENV key\n";
    let called = build(dockerfile, &["--call=check,format=json"]);
    let document: Value = serde_json::from_str(&called.stdout).unwrap();
    let line = &document["buildError"]["location"]["ranges"][0]["start"]["line"];
    assert_eq!(*line, 5, "{document:#}");
    assert_eq!(document["errors"].as_array().unwrap().len(), 3, "{document:#}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let dockerfile = "FROM scratch AS one\nRUNN x\nEXPOSE none\nFROM one\nCOPY --from=7 a b\n";
    for arguments in [&["--progress=plain"][..], &["--check"], &["--call=outline"]] {
        let called = build(dockerfile, arguments);
        assert_ne!(called.code, Some(0));
        let told = called.stdout + &called.stderr;
        let errors = told.lines().filter(|line| line.starts_with("error["));
        let codes: Vec<_> = errors.map(|line| line.split(']').next().unwrap()).collect();
        assert_eq!(
            codes,
            ["error[unknown-instruction", "error[invalid-port", "error[missing-stage"],
            "{arguments:?}: {told}"
        );
    }
}
