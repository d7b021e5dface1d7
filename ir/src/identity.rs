//! What each op is made of: the one walk over its fields.
//!
//! Structs are taken apart without `..`, so that a new field must be put in or left out on purpose. What is
//! left out, no key moves with, and no explanation names: cache mounts' contents, secrets' values, proxy
//! variables, addresses of hosts, where a selection was made.

use crate::walk::{Label, Value, Walk};
use crate::{
    ContentHash, ContentHasher, CopyOp, DeviceRequest, ExecOp, FileAction, GitSource, HttpSource,
    ModeSpec, Mount, MountAccess, MountKind, NetworkMode, Op, SecretUse, SecurityMode, SourceOp,
};

impl Op {
    /// Shows `walk` all that the op is made of, in one fixed order, but not what it reads of its inputs.
    pub fn walk(&self, walk: &mut dyn Walk) {
        match self {
            Self::Source(source) => {
                walk.frame(0);
                source.walk(walk);
            }
            Self::Exec(exec) => {
                walk.frame(1);
                walk_exec(exec, walk);
            }
            Self::File(file) => {
                walk.frame(2);
                walk.frame(file.actions.len() as u64);
                let copies = file.actions.iter().filter(|a| matches!(a, FileAction::Copy(_)));
                let several = copies.count() > 1;
                file.actions.iter().for_each(|action| walk_action(action, several, walk));
            }
            Self::Merge => walk.frame(3),
            Self::Diff => walk.frame(4),
        }
    }
}

impl ContentHash for Op {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        self.walk(hasher);
    }
}

fn walk_exec(exec: &ExecOp, walk: &mut dyn Walk) {
    let ExecOp {
        args,
        env,
        cwd,
        user,
        hostname,
        network,
        security,
        mounts,
        proxy_env: _,
        devices,
        extra_hosts,
    } = exec;
    walk.field(Label::of("command"), Value::List(args));
    walk.frame(env.len() as u64);
    for (name, value) in env {
        walk.field(Label::named("variable", name), Value::Named(name, value));
    }
    walk.field(Label::of("working directory"), cwd.into());
    walk.field(Label::of("user"), Value::Text(user));
    walk.field(Label::of("host name"), hostname.into());
    walk.field(Label::of("network"), Value::Choice(*network as u64, network_word(*network)));
    walk.field(Label::of("security"), Value::Choice(*security as u64, security_word(*security)));
    walk.frame(mounts.len() as u64);
    mounts.iter().for_each(|mount| walk_mount(mount, walk));
    walk.frame(devices.len() as u64);
    for DeviceRequest { name, required: _ } in devices {
        walk.field(Label::named("device", name), Value::Text(name));
    }
    walk.frame(extra_hosts.len() as u64);
    for (name, _) in extra_hosts {
        walk.field(Label::named("host", name), Value::Text(name));
    }
}

fn walk_mount(mount: &Mount, walk: &mut dyn Walk) {
    let label = Label::named("mount", mount.target.as_str());
    walk.field(label, (&mount.target).into());
    let kind = label.aspect("type");
    match &mount.kind {
        // The bound path is in the input's digest: its content counts, not where it came from.
        MountKind::Bind { input, source: _, access } => {
            walk.field(kind, Value::Choice(0, "bind"));
            walk.field(label.aspect("input"), Value::Number(*input as u64));
            walk.field(label.aspect("access"), access_value(*access));
        }
        MountKind::Cache { access, .. } => {
            walk.field(kind, Value::Choice(1, "cache"));
            walk.field(label.aspect("access"), access_value(*access));
        }
        MountKind::Tmpfs { size_bytes } => {
            walk.field(kind, Value::Choice(2, "tmpfs"));
            walk.field(label.aspect("size"), Value::PerhapsNumber(*size_bytes));
        }
        MountKind::Secret { id, usage, required: _ } => {
            let SecretUse { file, env, uid, gid, mode } = usage;
            walk.field(kind, Value::Choice(3, "secret"));
            walk.field(label.aspect("id"), Value::Text(id));
            walk.field(label.aspect("file"), Value::Flag(*file));
            walk.field(label.aspect("variable"), env.into());
            walk_owner(label, [*uid, *gid, *mode], walk);
        }
        MountKind::Ssh { id, uid, gid, mode, required: _ } => {
            walk.field(kind, Value::Choice(4, "ssh"));
            walk.field(label.aspect("id"), Value::Text(id));
            walk_owner(label, [*uid, *gid, *mode], walk);
        }
    }
}

fn walk_owner(label: Label<'_>, [uid, gid, mode]: [u32; 3], walk: &mut dyn Walk) {
    walk.frame(3);
    walk.field(label.aspect("uid"), Value::Number(u64::from(uid)));
    walk.field(label.aspect("gid"), Value::Number(u64::from(gid)));
    walk.field(label.aspect("mode"), Value::Mode(mode));
}

/// `several` says whether the op has more than one copy, which are told apart by their sources then.
fn walk_action(action: &FileAction, several: bool, walk: &mut dyn Walk) {
    match action {
        FileAction::Mkdir { path, mode, owner } => {
            let label = Label::named("directory", path.as_str());
            walk.frame(0);
            walk.field(label, path.into());
            walk.field(label.aspect("mode"), Value::Mode(*mode));
            walk.field(label.aspect("owner"), owner.into());
        }
        FileAction::Mkfile { path, mode, owner, content } => {
            let label = Label::named("file", path.as_str());
            walk.frame(1);
            walk.field(label, path.into());
            walk.field(label.aspect("mode"), Value::Mode(*mode));
            walk.field(label.aspect("owner"), owner.into());
            walk.field(label.aspect("content"), Value::Bytes(content));
        }
        FileAction::Copy(copy) => {
            walk.frame(2);
            walk_copy(copy, several, walk);
        }
    }
}

fn walk_copy(copy: &CopyOp, several: bool, walk: &mut dyn Walk) {
    // What the source, its wildcards and its filters select is in the input's digest, with the names it is
    // copied under.
    let CopyOp {
        input,
        source,
        wildcard: _,
        required: _,
        dest,
        dest_is_dir,
        owner,
        mode,
        unpack,
        include: _,
        exclude: _,
        ignore: _,
    } = copy;
    let label = Label::named("copy", if several { source } else { "" });
    walk.field(label.aspect("input"), Value::Number(*input as u64));
    walk.field(label.aspect("destination"), dest.into());
    walk.field(label.aspect("destination is a directory"), Value::Flag(*dest_is_dir));
    walk.field(label.aspect("owner"), owner.into());
    walk.frame(u64::from(mode.is_some()));
    if let Some(mode) = mode {
        walk_mode(mode, label, walk);
    }
    walk.field(label.aspect("unpacking"), Value::Flag(*unpack));
}

fn walk_mode(mode: &ModeSpec, label: Label<'_>, walk: &mut dyn Walk) {
    match mode {
        ModeSpec::Octal(bits) => {
            walk.frame(0);
            walk.field(label.aspect("mode"), Value::Mode(*bits));
        }
        ModeSpec::Symbolic(text) => {
            walk.frame(1);
            walk.field(label.aspect("mode"), Value::Text(text));
        }
    }
}

impl ContentHash for ModeSpec {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        walk_mode(self, Label::of("copy"), hasher);
    }
}

impl SourceOp {
    fn walk(&self, walk: &mut dyn Walk) {
        match self {
            Self::Scratch => walk.frame(0),
            Self::Image(image) => {
                walk.frame(1);
                walk.field(Label::of("image").aspect("manifest"), Value::Text(&image.manifest));
            }
            Self::Local(local) => {
                walk.frame(2);
                walk.field(Label::of("context"), Value::Text(&local.name));
            }
            Self::Http(http) => {
                walk.frame(3);
                walk_http(http, walk);
            }
            Self::Git(git) => {
                walk.frame(4);
                walk_git(git, walk);
            }
        }
    }
}

impl ContentHash for SourceOp {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        self.walk(hasher);
    }
}

impl ContentHash for HttpSource {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        walk_http(self, hasher);
    }
}

impl ContentHash for GitSource {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        walk_git(self, hasher);
    }
}

fn walk_http(http: &HttpSource, walk: &mut dyn Walk) {
    let HttpSource { url, checksum, filename, mode, uid, gid } = http;
    let label = Label::of("download");
    walk.field(label.aspect("checksum"), checksum.into());
    if checksum.is_none() {
        walk.field(label.aspect("address"), Value::Text(url));
    }
    walk.field(label.aspect("file name"), Value::Text(filename));
    walk.frame(3);
    walk.field(label.aspect("mode"), Value::Mode(*mode));
    walk.field(label.aspect("uid"), Value::Number(u64::from(*uid)));
    walk.field(label.aspect("gid"), Value::Number(u64::from(*gid)));
}

fn walk_git(git: &GitSource, walk: &mut dyn Walk) {
    // The remote counts also beside a commit: submodules may be named relative to it.
    let GitSource { remote, reference, checksum, subdir, keep_git_dir, submodules } = git;
    let label = Label::of("repository");
    walk.field(label.aspect("address"), Value::Text(remote));
    walk.field(label.aspect("reference"), reference.into());
    walk.field(label.aspect("checksum"), checksum.into());
    walk.field(label.aspect("directory"), subdir.into());
    walk.field(label.aspect("`.git` is kept"), Value::Flag(*keep_git_dir));
    walk.field(label.aspect("submodules"), Value::Flag(*submodules));
}

const fn network_word(network: NetworkMode) -> &'static str {
    match network {
        NetworkMode::Default => "default",
        NetworkMode::None => "none",
        NetworkMode::Host => "host",
    }
}

const fn security_word(security: SecurityMode) -> &'static str {
    match security {
        SecurityMode::Sandbox => "sandbox",
        SecurityMode::Insecure => "insecure",
    }
}

const fn access_value(access: MountAccess) -> Value<'static> {
    let word = match access {
        MountAccess::ReadOnly => "read-only",
        MountAccess::ReadWrite => "read-write",
    };
    Value::Choice(access as u64, word)
}
