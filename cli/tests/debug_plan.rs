//! `kiln debug plan` as a user calls it. What plans look like is compared in `corpus.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use kiln_engine::Faulty;
use kiln_frontend::{BuildOptions, Facts, SourceText, plan, syntax_diagnostics};
use kiln_image::Platform;
use serde_json::{Value, json};

const DOCKERFILE: &str = "\
ARG BASE=busybox
FROM $BASE AS build
ARG TARGETPLATFORM VERSION=1
RUN make $VERSION
FROM scratch
COPY --from=build /out /out
";

struct Called {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

/// Calls `kiln debug plan` on a store that does not exist and may not be needed.
fn call(arguments: &[&str], config: &str, stdin: &str) -> Called {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("Dockerfile"), DOCKERFILE).unwrap();
    fs::write(work.path().join("config.json"), config).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["debug", "plan", "--assume-base", "config.json"])
        .args(arguments)
        .env("KILN_ROOT", work.path().join("store"))
        .current_dir(work.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!work.path().join("store").exists(), "nothing was needed of the store");
    let stderr = String::from_utf8(output.stderr).unwrap();
    Called { code: output.status.code(), stdout: output.stdout, stderr }
}

fn planned(arguments: &[&str]) -> Value {
    let called = call(arguments, r#"{"Env": ["PATH=/bin"], "WorkingDir": "/w"}"#, "");
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    serde_json::from_slice(&called.stdout).unwrap()
}

#[test]
fn prints_what_a_dockerfile_comes_to() {
    let arguments =
        ["--target=build", "--build-arg=VERSION=2", "--platform=linux/arm64", "Dockerfile"];
    let environment = ["PATH=/bin", "TARGETPLATFORM=linux/arm64", "VERSION=2"];
    assert_eq!(
        planned(&arguments),
        json!({
            "config": {"Env": ["PATH=/bin"], "WorkingDir": "/w"},
            "history": [
                {"created_by": "ARG TARGETPLATFORM=linux/arm64 VERSION=2", "empty_layer": true},
                {"created_by":
                    "RUN |2 TARGETPLATFORM=linux/arm64 VERSION=2 /bin/sh -c make $VERSION"},
            ],
            "platform": "linux/arm64",
            "steps": [
                {"run": {
                    "args": ["/bin/sh", "-c", "make $VERSION"], "cwd": "/w", "env": environment}},
                {"source": {"id": "docker-image://docker.io/library/busybox:latest"}},
            ],
        })
    );
    let steps = planned(&["--build-arg", "BASE=debian:13", "Dockerfile"])["steps"].clone();
    assert_eq!(steps.as_array().unwrap().len(), 3, "{steps}");
    assert_eq!(steps[0], json!({"copy": {"src": "/out", "dest": "/out"}}));
    assert_eq!(steps[2], json!({"source": {"id": "docker-image://docker.io/library/debian:13"}}));
}

#[test]
fn a_refusal_is_an_answer() {
    let whole = r#"{"architecture": "arm64", "os": "linux", "config": {"Cmd": ["x"]}}"#;
    let called = call(&["-"], whole, "FROM a\n\nRUNN make\n");
    assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));
    let printed: Value = serde_json::from_slice(&called.stdout).unwrap();
    assert_eq!(printed, json!({"error": {"line": 3, "message": "unknown instruction `RUNN`"}}));

    let called = call(&["-"], whole, "FROM a\n");
    let printed: Value = serde_json::from_slice(&called.stdout).unwrap();
    assert_eq!(printed["config"]["Cmd"], json!(["x"]));
}

#[test]
fn checks_speak_of_plans_and_refusals() {
    for (source, lint) in [
        ("FROM a as b\nENV c d\n", json!([["FromAsCasing", 1], ["LegacyKeyValueFormat", 2]])),
        ("FROM a as b\nENV c d\nRUNN e\n", json!([["FromAsCasing", 1]])),
        ("FROM a\n", Value::Null),
    ] {
        let called = call(&["-"], "{}", source);
        let printed: Value = serde_json::from_slice(&called.stdout).unwrap();
        assert_eq!(printed["lint"], lint, "{source}");
    }
}

#[test]
fn what_is_no_config_is_said() {
    let called = call(&["Dockerfile"], r#"{"Env": 7}"#, "");
    assert_eq!(called.code, Some(2));
    assert!(called.stderr.contains("`config.json` is no image config: "), "{}", called.stderr);
    assert!(call(&["nowhere"], "{}", "").stderr.contains("cannot read the Dockerfile `nowhere`"));
}

/// The first line of a refusal, where several things are wrong.
fn refused_at(source: &str) -> Value {
    let parsed = kiln_grammar::parse(source);
    let diagnostics = if parsed.errors.is_empty() {
        let options = BuildOptions::new(Platform::new("linux", "amd64", ""));
        plan(&parsed.dockerfile, source, &options, &Facts::new()).unwrap_err()
    } else {
        syntax_diagnostics(&parsed.errors)
    };
    let faulty = Faulty { source: SourceText::of_file("-", source), diagnostics };
    kiln_cli::planned::refused(&faulty)["error"]["line"].clone()
}

#[test]
fn the_line_is_that_of_the_reading_that_stops_first() {
    for (source, line) in [
        // All lines are read before any instruction, and all instructions before any word.
        ("FROM a\nRUNN x\nENV A\n", json!(3)),
        ("FROM a\nENV A='x\nRUNN x\n", json!(3)),
        ("FROM a\nUSER \"b\nVOLUME ''\\\n '\n", json!(2)),
        // An instruction's line is its first.
        ("FROM a\nRUN a \\\n  b\nCOPY --nope \\\n a b\n", json!(4)),
        // Names of images are looked at when everything else is, and then all at once.
        ("FROM a%\nFROM b%\nFROM $C\n", json!(3)),
        ("FROM a%\nFROM b%\nFROM c\n", json!(2)),
        ("FROM a%\nCOPY --from=7 x y\n", json!(2)),
        // Without a place.
        ("", Value::Null),
        ("# escape=x\nFROM a\n", Value::Null),
        ("FROM a\nCOPY --from=$b x y\n", Value::Null),
        ("ARG SOURCE_DATE_EPOCH=x\nFROM a\n", Value::Null),
        ("ARG SOURCE_DATE_EPOCH=x\nFROM a AS x\n", json!(2)),
    ] {
        assert_eq!(refused_at(source), line, "{source}");
    }
}
