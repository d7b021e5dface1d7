//! The frontend against the reference's plans of real Dockerfiles.
//!
//! The corpus is kept beside the project; where it is missing the test says so. The counts asserted at the
//! end only rise. Steps are compared as bags in the reference's terms: [`steps`] is the one place where
//! ours are translated.

#![expect(clippy::unwrap_used, reason = "a corpus of another shape fails the test")]

use kiln_frontend::{
    BuildOptions, Diagnostic, FactRequest, Facts, Plan, Planning, ResolvedImage, Rule, plan,
};
use kiln_grammar::{line_column, parse};
use kiln_image::{ImageConfig, OciDigest, Platform};
use kiln_ir::{
    CacheSharing, CopyOp, ExecOp, FileAction, Mount, MountAccess, MountKind, NetworkMode, Op,
    OwnerSpec, SourceOp, Vertex,
};
use serde_json::{Map, Value, json};

/// Cases that are equal in everything that is compared.
const EQUAL: usize = 1324;
/// Cases that differ: a stage as `SOURCE_DATE_EPOCH`, and `RUN []`, which the reference takes and then
/// fails to run.
const DIFFERING: usize = 2;

/// The config that the corpus gives to every base image.
fn base_config() -> ImageConfig {
    let mut config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    let run = &mut config.config;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    run.env = vec![path.to_owned(), "BASEENV=frombase".to_owned()];
    run.cmd = Some(vec!["/bin/basecmd".to_owned()]);
    run.working_dir = "/basewd".to_owned();
    run.labels.insert("base.label".to_owned(), "1".to_owned());
    config.rootfs.diff_ids.push(OciDigest::of(b"base"));
    config
}

/// What came of a Dockerfile.
enum Outcome {
    Planned(Box<Plan>),
    /// The lines that errors stand on, or that their instructions begin on; none for an error without a
    /// place.
    Refused(Vec<Option<usize>>),
    /// Said to be correct but beyond what Kiln does.
    NotYet(String),
}

fn outcome(source: &str) -> Outcome {
    let parsed = parse(source);
    if !parsed.errors.is_empty() {
        let lines = parsed.errors.iter().flat_map(|error| [error.span, error.within]);
        return Outcome::Refused(lines.map(|at| Some(line_column(source, at.start).0)).collect());
    }
    let options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    let mut facts = Facts::new();
    loop {
        match plan(&parsed.dockerfile, source, &options, &facts) {
            Ok(Planning::Done(plan)) => return Outcome::Planned(plan),
            Ok(Planning::Need(requests)) => {
                for FactRequest::ImageConfig { reference, platform, .. } in requests {
                    let image = ResolvedImage {
                        manifest: format!("sha256:{:064}", 0),
                        locator: reference.clone(),
                        reference: reference.clone(),
                        config: base_config(),
                    };
                    facts.insert(reference, platform, image);
                }
            }
            Err(errors) => return refused(&errors, &parsed.dockerfile.instructions, source),
        }
    }
}

fn refused(
    errors: &[Diagnostic],
    instructions: &[kiln_grammar::Instruction],
    source: &str,
) -> Outcome {
    if let Some(error) = errors.iter().find(|e| e.code == Rule::NotSupportedYet.code()) {
        return Outcome::NotYet(error.message.clone());
    }
    let line = |offset: usize| line_column(source, offset).0;
    let lines = errors.iter().flat_map(|error| {
        let Some(span) = error.span else { return vec![None] };
        let around =
            instructions.iter().filter(|i| i.span.start <= span.start && span.start <= i.span.end);
        let begin = around.map(|i| Some(line(i.span.start)));
        begin.chain([Some(line(span.start))]).collect::<Vec<_>>()
    });
    Outcome::Refused(lines.collect())
}

#[test]
fn real_dockerfiles() {
    let Some(text) = kiln_testkit::corpus("visible.jsonl") else { return };
    let (mut equal, mut not_yet, mut total) = (0, Vec::new(), 0);
    let mut differing = Vec::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = case["id"].as_str().unwrap();
        total += 1;
        match (outcome(case["dockerfile"].as_str().unwrap()), &case["expect"]["error"]) {
            (Outcome::NotYet(what), _) => not_yet.push(format!("{id}: {what}")),
            (Outcome::Planned(plan), Value::Null) => match difference(&plan, &case["expect"]) {
                None => equal += 1,
                Some(difference) => differing.push(format!("{id}: {difference}")),
            },
            (Outcome::Planned(_), error) => {
                differing.push(format!("{id}: accepted, expected {error}"))
            }
            (Outcome::Refused(lines), Value::Null) => {
                differing.push(format!("{id}: refused at {lines:?}"));
            }
            (Outcome::Refused(lines), error) => {
                let expected = error["line"].as_u64().map(|line| usize::try_from(line).unwrap());
                if expected.is_none() || lines.contains(&expected) {
                    equal += 1;
                } else {
                    differing.push(format!("{id}: refused at {lines:?}, expected {error}"));
                }
            }
        }
    }
    eprintln!(
        "{equal} equal, {} differ, {} refused as not supported yet, of {total}",
        differing.len(),
        not_yet.len()
    );
    for line in differing.iter().chain(&not_yet) {
        eprintln!("  {line}");
    }
    assert!(differing.len() <= DIFFERING, "{} differ", differing.len());
    assert!(equal >= EQUAL, "{equal} equal, {EQUAL} before");
}

/// The first thing in which a plan is not what is expected.
fn difference(plan: &Plan, expect: &Value) -> Option<String> {
    let config = serde_json::to_value(&plan.config.config).unwrap();
    let history: Vec<Value> = plan
        .history
        .iter()
        .map(|entry| {
            let mut line = Map::new();
            line.insert("created_by".to_owned(), json!(entry.created_by));
            if entry.empty_layer {
                line.insert("empty_layer".to_owned(), json!(true));
            }
            Value::Object(line)
        })
        .collect();
    // The mark at the end of a line is the reference's.
    let expected_history: Vec<Value> = list(&expect["history"])
        .map(|entry| {
            let mut entry = entry.clone();
            let text = entry["created_by"].as_str().unwrap();
            entry["created_by"] = json!(text.strip_suffix(" # buildkit").unwrap_or(text));
            entry
        })
        .collect();
    if let Some(difference) = misaligned(plan) {
        return Some(difference);
    }
    let author = plan.config.author.as_str();
    let platform = plan.platform.to_string();
    unequal("config", &prune(config), &prune(expect["config"].clone()))
        .or_else(|| {
            unequal("author", &json!(author), &json!(expect["author"].as_str().unwrap_or_default()))
        })
        .or_else(|| unequal("platform", &json!(platform), &expect["platform"]))
        .or_else(|| unequal("history", &json!(history), &json!(expected_history)))
        .or_else(|| {
            unequal(
                "steps",
                &bag(steps(plan)),
                &bag(list(&expect["steps"]).cloned().map(canonical).collect()),
            )
        })
}

/// Each vertex between the target and its source has one line in the history.
fn misaligned(plan: &Plan) -> Option<String> {
    let below = |id: &kiln_ir::OpId| plan.graph.vertex(*id).inputs.first().copied();
    let layers = std::iter::successors(Some(plan.target), below).count() - 1;
    let lines = plan.history.iter().filter(|entry| !entry.empty_layer).count();
    (layers != lines).then(|| format!("{layers} layers and {lines} lines for them"))
}

fn unequal(what: &str, actual: &Value, expected: &Value) -> Option<String> {
    if actual == expected {
        return None;
    }
    if let (Value::Array(actual), Value::Array(expected)) = (actual, expected) {
        let extra: Vec<_> = actual.iter().filter(|item| !expected.contains(item)).collect();
        let missing: Vec<_> = expected.iter().filter(|item| !actual.contains(item)).collect();
        return Some(format!("{what}: extra {}, missing {}", json!(extra), json!(missing)));
    }
    Some(format!("{what}: {actual}, expected {expected}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Empty and false members left out.
fn prune(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(_) => false,
    };
    Value::Object(sorted(members.into_iter().filter(|(_, value)| !empty(value))))
}

fn sorted(members: impl Iterator<Item = (String, Value)>) -> Map<String, Value> {
    let sorted: std::collections::BTreeMap<_, _> = members.collect();
    sorted.into_iter().collect()
}

fn bag(mut steps: Vec<Value>) -> Value {
    steps.sort_by_cached_key(Value::to_string);
    Value::Array(steps)
}

/// The reference's steps, with what it may say in two ways said in one.
fn canonical(step: Value) -> Value {
    let mut step = step;
    if let Some(run) = step.get_mut("run") {
        let mounts = list(&run["mounts"]).cloned().map(|mut mount| {
            // A target is absolute and has no slash at its end; a source of `/` is the whole.
            let target = mount["target"].as_str().unwrap_or_default();
            mount["target"] = json!(format!("/{}", target.trim_matches('/')));
            if mount["source"] == "/" || mount["source"] == "/cache" {
                mount.as_object_mut().unwrap().shift_remove("source");
            }
            prune(mount)
        });
        let mounts = bag(mounts.collect());
        run["mounts"] = mounts;
        let cwd = run["cwd"].as_str().filter(|cwd| cwd.len() > 1).unwrap_or("/").to_owned();
        run["cwd"] = json!(if cwd == "/" { &cwd } else { cwd.trim_end_matches('/') });
        *run = prune(run.take());
    }
    if let Some(copy) = step.get_mut("copy") {
        if let Some(dest) = copy["dest"]
            .as_str()
            .and_then(|dest| dest.strip_suffix('.'))
            .filter(|d| d.ends_with('/'))
        {
            copy["dest"] = json!(dest);
        }
        *copy = prune(copy.take());
    }
    if let Some(mkdir) = step.get_mut("mkdir") {
        // Ours is cleaned, and new directories are root's without being told.
        let path = mkdir["path"].as_str().unwrap().to_owned();
        if path.len() > 1 {
            mkdir["path"] = json!(path.trim_end_matches('/'));
        }
        *mkdir = prune(mkdir.take());
    }
    if let Some(mkfile) = step.get_mut("mkfile") {
        *mkfile = prune(mkfile.take());
    }
    if let Some(source) = step.get_mut("source") {
        *source = prune(source.take());
    }
    step
}

/// Our steps in the reference's terms. Copies that only make a context's files mountable are left out:
/// the reference mounts contexts themselves.
fn steps(plan: &Plan) -> Vec<Value> {
    let mut steps = Vec::new();
    for vertex in plan.graph.vertices() {
        match &vertex.op {
            Op::Source(SourceOp::Image(image)) => {
                // The reference's list leaves digests out.
                let name = image.reference.split('@').next().unwrap();
                steps.push(json!({"source": {"id": format!("docker-image://{name}")}}));
            }
            Op::Source(SourceOp::Scratch | SourceOp::Local(_)) | Op::Merge | Op::Diff => {}
            Op::Exec(exec) => {
                let caches = exec.mounts.iter().filter_map(cache_directory);
                for directory in caches {
                    if !steps.contains(&directory) {
                        steps.push(directory);
                    }
                }
                steps.push(json!({"run": run(exec)}));
            }
            Op::File(file) => {
                steps.extend(file.actions.iter().filter_map(|action| file_step(action, vertex)))
            }
        }
    }
    steps
}

fn file_step(action: &FileAction, vertex: &Vertex) -> Option<Value> {
    let preparing = vertex.meta.name.ends_with("(prepare)");
    match action {
        FileAction::Copy(_) if preparing => None,
        FileAction::Copy(copy) => Some(json!({"copy": prune(copy_step(copy))})),
        FileAction::Mkdir { path, mode, owner: given } => Some(json!({"mkdir": prune(json!({
            "path": path.as_str(), "mode": format!("{mode:04o}"), "owner": owner(given.as_ref())}))})),
        FileAction::Mkfile { path, mode, owner: given, content } => {
            Some(json!({"mkfile": prune(json!({
            "path": path.as_str(), "mode": format!("{mode:04o}"), "owner": owner(given.as_ref()),
            "text": String::from_utf8_lossy(content)}))}))
        }
    }
}

fn copy_step(copy: &CopyOp) -> Value {
    let whole = |include: &String| format!("{}/{include}", copy.source.trim_end_matches('/'));
    let required: Vec<String> = copy.include.iter().filter(|_| copy.required).map(whole).collect();
    let slash = if copy.dest_is_dir && !copy.dest.is_root() { "/" } else { "" };
    json!({
        "src": copy.source,
        "dest": format!("{}{slash}", copy.dest),
        "owner": owner(copy.owner.as_ref()),
        "mode": copy.mode.as_ref().map(|mode| match mode {
            // The reference's list leaves zero out.
            kiln_ir::ModeSpec::Octal(0) => String::new(),
            kiln_ir::ModeSpec::Octal(bits) => format!("{bits:04o}"),
            kiln_ir::ModeSpec::Symbolic(text) => text.clone(),
        }),
        "include": copy.include,
        "exclude": copy.exclude,
        "required": required,
        "unpack": copy.unpack,
    })
}

/// `user:group` as a pair; numbers as such.
fn owner(owner: Option<&OwnerSpec>) -> Value {
    let Some(OwnerSpec(text)) = owner else { return Value::Null };
    // The reference knows root's number.
    let part = |text: &str| {
        (if text == "root" { "0" } else { text })
            .parse::<u32>()
            .map_or_else(|_| json!(text), |id| json!(id))
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, part(group)),
        None => (text.as_str(), Value::Null),
    };
    json!([part(user), group])
}

fn run(exec: &ExecOp) -> Value {
    let env: Vec<String> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let network = match exec.network {
        NetworkMode::Default => "",
        NetworkMode::None => "none",
        NetworkMode::Host => "host",
    };
    let secret_env: Vec<Value> = exec.mounts.iter().filter_map(secret_variable).collect();
    let mounts = bag(exec.mounts.iter().filter_map(mount).map(prune).collect());
    prune(json!({
        "args": exec.args, "env": env, "cwd": exec.cwd.as_str(), "user": exec.user,
        "network": network, "mounts": mounts, "secret_env": secret_env,
    }))
}

fn mount(mount: &Mount) -> Option<Value> {
    let target = mount.target.as_str();
    Some(match &mount.kind {
        MountKind::Bind { source, access, .. } => json!({
            "type": "bind", "target": target, "readonly": *access == MountAccess::ReadOnly,
            "source": if source.is_root() { "" } else { source.as_str() }}),
        MountKind::Cache { id, sharing, access, seed, .. } => json!({
        "type": "cache", "target": target, "id": format!("/{id}"),
        "readonly": *access == MountAccess::ReadOnly,
        "source": seed.as_ref().map(|(_, source)| source).filter(|s| !s.is_root()).map(|s| s.as_str()),
        "sharing": match sharing {
            CacheSharing::Shared => "",
            CacheSharing::Private => "private",
            CacheSharing::Locked => "locked",
        }}),
        MountKind::Tmpfs { size_bytes } => {
            json!({"type": "tmpfs", "target": target, "size": size_bytes.map(|size| size.to_string())})
        }
        MountKind::Secret { usage, .. } if !usage.file => return None,
        MountKind::Secret { id, usage, required } => {
            let id_or_root = |number: u32| if number == 0 { Value::Null } else { json!(number) };
            json!({"type": "secret", "target": target, "id": id, "optional": !required,
                "mode": format!("{:04o}", usage.mode),
                "uid": id_or_root(usage.uid), "gid": id_or_root(usage.gid)})
        }
        MountKind::Ssh { .. } => return None,
    })
}

/// The reference makes a cache's first directory, when it is not root's plain one, in a step.
fn cache_directory(mount: &Mount) -> Option<Value> {
    match &mount.kind {
        MountKind::Cache { uid, gid, mode, seed: None, .. }
            if (*uid, *gid, *mode) != (0, 0, 0o755) =>
        {
            Some(
                json!({"mkdir": {"mode": format!("{mode:04o}"), "owner": [uid, gid], "path": "/cache"}}),
            )
        }
        MountKind::Bind { .. }
        | MountKind::Cache { .. }
        | MountKind::Tmpfs { .. }
        | MountKind::Secret { .. }
        | MountKind::Ssh { .. } => None,
    }
}

fn secret_variable(mount: &Mount) -> Option<Value> {
    let MountKind::Secret { id, usage, required } = &mount.kind else { return None };
    let name = usage.env.as_ref()?;
    Some(prune(json!({"id": id, "name": name, "optional": !required})))
}
