//! Plans of real Dockerfiles against the reference's.
//!
//! The corpus is kept beside the project; where it is missing the test says so. Compared is what `kiln debug
//! plan` prints. What the reference may say in two ways is said in one by [`canonical`].

#![expect(clippy::unwrap_used, reason = "a corpus of another shape fails the test")]

use std::iter::successors;

use kiln_cli::planned::{accepted, bag, base_config, prune, refused};
use kiln_engine::{Bases, DockerfileSource, EngineError, PlanRequest, plan_only};
use kiln_frontend::Plan;
use kiln_image::Platform;
use kiln_testkit::Comparison;
use serde_json::{Value, json};

/// The config that the corpus gives to every base image.
const BASE: &str = r#"{
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "BASEENV=frombase"],
    "Cmd": ["/bin/basecmd"],
    "WorkingDir": "/basewd",
    "Labels": {"base.label": "1"}
}"#;

/// Cases that differ, and ADR 0008 says why.
const ARGUED: [&str; 2] = [
    "moby+moby/docker_cli_build_test.TestBuildJSONEmptyRun.57.Dockerfile",
    "moby+buildkit/dockerfile_rundevice_test.testDeviceRunEnv.44.Dockerfile",
];

/// How the mark at the end of the reference's lines of the history reads.
const MARK: &str = " # buildkit";

#[test]
fn real_dockerfiles() {
    let Some(text) = kiln_testkit::corpus("visible.jsonl") else { return };
    let bases = Bases::Assumed(Box::new(base_config(BASE.as_bytes()).unwrap()));
    let mut comparison = Comparison::of("visible.jsonl");
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let request = PlanRequest {
            dockerfile: DockerfileSource::Text(case["dockerfile"].as_str().unwrap().to_owned()),
            target: None,
            build_args: Default::default(),
            platform: Platform::new("linux", "amd64", ""),
        };
        let found = match plan_only(&request, &bases) {
            Ok(plan) => Ok(plan),
            Err(EngineError::Dockerfile(faulty)) => Err(refused(&faulty)),
            Err(error) => panic!("{}: {error}", case["id"]),
        };
        if let Err(refusal) = &found
            && refusal["error"]["message"].as_str().unwrap().ends_with("is not supported yet")
        {
            comparison.not_yet();
            continue;
        }
        let difference = match (&found, &case["expect"]) {
            (Err(found), expected) => different_refusal(found, expected),
            (Ok(plan), expected) => {
                misaligned(plan).or_else(|| different(accepted(plan), expected))
            }
        };
        comparison.case(case["id"].as_str().unwrap(), difference);
    }
    comparison.finish(&ARGUED, 1_300);
}

fn different_refusal(found: &Value, expected: &Value) -> Option<String> {
    let (found, expected) = (&found["error"], &expected["error"]);
    if expected.is_null() {
        return Some(format!("refused: {found}"));
    }
    (found["line"] != expected["line"]).then(|| format!("{found}, expected {expected}"))
}

fn different(found: Value, expected: &Value) -> Option<String> {
    if !expected["error"].is_null() {
        return Some(format!("accepted, expected {}", expected["error"]));
    }
    let expected = canonical(expected.clone());
    let keys = ["config", "author", "platform", "history", "steps"];
    keys.into_iter().find_map(|key| unequal(key, &found[key], &expected[key]))
}

fn unequal(what: &str, found: &Value, expected: &Value) -> Option<String> {
    if found == expected {
        return None;
    }
    if let (Value::Array(found), Value::Array(expected)) = (found, expected) {
        let extra: Vec<_> = found.iter().filter(|item| !expected.contains(item)).collect();
        let missing: Vec<_> = expected.iter().filter(|item| !found.contains(item)).collect();
        return Some(format!("{what}: extra {}, missing {}", json!(extra), json!(missing)));
    }
    Some(format!("{what}: {found}, expected {expected}"))
}

/// Each vertex between the target and its source has one line in the history.
fn misaligned(plan: &Plan) -> Option<String> {
    let below = |id: &kiln_ir::OpId| plan.graph.vertex(*id).inputs.first().copied();
    let layers = successors(Some(plan.target), below).count() - 1;
    let lines = plan.history.iter().filter(|entry| !entry.empty_layer).count();
    (layers != lines).then(|| format!("{layers} layers and {lines} lines for them"))
}

/// The reference's plan, with what it may say in two ways said in one.
fn canonical(mut plan: Value) -> Value {
    plan["config"] = prune(plan["config"].take());
    for line in list(&mut plan["history"]) {
        let text = line["created_by"].as_str().unwrap();
        line["created_by"] = json!(text.strip_suffix(MARK).unwrap_or(text));
    }
    let steps: Vec<Value> =
        list(&mut plan["steps"]).map(|step| canonical_step(step.take())).collect();
    plan["steps"] = json!(bag(steps));
    prune(plan)
}

fn list(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}

fn canonical_step(mut step: Value) -> Value {
    let members = step.as_object_mut().unwrap();
    for (kind, step) in members.iter_mut() {
        match kind.as_str() {
            "run" => canonical_run(step),
            // A directory's own dot says nothing.
            "copy" => {
                if let Some(dest) = step["dest"].as_str().filter(|dest| dest.ends_with("/.")) {
                    step["dest"] = json!(dest.trim_end_matches('.'));
                }
            }
            "source" => step["attrs"] = prune(step["attrs"].take()),
            // A directory is one without a slash at its end, too.
            "mkdir" => {
                let path = step["path"].as_str().unwrap().trim_end_matches('/').to_owned();
                step["path"] = json!(if path.is_empty() { "/" } else { &path });
            }
            _ => {}
        }
        *step = prune(step.take());
    }
    step
}

fn canonical_run(run: &mut Value) {
    let mounts = list(&mut run["mounts"]).map(|mount| {
        // A target is absolute and has no slash at its end; a source of `/` is the whole.
        let target = mount["target"].as_str().unwrap_or_default();
        mount["target"] = json!(format!("/{}", target.trim_matches('/')));
        if mount["source"] == "/" || mount["source"] == "/cache" {
            mount["source"] = Value::Null;
        }
        if mount["type"] == "ssh" && mount["id"] == "default" {
            mount["id"] = Value::Null;
        }
        prune(mount.take())
    });
    let mounts = bag(mounts.collect());
    run["mounts"] = json!(mounts);
    let cwd = run["cwd"].as_str().unwrap_or("/").trim_end_matches('/');
    run["cwd"] = json!(if cwd.is_empty() { "/" } else { cwd });
}
