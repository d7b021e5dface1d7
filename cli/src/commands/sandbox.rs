//! What `RUN` steps find around them: from arguments to the engine's terms.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use kiln_cli::args::{AgentSpec, Allowance, Network, Sandbox, SecretFrom, SecretSpec};
use kiln_engine::{
    EngineError, Entitlement, NetworkMode, Resource, ResourceLimit, RunOptions, SandboxLimits,
    SecretSource, Supplies,
};

/// The variable that names the caller's agent.
const AGENT: &str = "SSH_AUTH_SOCK";

/// A build whose steps all have the host's network allows it to each of them.
pub(super) fn run_options(network: Network, sandbox: &Sandbox) -> RunOptions {
    let mut allowed: BTreeSet<_> = sandbox.allow.iter().map(entitlement).collect();
    let network = match network {
        Network::Default => NetworkMode::Default,
        Network::None => NetworkMode::None,
        Network::Host => {
            allowed.insert(Entitlement::NetworkHost);
            NetworkMode::Host
        }
    };
    let hosts = sandbox.hosts.iter();
    RunOptions {
        network,
        hostname: None,
        extra_hosts: hosts.map(|host| (host.name.clone(), host.address.clone())).collect(),
        allowed: Some(allowed),
    }
}

fn entitlement(allowance: &Allowance) -> Entitlement {
    match allowance {
        Allowance::NetworkHost => Entitlement::NetworkHost,
        Allowance::SecurityInsecure => Entitlement::SecurityInsecure,
        Allowance::Device(None) => Entitlement::AnyDevice,
        Allowance::Device(Some(name)) => Entitlement::Device(name.clone()),
    }
}

/// What commands are given. Agents are looked at now: a build that lacks one is not to fail half-way.
pub(super) fn supplies(secrets: &[SecretSpec], sandbox: &Sandbox) -> Result<Supplies, EngineError> {
    Ok(Supplies {
        secrets: secrets.iter().map(|spec| (spec.id.clone(), secret(spec))).collect(),
        agents: agents(&sandbox.agents)?,
        limits: limits(sandbox),
    })
}

fn secret(spec: &SecretSpec) -> SecretSource {
    match &spec.from {
        SecretFrom::File(path) => SecretSource::File(path.clone()),
        SecretFrom::Env(name) => SecretSource::Env(name.clone()),
        SecretFrom::SameName if std::env::var_os(&spec.id).is_some() => {
            SecretSource::Env(spec.id.clone())
        }
        SecretFrom::SameName => SecretSource::File(PathBuf::from(&spec.id)),
    }
}

fn agents(specs: &[AgentSpec]) -> Result<BTreeMap<String, PathBuf>, EngineError> {
    specs.iter().map(|spec| Ok((spec.id.clone(), agent(spec)?))).collect()
}

fn agent(spec: &AgentSpec) -> Result<PathBuf, EngineError> {
    let missing = |detail| EngineError::Agent { id: spec.id.clone(), detail };
    let path = match &spec.socket {
        Some(path) => path.clone(),
        None => {
            std::env::var_os(AGENT).filter(|path| !path.is_empty()).map(PathBuf::from).ok_or_else(
                || missing(format!("`{AGENT}` is not set; start one with `eval $(ssh-agent)`")),
            )?
        }
    };
    let found = fs::metadata(&path)
        .map_err(|error| missing(format!("cannot look at `{}`: {error}", path.display())))?;
    if found.file_type().is_socket() { Ok(path) } else { Err(missing(no_socket(&path))) }
}

/// What to do with a key instead: Kiln holds no private keys.
fn no_socket(path: &Path) -> String {
    format!(
        "`{0}` is not an agent's socket; Kiln reads no key files: add the key to an agent with \
         `ssh-add {0}` and use `--ssh default`",
        path.display()
    )
}

fn limits(sandbox: &Sandbox) -> SandboxLimits {
    let limit = |limit: &kiln_cli::args::Ulimit| {
        let resource = resource(limit.resource)?;
        Some(ResourceLimit { resource, soft: limit.soft, hard: limit.hard })
    };
    SandboxLimits {
        resources: sandbox.ulimits.iter().filter_map(limit).collect(),
        shm_size_bytes: sandbox.shm_size,
    }
}

/// A resource by its name; the arguments have been checked for them.
fn resource(name: &str) -> Option<Resource> {
    const ALL: [(&str, Resource); 15] = [
        ("core", Resource::Core),
        ("cpu", Resource::Cpu),
        ("data", Resource::Data),
        ("fsize", Resource::Fsize),
        ("locks", Resource::Locks),
        ("memlock", Resource::Memlock),
        ("msgqueue", Resource::Msgqueue),
        ("nice", Resource::Nice),
        ("nofile", Resource::Nofile),
        ("nproc", Resource::Nproc),
        ("rss", Resource::Rss),
        ("rtprio", Resource::Rtprio),
        ("rttime", Resource::Rttime),
        ("sigpending", Resource::Sigpending),
        ("stack", Resource::Stack),
    ];
    ALL.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
}
