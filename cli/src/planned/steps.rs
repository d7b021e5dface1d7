//! The steps of a plan in the reference's terms: the one place where ours are translated.
//!
//! Where the two state a thing differently on purpose:
//! - The local context is no step. A copy that only makes a context's files mountable is none either: the
//!   reference mounts contexts themselves.
//! - A cache mount makes its own first directory; the reference has a step for it, unless it is root's plain
//!   one.
//! - The agent called `default` goes without a name.
//! - Names of images are without digests, and `root` is a number.

use kiln_frontend::Plan;
use kiln_ir::{
    CacheSharing, CopyOp, ExecOp, FileAction, ModeSpec, Mount, MountAccess, MountKind, NetworkMode,
    Op, OwnerSpec, SecurityMode, SourceOp, Vertex,
};
use serde_json::{Value, json};

use super::sources::{git_source, http_source};
use super::{bag, prune};

/// Permission bits of a cache's first directory where nothing else is asked for.
const PLAIN_DIRECTORY: u32 = 0o755;

/// The agent that is meant where none is named.
const DEFAULT_AGENT: &str = "default";

/// Everything that is done, as a bag.
pub(super) fn steps(plan: &Plan) -> Vec<Value> {
    let mut steps = Vec::new();
    for vertex in plan.graph.vertices() {
        match &vertex.op {
            Op::Source(SourceOp::Image(image)) => {
                let name = image.reference.split('@').next().unwrap_or_default();
                steps.push(json!({"source": {"id": format!("docker-image://{name}")}}));
            }
            Op::Source(SourceOp::Http(http)) => steps.push(json!({"source": http_source(http)})),
            Op::Source(SourceOp::Git(git)) => steps.push(json!({"source": git_source(git)})),
            Op::Source(SourceOp::Scratch | SourceOp::Local(_)) | Op::Merge | Op::Diff => {}
            Op::Exec(exec) => {
                for directory in exec.mounts.iter().filter_map(cache_directory) {
                    if !steps.contains(&directory) {
                        steps.push(directory);
                    }
                }
                steps.push(json!({"run": run(exec)}));
            }
            Op::File(file) => {
                steps.extend(file.actions.iter().filter_map(|action| file_step(action, vertex)));
            }
        }
    }
    bag(steps)
}

fn file_step(action: &FileAction, vertex: &Vertex) -> Option<Value> {
    let preparing = vertex.meta.name.ends_with("(prepare)");
    Some(match action {
        FileAction::Copy(_) if preparing => return None,
        FileAction::Copy(copy) => json!({"copy": copy_step(copy)}),
        FileAction::Mkdir { path, mode, owner: given } => json!({"mkdir": prune(json!({
            "path": path.as_str(), "mode": octal(*mode), "owner": owner(given.as_ref())}))}),
        FileAction::Mkfile { path, mode, owner: given, content } => json!({"mkfile": prune(json!({
            "path": path.as_str(), "mode": octal(*mode), "owner": owner(given.as_ref()),
            "text": String::from_utf8_lossy(content)}))}),
    })
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

fn copy_step(copy: &CopyOp) -> Value {
    let whole = |include: &String| format!("{}/{include}", copy.source.trim_end_matches('/'));
    let required: Vec<String> = copy.include.iter().filter(|_| copy.required).map(whole).collect();
    let slash = if copy.dest_is_dir && !copy.dest.is_root() { "/" } else { "" };
    prune(json!({
        "src": copy.source,
        "dest": format!("{}{slash}", copy.dest),
        "owner": owner(copy.owner.as_ref()),
        "mode": copy.mode.as_ref().map(|mode| match mode {
            ModeSpec::Octal(0) => String::new(),
            ModeSpec::Octal(bits) => octal(*bits),
            ModeSpec::Symbolic(text) => text.clone(),
        }),
        "include": copy.include,
        "exclude": copy.exclude,
        "required": required,
        "unpack": copy.unpack,
    }))
}

/// `user:group` as a pair; numbers as such.
fn owner(owner: Option<&OwnerSpec>) -> Value {
    let Some(OwnerSpec(text)) = owner else { return Value::Null };
    let part = |text: &str| {
        let text = if text == "root" { "0" } else { text };
        text.parse::<u32>().map_or_else(|_| json!(text), |id| json!(id))
    };
    match text.split_once(':') {
        Some((user, group)) => json!([part(user), part(group)]),
        None => json!([part(text), Value::Null]),
    }
}

fn run(exec: &ExecOp) -> Value {
    let env: Vec<String> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let network = match exec.network {
        NetworkMode::Default => "",
        NetworkMode::None => "none",
        NetworkMode::Host => "host",
    };
    prune(json!({
        "args": exec.args,
        "env": env,
        "cwd": exec.cwd.as_str(),
        "user": exec.user,
        "network": network,
        "security": match exec.security {
            SecurityMode::Sandbox => "",
            SecurityMode::Insecure => "insecure",
        },
        "mounts": bag(exec.mounts.iter().filter_map(mount).map(prune).collect()),
        "secret_env": exec.mounts.iter().filter_map(secret_variable).collect::<Vec<_>>(),
    }))
}

fn mount(mount: &Mount) -> Option<Value> {
    let target = mount.target.as_str();
    let is_read_only = |access: &MountAccess| *access == MountAccess::ReadOnly;
    Some(match &mount.kind {
        MountKind::Bind { source, access, .. } => json!({
            "type": "bind", "target": target, "readonly": is_read_only(access),
            "source": if source.is_root() { "" } else { source.as_str() }}),
        MountKind::Cache { id, sharing, access, seed, .. } => json!({
        "type": "cache", "target": target, "id": format!("/{id}"),
        "readonly": is_read_only(access),
        "source": seed.as_ref().map(|(_, source)| source)
            .filter(|source| !source.is_root()).map(|source| source.as_str()),
        "sharing": match sharing {
            CacheSharing::Shared => "",
            CacheSharing::Private => "private",
            CacheSharing::Locked => "locked",
        }}),
        MountKind::Tmpfs { size_bytes } => json!({
            "type": "tmpfs", "target": target, "size": size_bytes.map(|size| size.to_string())}),
        MountKind::Secret { usage, .. } if !usage.file => return None,
        MountKind::Secret { id, usage, required } => {
            json!({"type": "secret", "target": target, "id": id, "optional": !required,
                "mode": octal(usage.mode),
                "uid": unless_root(usage.uid), "gid": unless_root(usage.gid)})
        }
        MountKind::Ssh { id, uid, gid, mode, required } => json!({
            "type": "ssh", "target": target, "optional": !required, "mode": octal(*mode),
            "id": if id == DEFAULT_AGENT { "" } else { id },
            "uid": unless_root(*uid), "gid": unless_root(*gid)}),
    })
}

fn unless_root(id: u32) -> Value {
    if id == 0 { Value::Null } else { json!(id) }
}

fn cache_directory(mount: &Mount) -> Option<Value> {
    match &mount.kind {
        MountKind::Cache { uid, gid, mode, seed: None, .. }
            if (*uid, *gid, *mode) != (0, 0, PLAIN_DIRECTORY) =>
        {
            Some(json!({"mkdir": {"mode": octal(*mode), "owner": [uid, gid], "path": "/cache"}}))
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
