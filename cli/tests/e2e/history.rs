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
    let metadata = work.path("metadata");
    for _ in 0..2 {
        let build = kiln.build(&context).layout("base", &base).tag("example/app");
        build.arg(format!("--metadata-file={}", metadata.display())).run();
    }
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    let id = metadata["buildx.build.ref"].as_str().unwrap();
    assert!(work.path("store/builds").join(id).is_dir(), "{id}");
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

/// What a call prints on standard output and standard error, and its exit code.
fn call(kiln: &Kiln, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = kiln.command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn json(kiln: &Kiln, arguments: &[&str]) -> Value {
    serde_json::from_str(&kiln.print(arguments)).unwrap()
}

#[test]
fn past_builds_are_shown() {
    let work = Work::new();
    let Some((kiln, base)) = kiln(&work) else { return };
    let dockerfile = "FROM base AS one\nRUN echo slow && sleep 0.3\n\
        FROM base\nRUN echo fast\nCOPY --from=one /bin /copied\n";
    let context = work.context("app", dockerfile);
    kiln.build(&context).layout("base", &base).arg("--build-arg=A=1").run();
    kiln.build(&context).layout("base", &base).run();
    let failing = work.context("broken", "FROM base\nRUN echo why >&2; exit 3\n");
    kiln.build(&failing).layout("base", &base).fails(1);

    let table = kiln.print(&["history", "ls"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("BUILD ID"), "{table}");
    for (line, name, status) in [
        (lines[1], "broken", "Error"),
        (lines[2], "app", "Completed"),
        (lines[3], "app", "Completed"),
    ] {
        assert!(line.contains(name) && line.contains(status), "{table}");
    }
    let failed = kiln.print(&["history", "ls", "--filter", "status=error", "--format", "json"]);
    assert_eq!(failed.lines().count(), 1);

    let shown = kiln.print(&["history", "inspect", "^2"]);
    for part in ["Name:", "BUILD ARG", "RUN echo slow", "CRITICAL PATH", "(0% cached)"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let critical = shown.split("CRITICAL PATH").nth(1).unwrap();
    assert!(critical.contains("echo slow") && !critical.contains("echo fast"), "{shown}");
    let first = json(&kiln, &["history", "inspect", "^2", "--format", "json"]);
    let second = json(&kiln, &["history", "inspect", "^1", "--format", "json"]);
    assert_eq!(
        (&first["NumCachedSteps"], &first["BuildArgs"][0]["Value"]),
        (&0.into(), &"1".into())
    );
    assert!(second["NumCachedSteps"].as_u64() > Some(3), "{second:#}");
    let last = json(&kiln, &["history", "inspect", "--format", "json"]);
    let fault = &last["Error"]["Faults"][0];
    assert_eq!((&fault["Line"], &fault["Logs"][0]), (&2.into(), &"why".into()), "{last:#}");
    let text = kiln.print(&["history", "inspect"]);
    assert!(text.contains("2 | RUN echo why >&2; exit 3"), "{text}");

    let id = last["Ref"].as_str().unwrap();
    let short = json(&kiln, &["history", "inspect", &id[..12], "--format", "json"]);
    assert_eq!(short, last);
    let wrong = format!("{}!", &id[..12]);
    let (_, error, code) = call(&kiln, &["history", "inspect", &wrong]);
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains(&format!("did you mean `{id}`?")), "{error}");
    let (_, error, _) = call(&kiln, &["history", "inspect", &id[..1]]);
    assert!(error.contains("several builds"), "{error}");
    let (_, error, _) = call(&kiln, &["history", "logs", "^7"]);
    assert!(error.contains("3 builds are recorded"), "{error}");
}

#[test]
fn logs_are_those_of_the_build() {
    let work = Work::new();
    let Some((kiln, base)) = kiln(&work) else { return };
    let dockerfile =
        "FROM base\nRUN for i in 1 2 3; do echo line $i; printf '\\377%s' $i >&2; done\n";
    let context = work.context("context", dockerfile);
    let layout = format!("--build-context=base=oci-layout://{}", base.display());
    let path = context.to_str().unwrap();
    for progress in ["rawjson", "plain"] {
        let progress = format!("--progress={progress}");
        let arguments = ["build", "--no-cache", &layout, &progress, path];
        let (_, live, _) = call(&kiln, &arguments);
        assert!(live.contains("line 3") || live.contains("\"output\""), "{live}");
        let (replayed, notes, _) = call(&kiln, &["history", "logs", &progress]);
        // Of the notes of progress not all are kept.
        let kept = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.contains("\"progress\""));
            lines.map(str::to_owned).collect()
        };
        assert_eq!((kept(&replayed), notes.as_str()), (kept(&live), ""));
    }
}

#[test]
fn records_go_to_other_machines() {
    let work = Work::new();
    let Some((kiln, base)) = kiln(&work) else { return };
    let context = work.context("context", "FROM base\nRUN echo made\n");
    for _ in 0..2 {
        kiln.build(&context).layout("base", &base).run();
    }
    let archive = work.path("builds.kiln");
    let archive = archive.to_str().unwrap();
    kiln.print(&["history", "export", "--all", "-o", archive]);
    let other = Kiln::at(work.path("other"));
    assert_eq!(other.print(&["history", "import", "-f", archive]).lines().count(), 2);
    assert_eq!(other.print(&["history", "import", "-f", archive]), "", "they are there");
    for build in ["^0", "^1"] {
        let arguments = ["history", "inspect", build, "--format", "json"];
        assert_eq!(json(&other, &arguments), json(&kiln, &arguments));
    }
    assert_eq!(other.print(&["history", "rm", "^0", "^1"]).lines().count(), 2);
    assert_eq!(other.print(&["history", "ls"]).lines().count(), 1);
    assert_eq!(fs::read_dir(work.path("other/builds")).unwrap().count(), 0);
    // What is no record stays out.
    work.write("bad/builds/1m819v6f4h4k9/events", "{\"line\":\"origin\"}\n");
    let bad = work.write("bad.tar.gz", super::support::tar(&work, "bad", "gzip"));
    let (_, error, code) = call(&other, &["history", "import", "-f", bad.to_str().unwrap()]);
    assert!(error.contains("does not begin as one") && code == Some(6), "{code:?} {error}");
    assert_eq!(fs::read_dir(work.path("other/builds")).unwrap().count(), 0);
}

#[test]
fn what_runs_is_listed_and_stays() {
    let work = Work::new();
    let Some((kiln, base)) = kiln(&work) else { return };
    let mut child = endless(&work, &kiln, &base);
    let list = kiln.print(&["history", "ls"]);
    assert!(list.lines().nth(1).unwrap().contains("Running"), "{list}");
    let (logs, notes, _) = call(&kiln, &["history", "logs"]);
    assert!(logs.contains("begun") && notes.contains("is running"), "{logs}{notes}");
    let (_, error, code) = call(&kiln, &["history", "rm", "^0"]);
    assert!(error.contains("is running") && code == Some(2), "{error}");
    kiln.print(&["history", "rm", "--all"]);
    kiln.print(&["builder", "prune", "--all", "--force"]);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let list = kiln.print(&["history", "ls"]);
    assert!(list.lines().nth(1).unwrap().contains("Killed"), "{list}");
    let (shown, notes, _) = call(&kiln, &["history", "inspect"]);
    assert!(shown.contains("RUNNING") && notes.contains("was killed"), "{shown}{notes}");
    kiln.print(&["history", "rm", "--all"]);
    assert_eq!(kiln.print(&["history", "ls"]).lines().count(), 1);
}

#[test]
fn a_build_is_a_trace_for_viewers() {
    let work = Work::new();
    let Some((kiln, base)) = kiln(&work) else { return };
    let dockerfile = "FROM base AS one\nRUN sleep 0.2\nFROM base\nRUN sleep 0.2; echo x\nCOPY --from=one /bin /b\n";
    let context = work.context("context", dockerfile);
    kiln.build(&context).layout("base", &base).arg("--jobs=2").run();
    let trace = json(&kiln, &["history", "trace"]);
    let events = trace["traceEvents"].as_array().unwrap();
    let complete: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
    let step = |part: &str| {
        complete.iter().find(|event| event["name"].as_str().unwrap().contains(part)).unwrap()
    };
    let (left, right) = (step("sleep 0.2; echo"), step("[one 2/2]"));
    assert_ne!(left["tid"], right["tid"], "they ran at the same time");
    assert!(left["dur"].as_u64() > Some(190_000), "{left}");
    assert_eq!(left["args"]["key"].as_str().unwrap().len(), 64);
    assert_eq!((&left["args"]["state"], &left["args"]["line"]), (&"done".into(), &4.into()));
    // Nothing of one row overlaps.
    for event in &complete {
        let (start, row) = (event["ts"].as_u64().unwrap(), &event["tid"]);
        let end = start + event["dur"].as_u64().unwrap();
        let others = complete.iter().filter(|other| other["args"]["task"] != event["args"]["task"]);
        for other in others.filter(|other| &other["tid"] == row) {
            let other_start = other["ts"].as_u64().unwrap();
            let other_end = other_start + other["dur"].as_u64().unwrap();
            assert!(other_start >= end || other_end <= start, "{event} {other}");
        }
    }
}

/// Takes one request, answers that all is well, and gives the request's head and body.
fn collector(answer: &'static str) -> (String, thread::JoinHandle<(String, Vec<u8>)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let handle = thread::spawn(move || {
        use std::io::{BufRead as _, Read as _, Write as _};
        let (stream, _) = listener.accept().unwrap();
        let mut reader = std::io::BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
        (head, body)
    });
    (address, handle)
}

#[test]
fn a_build_is_a_trace_for_collectors() {
    const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nwhat";
    let work = Work::new();
    let Some((kiln, base)) = kiln(&work) else { return };
    let context = work.context("context", "FROM base\nRUN echo one\nRUN exit 7\n");
    kiln.build(&context).layout("base", &base).fails(1);
    let (endpoint, collected) = collector(TAKEN);
    let mut command = kiln.command(&["history", "trace", "--otlp", &endpoint]);
    let output = command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (head, body) = collected.join().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    for header in ["content-type: application/json", "x-key: abc"] {
        assert!(head.to_lowercase().contains(header), "{head}");
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    let resource = &request["resourceSpans"][0];
    let service = &resource["resource"]["attributes"];
    assert!(service.to_string().contains("\"kiln\""), "{service}");
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let named = |part: &str| {
        spans.iter().find(|span| span["name"].as_str().unwrap().contains(part)).unwrap()
    };
    let (build, one, failed) = (named("build context"), named("echo one"), named("exit 7"));
    let nanos = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    for span in spans {
        assert_eq!(span["traceId"], build["traceId"]);
        assert!(nanos(span, "startTimeUnixNano") >= nanos(build, "startTimeUnixNano"), "{span}");
        assert!(nanos(span, "endTimeUnixNano") <= nanos(build, "endTimeUnixNano"), "{span}");
    }
    assert_eq!(one["parentSpanId"], build["spanId"]);
    assert_eq!(failed["links"][0]["spanId"], one["spanId"]);
    assert_eq!((&failed["status"]["code"], &build["status"]["code"]), (&2.into(), &2.into()));
    let key =
        one["attributes"].as_array().unwrap().iter().find(|one| one["key"] == "kiln.step.key");
    assert_eq!(key.unwrap()["value"]["stringValue"].as_str().unwrap().len(), 64);
    // The same as a file; ids are those of the build.
    let file = json(&kiln, &["history", "trace", "--format", "otlp"]);
    assert_eq!(file, request);

    let (endpoint, collected) = collector(REFUSED);
    let (_, error, code) = call(&kiln, &["history", "trace", "--otlp", &endpoint]);
    collected.join().unwrap();
    assert!(error.contains("could not be sent") && error.contains("400"), "{error}");
    assert_eq!(code, Some(5), "{error}");
}
