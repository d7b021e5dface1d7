//! Plans against golden files: `testdata/executor/plan/NAME.txt`, one line a step, the frame's first.
//!
//! `KILN_BLESS=1` rewrites them.

use std::path::{Path, PathBuf};

use kiln_ir::GuestPath;

use super::*;
use crate::{Hidden, Network, Resource, ResourceLimit, WindowSize, Writable};

fn spec() -> RunSpec {
    RunSpec {
        lowers: vec!["/layers/base".into(), "/layers/app".into()],
        upper: "/staging/upper".into(),
        work: "/staging/work".into(),
        scratch: "/staging/scratch".into(),
        process: Process {
            args: vec!["/bin/sh".into(), "-c".into(), "make".into()],
            env: vec![("PATH".into(), "/bin".into())],
            cwd: path("/src"),
            user: "app".into(),
            input: Input::Nothing,
        },
        hostname: "buildkitsandbox".into(),
        network: Network::Host,
        security: Security::Sandbox,
        mounts: Vec::new(),
        limits: Vec::new(),
        extra_hosts: Vec::new(),
        shm_size_bytes: None,
    }
}

fn facts(ids: Ids) -> HostFacts {
    HostFacts {
        ids,
        resolv_conf: b"nameserver 192.0.2.1\n".to_vec(),
        last_capability: 40,
        has_filters: false,
    }
}

fn path(text: &str) -> GuestPath {
    GuestPath::new(text).unwrap()
}

fn all_mounts() -> Vec<MountSpec> {
    let mount = |target: &str, source| MountSpec { target: path(target), source };
    let snapshot = |writable| MountSource::Snapshot {
        lowers: vec!["/layers/other".into()],
        path: path("/out"),
        writable,
    };
    let writable = Writable { upper: "/s/upper".into(), work: "/s/work".into() };
    vec![
        mount("/ro", snapshot(None)),
        mount(
            "/cache",
            MountSource::Directory { path: "/mounts/1".into(), access: Access::ReadWrite },
        ),
        mount("/rw", snapshot(Some(writable))),
        mount("/tmp", MountSource::Tmpfs { size_bytes: Some(1 << 20) }),
        mount(
            "/run/secrets/key",
            MountSource::Secret { content: Hidden(b"hush".to_vec()), mode: 0o400, uid: 1, gid: 2 },
        ),
        mount(
            "/run/agent",
            MountSource::File { path: "/run/user/agent".into(), access: Access::ReadWrite },
        ),
        mount("/dev/made-there", MountSource::Tmpfs { size_bytes: None }),
    ]
}

/// Compares a plan's steps with the golden file of that name.
fn check(name: &str, plan: &SandboxPlan) {
    let namespaces = format!("Frame {:?}\n", plan.frame.namespaces);
    let line = |step: &Step| format!("{step:?}\n");
    let (frame, steps) = (plan.frame.steps.iter().map(line), plan.steps.iter().map(line));
    let text: String = [namespaces]
        .into_iter()
        .chain(frame)
        .chain(["Command\n".to_owned()])
        .chain(steps)
        .collect();
    let golden: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/executor/plan")
        .join(format!("{name}.txt"));
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(text, expected, "differs from {}", golden.display());
}

#[test]
fn as_root() {
    check("root", &plan(&spec(), &facts(Ids::All)));
}

#[test]
fn in_a_user_namespace() {
    check("subordinate", &plan(&spec(), &facts(Ids::Mapped)));
}

#[test]
fn with_one_id() {
    check("single", &plan(&spec(), &facts(Ids::Single)));
}

#[test]
fn without_network() {
    let spec = RunSpec { network: Network::None, ..spec() };
    check("no-network", &plan(&spec, &facts(Ids::Mapped)));
}

#[test]
fn insecure() {
    let spec = RunSpec { security: Security::Insecure, ..spec() };
    check("insecure", &plan(&spec, &facts(Ids::All)));
}

#[test]
fn with_a_terminal() {
    let mut spec = spec();
    spec.process.input = Input::Terminal(WindowSize { rows: 24, columns: 80 });
    check("terminal", &plan(&spec, &facts(Ids::All)));
}

#[test]
fn with_piped_input() {
    let mut spec = spec();
    spec.process.input = Input::Pipe;
    check("pipe", &plan(&spec, &facts(Ids::All)));
}

#[test]
fn another_command_takes_the_last_steps_again() {
    let (first, facts) = (RunSpec { mounts: all_mounts(), ..spec() }, facts(Ids::All));
    let again = plan_command(&first, &facts);
    let steps = plan(&first, &facts).steps;
    let (made, command) = steps.split_at(steps.len() - again.len());
    assert_eq!((command, made.last()), (again.as_slice(), Some(&Step::Pivot)));
}

#[test]
fn every_mount() {
    let limit = ResourceLimit { resource: Resource::Nofile, soft: Some(64), hard: None };
    let spec = RunSpec { mounts: all_mounts(), limits: vec![limit], ..spec() };
    let plan = plan(&spec, &facts(Ids::All));
    check("mounts", &plan);
    for steps in [&plan.frame.steps, &plan.steps] {
        let sent = serde_json::to_vec(steps).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Step>>(&sent).unwrap(), *steps);
    }
}

#[test]
fn no_secret_is_shown() {
    let spec = RunSpec { mounts: all_mounts(), ..spec() };
    let plan = plan(&spec, &facts(Ids::All));
    let shown = format!("{spec:?} {plan:?}");
    assert!(!shown.contains("hush") && !shown.contains("104, 117"), "{shown}");
}

#[test]
fn capabilities_are_dockers() {
    assert_eq!(default_capabilities(), 0xa804_25fb);
}

#[test]
fn the_filter_of_system_calls_comes_last_before_the_user() {
    let facts = HostFacts { has_filters: true, ..facts(Ids::All) };
    let steps = plan(&spec(), &facts).steps;
    let at = steps.iter().position(|step| *step == Step::FilterSystemCalls).unwrap();
    assert_eq!(steps[at - 1], Step::NewKeyring);
    assert_eq!(steps[at + 1], Step::LeaveHost);
    assert!(matches!(steps[at + 2], Step::EnterDirectory { .. }));
    assert!(matches!(steps[at + 3], Step::BecomeUser { .. }));
    let insecure = RunSpec { security: Security::Insecure, ..spec() };
    let steps = plan(&insecure, &facts).steps;
    assert!(!steps.contains(&Step::FilterSystemCalls));
}
