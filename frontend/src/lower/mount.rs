//! The mounts of `RUN`.

use kiln_grammar::{MountFlag, Span};
use kiln_ir::{
    CopyOp, FileAction, FileOp, GuestPath, Mount, MountAccess, MountKind, Op, SecretUse,
};

use super::mount_options::{FileInfo, Kind, MountOptions, read};
use super::{Scope, copy, not_supported_yet};
use crate::link::{Reference, resolve};
use crate::stage::Input;
use crate::{Diagnostic, MAIN_CONTEXT, Rule};

/// The build argument that keeps cache mounts of different builds apart.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";
/// Where secrets appear that name no place.
const SECRETS: &str = "/run/secrets";
/// Permission bits of a secret's file.
const SECRET_MODE: u32 = 0o400;
/// Where agents' sockets appear that name no place, but for a number.
const AGENTS: &str = "/run/buildkit/ssh_agent";
/// The agent that a mount without an `id` means.
const DEFAULT_AGENT: &str = "default";
/// Permission bits of an agent's socket.
const AGENT_MODE: u32 = 0o600;
/// Permission bits of a new cache directory.
const CACHE_MODE: u32 = 0o755;

/// Lowers one mount; what it reads is appended to `inputs`, the step's inputs from index 1 on. `sockets` is
/// the number of the step's ssh mounts before this one.
pub(super) fn lower(
    flag: &MountFlag,
    inputs: &mut Vec<Input>,
    sockets: usize,
    scope: &Scope<'_>,
) -> Result<Mount, Vec<Diagnostic>> {
    let options = read(flag, scope)?;
    let from = from(flag, scope).map_err(|error| vec![error])?;
    let lowered = match options.kind {
        Kind::Secret => secret(&options, from.as_ref(), flag.span),
        Kind::Ssh => ssh(&options, from.as_ref(), sockets, flag.span),
        Kind::Tmpfs => Ok(MountKind::Tmpfs { size_bytes: options.size_bytes.filter(|n| *n > 0) })
            .and_then(|kind| Ok(Mount { target: target(&options, flag.span, scope)?, kind })),
        Kind::Bind => bind(&options, from, flag.span, inputs, scope),
        Kind::Cache => cache(&options, from, flag.span, inputs, scope),
    };
    lowered.map_err(|error| vec![error])
}

/// What the mount's `from` stands for; the last one counts, and an empty one is none.
fn from(flag: &MountFlag, scope: &Scope<'_>) -> Result<Option<Reference>, Diagnostic> {
    let values = flag.options.iter().filter(|option| option.key.node == "from");
    let Some(word) = values.filter_map(|option| option.value.as_ref()).next_back() else {
        return Ok(None);
    };
    if word.raw.is_empty() {
        return Ok(None);
    }
    let found = resolve(&word.raw, word.span, scope.index, scope.stages, scope.options)?;
    copy::refuse_later(found, word.span, scope).map(Some)
}

fn path(base: &GuestPath, text: &str, span: Span) -> Result<GuestPath, Diagnostic> {
    GuestPath::resolve(base, text)
        .map_err(|error| Diagnostic::error(Rule::InvalidPath, span, error.to_string()))
}

/// Where the mount appears; relative to the working directory, and never the root itself.
fn target(options: &MountOptions, span: Span, scope: &Scope<'_>) -> Result<GuestPath, Diagnostic> {
    if options.target.is_empty() {
        return Err(Diagnostic::error(Rule::InvalidMount, span, "a mount needs a `target`"));
    }
    let target = path(&scope.state.cwd, &options.target, span)?;
    if target.is_root() {
        let message = "a mount cannot take the place of the root";
        return Err(Diagnostic::error(Rule::InvalidMount, span, message));
    }
    Ok(target)
}

fn bind(
    options: &MountOptions,
    from: Option<Reference>,
    span: Span,
    inputs: &mut Vec<Input>,
    scope: &Scope<'_>,
) -> Result<Mount, Diagnostic> {
    let target = target(options, span, scope)?;
    let source = path(&GuestPath::root(), &options.source, span)?;
    let from = from.unwrap_or_else(|| Reference::Context(MAIN_CONTEXT.to_owned()));
    inputs.push(readable(from, &source, scope));
    let access = match options.read_only {
        Some(false) => MountAccess::ReadWrite,
        Some(true) | None => MountAccess::ReadOnly,
    };
    Ok(Mount { target, kind: MountKind::Bind { input: inputs.len(), source, access } })
}

fn cache(
    options: &MountOptions,
    from: Option<Reference>,
    span: Span,
    inputs: &mut Vec<Input>,
    scope: &Scope<'_>,
) -> Result<Mount, Diagnostic> {
    let target = target(options, span, scope)?;
    let id = if options.id.is_empty() { clean(&options.target) } else { options.id.clone() };
    let id = match scope.options.build_args.get(CACHE_NAMESPACE) {
        Some(namespace) => format!("{namespace}/{id}"),
        None => id,
    };
    let source = path(&GuestPath::root(), &options.source, span)?;
    let seed = match from {
        None | Some(Reference::Scratch) if source.is_root() => None,
        None | Some(Reference::Scratch) => {
            return Err(not_supported_yet("a cache mount with a `source` and no `from`", span));
        }
        Some(from) => {
            inputs.push(readable(from, &source, scope));
            Some((inputs.len(), source))
        }
    };
    let FileInfo { mode, uid, gid } = options.file;
    let kind = MountKind::Cache {
        id,
        sharing: options.sharing.unwrap_or_default(),
        seed,
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
        mode: mode.unwrap_or(CACHE_MODE),
        access: match options.read_only {
            Some(true) => MountAccess::ReadOnly,
            Some(false) | None => MountAccess::ReadWrite,
        },
    };
    Ok(Mount { target, kind })
}

fn secret(
    options: &MountOptions,
    from: Option<&Reference>,
    span: Span,
) -> Result<Mount, Diagnostic> {
    if from.is_some() {
        return Err(Diagnostic::error(Rule::InvalidMount, span, "a secret has no `from`"));
    }
    let last = |path: &str| path.rsplit('/').find(|part| !part.is_empty()).map(str::to_owned);
    let id = [&options.source, &options.id].into_iter().find(|text| !text.is_empty()).cloned();
    let id = id.or_else(|| last(&options.target)).ok_or_else(|| {
        Diagnostic::error(Rule::InvalidMount, span, "a secret needs an `id` or a `target`")
    })?;
    let given = Some(&options.target).filter(|target| !target.is_empty());
    let default = format!("{SECRETS}/{}", last(&id).unwrap_or_default());
    // Unlike other mounts' targets, a secret's is relative to the root.
    let target = path(&GuestPath::root(), given.unwrap_or(&default), span)?;
    let FileInfo { mode, uid, gid } = options.file;
    let usage = SecretUse {
        file: given.is_some() || options.env.is_none(),
        env: options.env.clone(),
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
        mode: mode.unwrap_or(SECRET_MODE),
    };
    Ok(Mount { target, kind: MountKind::Secret { id, usage, required: options.required } })
}

fn ssh(
    options: &MountOptions,
    from: Option<&Reference>,
    sockets: usize,
    span: Span,
) -> Result<Mount, Diagnostic> {
    let refused = |what| Err(Diagnostic::error(Rule::InvalidMount, span, what));
    if from.is_some() {
        return refused("an ssh agent has no `from`");
    }
    if !options.source.is_empty() {
        return refused("an ssh agent has no `source`; name it by its `id`");
    }
    let default = format!("{AGENTS}.{sockets}");
    let given = Some(&options.target).filter(|target| !target.is_empty());
    let FileInfo { mode, uid, gid } = options.file;
    let id = if options.id.is_empty() { DEFAULT_AGENT } else { &options.id };
    let kind = MountKind::Ssh {
        id: id.to_owned(),
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
        mode: mode.unwrap_or(AGENT_MODE),
        required: options.required,
    };
    // As a secret's, its target is relative to the root.
    Ok(Mount { target: path(&GuestPath::root(), given.unwrap_or(&default), span)?, kind })
}

/// A filesystem to mount from. Contexts are read by copies only, so what is wanted of one is copied to
/// the same place of an empty filesystem first.
fn readable(from: Reference, source: &GuestPath, scope: &Scope<'_>) -> Input {
    let Reference::Context(name) = from else { return Input::Named(from) };
    let copy = CopyOp {
        input: 1,
        source: source.as_str().to_owned(),
        wildcard: false,
        required: true,
        dest: source.clone(),
        dest_is_dir: false,
        owner: None,
        mode: None,
        unpack: false,
        include: Vec::new(),
        exclude: Vec::new(),
        ignore: scope.ignore_of(&name),
    };
    let op = Op::File(FileOp { actions: vec![FileAction::Copy(copy)] });
    Input::Prepared(Box::new(op), vec![Input::Named(Reference::Context(name))])
}

/// A path's shortest form, relative ones staying so.
fn clean(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if text.starts_with('/') => {}
            name => parts.push(name),
        }
    }
    let root = if text.starts_with('/') { "/" } else { "" };
    match (root, parts.is_empty()) {
        ("", true) => ".".to_owned(),
        _ => format!("{root}{}", parts.join("/")),
    }
}
