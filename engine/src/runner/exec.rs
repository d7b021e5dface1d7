//! RUN: a command in a sandbox, committed as a layer.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_cache::layer::Staging;
use kiln_cache::{CacheMountGuard, CacheMountSpec, LayerRef, Snapshot};
use kiln_executor::{
    Access, Attachment, Cancel as RunCancel, Exit, Input, Left, MountSource, MountSpec, Network,
    Process, RunSpec, Sandboxes, Security, Upcoming, Writable,
};
use kiln_frontend::RunOptions;
use kiln_ir::{
    CacheSharing, Digest, ExecOp, Graph, GuestPath, Mount, MountAccess, MountKind, NetworkMode, Op,
    SecretUse, SecurityMode, Vertex,
};
use kiln_solver::{Cancel, Report, Stream};

use super::agent::{AgentRelay, SocketMeta};
use super::kept::{KeptRoots, RootKey};
use super::{Runner, Value};
use crate::build::Supplies;
use crate::devices::{self, DeviceEdits};
use crate::inspect::{FailedCommand, FailedSandbox};
use crate::transfer::Transfer;
use crate::{Engine, EngineError};

/// The host name that BuildKit gives its sandboxes; programs record it in what they build.
const HOSTNAME: &str = "buildkitsandbox";

/// What a command's mounts come to on this machine.
#[derive(Default)]
struct Prepared {
    mounts: Vec<MountSpec>,
    env: Vec<(String, String)>,
    /// Held until the command has ended.
    _caches: Vec<CacheMountGuard>,
    agents: Vec<AgentRelay>,
}

/// A cache mount, to be taken once for all mounts of a command that name it.
struct WantedCache<'a> {
    spec: CacheMountSpec,
    seed: &'a Option<(usize, GuestPath)>,
}

/// What runs the commands of one build.
#[derive(Debug)]
pub(super) struct Commands {
    sandboxes: Sandboxes,
    /// How many vertices may still turn out to be commands to run.
    left: AtomicUsize,
    kept: KeptRoots,
}

impl Commands {
    /// For all commands of a graph.
    pub(super) fn of(graph: &Graph, sandboxes: Sandboxes) -> Self {
        let commands = graph.vertices().iter().filter(|vertex| matches!(vertex.op, Op::Exec(_)));
        Self { sandboxes, left: AtomicUsize::new(commands.count()), kept: KeptRoots::default() }
    }

    /// Strikes one off: it runs now, or its layer is there already.
    pub(super) fn one_less(&self) -> Upcoming {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            0 | 1 => Upcoming::Nothing,
            _ => Upcoming::Another,
        }
    }
}

impl Runner<'_> {
    /// Runs the command; answers the layer that it made.
    pub(super) fn execute(
        &self,
        (vertex, op): (&Vertex, &ExecOp),
        inputs: &[Value],
        report: &dyn Report,
        cancel: &Cancel,
    ) -> Result<LayerRef, EngineError> {
        let root = inputs[0].snapshot();
        let surroundings = self.surroundings();
        let layers = inputs.iter().map(|input| surroundings.layers(input.snapshot()));
        let key = RootKey::new(op, layers.collect());
        // The root is let go before its directories, whatever happens.
        let (staging, kept) = match self.commands.kept.take(&key) {
            Some((kept, staging)) => (staging, Some(kept)),
            None => (self.engine.layers.stage()?, None),
        };
        let prepared = surroundings.prepare(op, inputs, &staging, cancel)?;
        let spec = surroundings.spec(op, root, &staging, &prepared);
        let asked = cancel.clone();
        let mut tail = Tail::default();
        let running = self.commands.sandboxes.start(&spec, kept)?;
        let upcoming = self.commands.one_less();
        if upcoming == Upcoming::Another {
            // While this process would only wait.
            self.engine.layers.stage_ahead();
        }
        let (exit, left) = running.finish(
            upcoming,
            &mut |stream, bytes| {
                tail.add(bytes);
                report.output(stream_of(stream), bytes);
            },
            &RunCancel::when(move || asked.is_cancelled()),
        )?;
        match left {
            Left::Failed(sandbox) => {
                // Before what it wrote is deleted.
                let disk_full = is_full(&staging.upper());
                let (args, exit, output) = (op.args.clone(), Failed::of(exit), tail.lines());
                let error = EngineError::Command { args, exit, output, disk_full };
                self.attend(vertex, &error, FailedSandbox::new(sandbox, &spec));
                return Err(error);
            }
            Left::Untouched(kept) if upcoming == Upcoming::Another => {
                drop(prepared);
                let empty = self.engine.empty_layer();
                // A scratch directory has what belongs to one command.
                if !staging.scratch().exists() && self.engine.layers.contains(&empty)? {
                    self.commands.kept.keep(key, kept, staging);
                    return Ok(LayerRef::new(empty));
                }
            }
            // What is mounted goes before its directories become a layer.
            left @ (Left::Untouched(_) | Left::Changes) => drop((left, prepared)),
        }
        let lowers: Vec<_> = root.layers().iter().map(|layer| layer.digest).collect();
        Ok(LayerRef::new(self.engine.layers.commit_upper(staging, &lowers)?))
    }

    /// Has whoever wants to look into a command that failed.
    fn attend(&self, vertex: &Vertex, error: &EngineError, sandbox: FailedSandbox<'_>) {
        let Some(attendant) = &self.request.conduct.attendant else { return };
        let place = (self.place)(vertex);
        let failed = FailedCommand { name: &vertex.meta.name, place: place.as_ref(), error };
        attendant.attend(&failed, sandbox);
    }

    fn surroundings(&self) -> Surroundings<'_> {
        let request = self.request;
        Surroundings {
            engine: self.engine,
            supplies: &request.supplies,
            run: &request.parameters.run,
            transfer: self.transfer,
        }
    }
}

/// What commands find around them besides their inputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) supplies: &'a Supplies,
    pub(crate) run: &'a RunOptions,
    /// Caches of other machines that the build reads.
    pub(crate) transfer: Option<&'a Transfer<'a>>,
}

impl Surroundings<'_> {
    /// Runs a command that somebody attends, in a sandbox as the op says; what it writes is thrown away.
    pub(crate) fn attend(
        &self,
        op: &ExecOp,
        inputs: &[Value],
        (input, attachment): (Input, &Attachment<'_>),
        cancel: &Cancel,
    ) -> Result<Exit, EngineError> {
        let staging = self.engine.layers.stage()?;
        let prepared = self.prepare(op, inputs, &staging, cancel)?;
        let mut spec = self.spec(op, inputs[0].snapshot(), &staging, &prepared);
        spec.process.input = input;
        let asked = cancel.clone();
        let cancel = RunCancel::when(move || asked.is_cancelled());
        Ok(self.engine.sandboxes().attach(&spec, attachment, &cancel)?)
    }

    fn spec(
        &self,
        op: &ExecOp,
        root: &Snapshot,
        staging: &Staging,
        prepared: &Prepared,
    ) -> RunSpec {
        let env = op.env.iter().chain(&op.proxy_env).chain(&prepared.env).cloned().collect();
        RunSpec {
            lowers: self.lowers(root),
            upper: staging.upper(),
            work: staging.work(),
            scratch: self.engine.sandbox_dir(),
            process: Process {
                args: op.args.clone(),
                env,
                cwd: op.cwd.clone(),
                user: op.user.clone(),
                input: Input::Nothing,
            },
            hostname: op.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned()),
            network: match op.network {
                NetworkMode::None => Network::None,
                NetworkMode::Host | NetworkMode::Default => Network::Host,
            },
            security: match op.security {
                SecurityMode::Sandbox => Security::Sandbox,
                SecurityMode::Insecure => Security::Insecure,
            },
            mounts: prepared.mounts.clone(),
            limits: self.supplies.limits.resources.clone(),
            extra_hosts: op.extra_hosts.clone(),
            shm_size_bytes: self.supplies.limits.shm_size_bytes,
        }
    }

    /// The directories of the layers that a snapshot is mounted of, lowest first.
    fn lowers(&self, snapshot: &Snapshot) -> Vec<PathBuf> {
        self.layers(snapshot).iter().map(|layer| self.engine.layers.path(layer)).collect()
    }

    /// The layers that a snapshot is mounted of, lowest first. An empty layer adds nothing to a mount and
    /// is left out: a long chain of commands that change nothing stays a short mount.
    fn layers(&self, snapshot: &Snapshot) -> Vec<Digest> {
        let empty = self.engine.empty_layer();
        let layers = snapshot.layers().iter().map(|layer| layer.digest);
        last_of_each(layers.filter(|layer| *layer != empty).collect())
    }

    fn prepare(
        &self,
        op: &ExecOp,
        inputs: &[Value],
        staging: &Staging,
        cancel: &Cancel,
    ) -> Result<Prepared, EngineError> {
        let scratch = staging.scratch();
        make_dir(&self.engine.sandbox_dir())?;
        let (caches, guards) = self.take_caches(op, inputs, cancel)?;
        let DeviceEdits { env, mounts } =
            devices::resolve(&op.devices, &self.engine.settings.cdi, self.run)?;
        let mut prepared = Prepared { mounts, env, _caches: guards, ..Prepared::default() };
        for (number, mount) in op.mounts.iter().enumerate() {
            let source = match &mount.kind {
                MountKind::Bind { input, source, access } => MountSource::Snapshot {
                    lowers: self.lowers(inputs[*input].snapshot()),
                    path: source.clone(),
                    writable: match access {
                        MountAccess::ReadOnly => None,
                        MountAccess::ReadWrite => {
                            let (upper, work) =
                                (format!("upper-{number}"), format!("work-{number}"));
                            let dirs =
                                Writable { upper: scratch.join(upper), work: scratch.join(work) };
                            make_dir(&scratch)?;
                            make_dir(&dirs.upper)?;
                            make_dir(&dirs.work)?;
                            Some(dirs)
                        }
                    },
                },
                MountKind::Cache { id, access, .. } => MountSource::Directory {
                    path: caches[id.as_str()].clone(),
                    access: match access {
                        MountAccess::ReadOnly => Access::ReadOnly,
                        MountAccess::ReadWrite => Access::ReadWrite,
                    },
                },
                MountKind::Tmpfs { size_bytes } => MountSource::Tmpfs { size_bytes: *size_bytes },
                MountKind::Secret { id, usage, required } => {
                    match self.secret(id, usage, *required, &mut prepared.env)? {
                        Some(source) => source,
                        None => continue,
                    }
                }
                MountKind::Ssh { id, uid, gid, mode, required } => {
                    let Some(agent) = self.agent(id, *required)? else { continue };
                    make_dir(&scratch)?;
                    let meta = SocketMeta { uid: *uid, gid: *gid, mode: *mode };
                    let relay = AgentRelay::start(agent, &scratch, &format!("ssh-{number}"), meta)?;
                    let source = relay.source();
                    prepared.agents.push(relay);
                    source
                }
            };
            prepared.mounts.push(MountSpec { target: mount.target.clone(), source });
        }
        Ok(prepared)
    }

    /// Takes each cache that the command mounts, once and in the order of the ids, so that two commands
    /// that wait for each other's caches cannot both wait.
    fn take_caches<'a>(
        &self,
        op: &'a ExecOp,
        inputs: &[Value],
        cancel: &Cancel,
    ) -> Result<(BTreeMap<&'a str, PathBuf>, Vec<CacheMountGuard>), EngineError> {
        let mut paths = BTreeMap::new();
        let mut guards = Vec::new();
        for (id, wanted) in wanted_caches(&op.mounts) {
            let guard = self.engine.store.acquire_cache_mount(
                &wanted.spec,
                &mut |dir| match (self.imported_mount(id), wanted.seed) {
                    (Some(imported), _) => self.seed(&imported, &GuestPath::root(), dir),
                    (None, Some((input, path))) => self.seed(&inputs[*input], path, dir),
                    (None, None) => Ok(()),
                },
                &|| cancel.is_cancelled(),
            )?;
            paths.insert(id, guard.path().to_owned());
            guards.push(guard);
        }
        Ok((paths, guards))
    }

    /// What another machine's cache has for a new cache mount.
    fn imported_mount(&self, id: &str) -> Option<Value> {
        let layer = self.transfer?.mount(id)?;
        Some(Value::of(Snapshot::of([LayerRef::new(layer)])))
    }

    /// Fills a new cache mount with what an input has at a path.
    fn seed(&self, input: &Value, path: &GuestPath, dir: &Path) -> io::Result<()> {
        let (engine, snapshot) = (self.engine, input.snapshot());
        engine.write_subtree(snapshot, path, dir).map_err(io::Error::other)
    }

    /// The socket of an agent; nothing when it was not given and need not be.
    fn agent(&self, id: &str, required: bool) -> Result<Option<&Path>, EngineError> {
        let given = self.supplies.agents.get(id).map(PathBuf::as_path);
        if given.is_none() && required {
            let detail = format!("the build was not given it; add `--ssh {id}`");
            return Err(EngineError::Agent { id: id.to_owned(), detail });
        }
        Ok(given)
    }

    fn secret(
        &self,
        id: &str,
        usage: &SecretUse,
        required: bool,
        env: &mut Vec<(String, String)>,
    ) -> Result<Option<MountSource>, EngineError> {
        let Some(source) = self.supplies.secrets.get(id) else {
            if !required {
                return Ok(None);
            }
            let detail = format!("the build was not given it; add `--secret id={id},src=FILE`");
            return Err(EngineError::Secret { id: id.to_owned(), detail });
        };
        let content = source.read(id)?;
        if let Some(name) = &usage.env {
            let value = String::from_utf8(content.0.clone()).map_err(|_| EngineError::Secret {
                id: id.to_owned(),
                detail: format!("it is not UTF-8, which the variable `{name}` has to be"),
            })?;
            env.push((name.clone(), value));
        }
        let SecretUse { mode, uid, gid, .. } = *usage;
        Ok(usage.file.then_some(MountSource::Secret { content, mode, uid, gid }))
    }
}

/// Layers with each only where it lies highest. The kernel mounts no directory twice, and a layer that lies
/// above itself hides all of the lower one.
fn last_of_each(mut layers: Vec<Digest>) -> Vec<Digest> {
    let mut seen = HashSet::new();
    layers.reverse();
    layers.retain(|layer| seen.insert(*layer));
    layers.reverse();
    layers
}

fn wanted_caches(mounts: &[Mount]) -> BTreeMap<&str, WantedCache<'_>> {
    let mut wanted = BTreeMap::new();
    for mount in mounts {
        if let MountKind::Cache { id, sharing, seed, uid, gid, mode, access: _ } = &mount.kind {
            let (uid, gid, mode) = (*uid, *gid, *mode);
            let spec = CacheMountSpec { id: id.clone(), sharing: *sharing, uid, gid, mode };
            let entry = wanted.entry(id.as_str()).or_insert(WantedCache { spec, seed });
            // Two mounts of one cache are one directory: the stricter wish counts.
            if entry.spec.sharing == CacheSharing::Shared {
                entry.spec.sharing = *sharing;
            }
        }
    }
    wanted
}

/// The end of what a command wrote.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Bytes that are kept, and lines that are told.
    const BYTES: usize = 8 << 10;
    const LINES: usize = 12;

    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * Self::BYTES {
            self.0.drain(..self.0.len() - Self::BYTES);
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines[lines.len().saturating_sub(Self::LINES)..].to_vec()
    }
}

/// How a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// With this exit code, not 0.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Failed {
    fn of(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(signal) => Self::Signal(signal),
        }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
        }
    }
}

/// The signals that commands usually die of.
const fn signal_name(signal: i32) -> Option<&'static str> {
    match signal {
        1 => Some("SIGHUP"),
        2 => Some("SIGINT"),
        3 => Some("SIGQUIT"),
        4 => Some("SIGILL"),
        6 => Some("SIGABRT"),
        7 => Some("SIGBUS"),
        8 => Some("SIGFPE"),
        9 => Some("SIGKILL"),
        11 => Some("SIGSEGV"),
        13 => Some("SIGPIPE"),
        15 => Some("SIGTERM"),
        31 => Some("SIGSYS"),
        _ => None,
    }
}

/// Whether a filesystem has no room for a small file.
fn is_full(path: &Path) -> bool {
    const SMALL_BYTES: u64 = 64 << 10;
    // A filesystem that counts no blocks at all has no such end.
    rustix::fs::statvfs(path)
        .is_ok_and(|fs| fs.f_blocks > 0 && fs.f_bavail.saturating_mul(fs.f_frsize) < SMALL_BYTES)
}

fn stream_of(stream: kiln_executor::Stream) -> Stream {
    match stream {
        kiln_executor::Stream::Stdout => Stream::Stdout,
        kiln_executor::Stream::Stderr => Stream::Stderr,
    }
}

/// Makes a directory, unless it is there.
fn make_dir(path: &Path) -> Result<(), EngineError> {
    match std::fs::create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(EngineError::WriteFile { what: "sandbox directory", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_mounted_once_where_it_lies_highest() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        assert_eq!(last_of_each(vec![a, b, a, c, b]), [a, c, b]);
        assert_eq!(last_of_each(vec![a, b, c]), [a, b, c]);
    }
}
