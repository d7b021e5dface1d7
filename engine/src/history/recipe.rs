//! How a command was run, as a build's record has it: enough to make its sandbox again.
//!
//! There is no value of a secret in it: those of mounts are named by their ids, variables whose names or values say
//! that they hold a credential are named without their values, and proxies are left out.

use kiln_frontend::{holds_secret, redact};
use kiln_ir::{
    CacheSharing, DeviceRequest, ExecOp, GuestPath, Mount, MountAccess, MountKind, NetworkMode,
    SecretUse, SecurityMode,
};
use serde::{Deserialize, Serialize};

/// A command's sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// Names and values, in order; nothing in place of a value that is a secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, Option<String>)>,
    /// Where the command started.
    pub cwd: String,
    /// `user[:group]`; empty for root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    network: Network,
    #[serde(skip_serializing_if = "is_default")]
    insecure: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Mounted>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<(String, bool)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extra_hosts: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Network {
    #[default]
    Default,
    None,
    Host,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mounted {
    target: String,
    #[serde(flatten)]
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Source {
    Bind { input: usize, source: String, rw: bool },
    Cache { id: String, sharing: Sharing, owner: (u32, u32, u32), rw: bool },
    Tmpfs { size_bytes: Option<u64> },
    Secret { id: String, file: bool, env: Option<String>, owner: (u32, u32, u32) },
    Ssh { id: String, owner: (u32, u32, u32) },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sharing {
    Shared,
    Private,
    Locked,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Recipe {
    /// What is kept of a command.
    pub(crate) fn of(op: &ExecOp) -> Self {
        let shown = |(name, value): &(String, String)| {
            let is_secret =
                holds_secret(name) || (value.contains("://") && redact(value) != *value);
            (name.clone(), (!is_secret).then(|| value.clone()))
        };
        let device = |device: &DeviceRequest| (device.name.clone(), device.required);
        Self {
            env: op.env.iter().map(shown).collect(),
            cwd: op.cwd.as_str().to_owned(),
            user: op.user.clone(),
            hostname: op.hostname.clone(),
            network: match op.network {
                NetworkMode::Default => Network::Default,
                NetworkMode::None => Network::None,
                NetworkMode::Host => Network::Host,
            },
            insecure: op.security == SecurityMode::Insecure,
            mounts: op.mounts.iter().map(Mounted::of).collect(),
            devices: op.devices.iter().map(device).collect(),
            extra_hosts: op.extra_hosts.clone(),
        }
    }

    /// The variables whose values are not kept.
    pub fn withheld(&self) -> impl Iterator<Item = &str> {
        self.env.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str())
    }

    /// A command in the same sandbox, as far as it is known; nothing when the record makes no sense. Secrets and
    /// agents need not be given.
    pub(crate) fn command(&self, args: Vec<String>) -> Option<ExecOp> {
        let known = |(name, value): &(String, Option<String>)| Some((name.clone(), value.clone()?));
        let device = |(name, required): &(String, bool)| DeviceRequest {
            name: name.clone(),
            required: *required,
        };
        Some(ExecOp {
            args,
            env: self.env.iter().filter_map(known).collect(),
            cwd: if self.cwd.is_empty() { GuestPath::root() } else { path(&self.cwd)? },
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            network: match self.network {
                Network::Default => NetworkMode::Default,
                Network::None => NetworkMode::None,
                Network::Host => NetworkMode::Host,
            },
            security: if self.insecure { SecurityMode::Insecure } else { SecurityMode::Sandbox },
            mounts: self.mounts.iter().map(Mounted::mount).collect::<Option<_>>()?,
            proxy_env: Vec::new(),
            devices: self.devices.iter().map(device).collect(),
            extra_hosts: self.extra_hosts.clone(),
        })
    }

    /// The same without anything that is mounted or that comes from other steps: for a step that is no command.
    pub(crate) fn bare(&self) -> Self {
        Self { mounts: Vec::new(), devices: Vec::new(), ..self.clone() }
    }

    /// The indices of inputs that it mounts.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = usize> + '_ {
        self.mounts.iter().filter_map(|mounted| match mounted.source {
            Source::Bind { input, .. } => Some(input),
            Source::Cache { .. }
            | Source::Tmpfs { .. }
            | Source::Secret { .. }
            | Source::Ssh { .. } => None,
        })
    }
}

impl Mounted {
    fn of(mount: &Mount) -> Self {
        let rw = |access: &MountAccess| *access == MountAccess::ReadWrite;
        let source = match &mount.kind {
            MountKind::Bind { input, source, access } => {
                Source::Bind { input: *input, source: source.as_str().to_owned(), rw: rw(access) }
            }
            MountKind::Cache { id, sharing, seed: _, uid, gid, mode, access } => Source::Cache {
                id: id.clone(),
                sharing: match sharing {
                    CacheSharing::Shared => Sharing::Shared,
                    CacheSharing::Private => Sharing::Private,
                    CacheSharing::Locked => Sharing::Locked,
                },
                owner: (*uid, *gid, *mode),
                rw: rw(access),
            },
            MountKind::Tmpfs { size_bytes } => Source::Tmpfs { size_bytes: *size_bytes },
            MountKind::Secret { id, usage, required: _ } => Source::Secret {
                id: id.clone(),
                file: usage.file,
                env: usage.env.clone(),
                owner: (usage.uid, usage.gid, usage.mode),
            },
            MountKind::Ssh { id, uid, gid, mode, required: _ } => {
                Source::Ssh { id: id.clone(), owner: (*uid, *gid, *mode) }
            }
        };
        Self { target: mount.target.as_str().to_owned(), source }
    }

    fn mount(&self) -> Option<Mount> {
        let access = |rw| if rw { MountAccess::ReadWrite } else { MountAccess::ReadOnly };
        let kind = match &self.source {
            Source::Bind { input, source, rw } => {
                MountKind::Bind { input: *input, source: path(source)?, access: access(*rw) }
            }
            // A cache that is new again starts empty.
            Source::Cache { id, sharing, owner: (uid, gid, mode), rw } => MountKind::Cache {
                id: id.clone(),
                sharing: match sharing {
                    Sharing::Shared => CacheSharing::Shared,
                    Sharing::Private => CacheSharing::Private,
                    Sharing::Locked => CacheSharing::Locked,
                },
                seed: None,
                uid: *uid,
                gid: *gid,
                mode: *mode,
                access: access(*rw),
            },
            Source::Tmpfs { size_bytes } => MountKind::Tmpfs { size_bytes: *size_bytes },
            Source::Secret { id, file, env, owner: (uid, gid, mode) } => MountKind::Secret {
                id: id.clone(),
                usage: SecretUse {
                    file: *file,
                    env: env.clone(),
                    uid: *uid,
                    gid: *gid,
                    mode: *mode,
                },
                required: false,
            },
            Source::Ssh { id, owner: (uid, gid, mode) } => MountKind::Ssh {
                id: id.clone(),
                uid: *uid,
                gid: *gid,
                mode: *mode,
                required: false,
            },
        };
        Some(Mount { target: path(&self.target)?, kind })
    }
}

fn path(text: &str) -> Option<GuestPath> {
    GuestPath::new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op() -> ExecOp {
        let at = |target: &str, kind| Mount { target: path(target).unwrap(), kind };
        let (uid, gid, mode) = (1, 2, 0o640);
        ExecOp {
            args: vec!["make".to_owned()],
            env: vec![("NAME".to_owned(), "value".to_owned())],
            cwd: path("/src").unwrap(),
            user: "me:us".to_owned(),
            hostname: Some("host".to_owned()),
            network: NetworkMode::None,
            security: SecurityMode::Insecure,
            mounts: vec![
                at(
                    "/bound",
                    MountKind::Bind {
                        input: 1,
                        source: path("/out").unwrap(),
                        access: MountAccess::ReadWrite,
                    },
                ),
                at(
                    "/cache",
                    MountKind::Cache {
                        id: "id".to_owned(),
                        sharing: CacheSharing::Locked,
                        seed: None,
                        uid,
                        gid,
                        mode,
                        access: MountAccess::ReadOnly,
                    },
                ),
                at("/tmp", MountKind::Tmpfs { size_bytes: Some(7) }),
                at(
                    "/run/secrets/id",
                    MountKind::Secret {
                        id: "id".to_owned(),
                        usage: SecretUse {
                            file: true,
                            env: Some("TOKEN".to_owned()),
                            uid,
                            gid,
                            mode,
                        },
                        required: false,
                    },
                ),
                at(
                    "/agent",
                    MountKind::Ssh { id: "id".to_owned(), uid, gid, mode, required: false },
                ),
            ],
            proxy_env: Vec::new(),
            devices: vec![DeviceRequest { name: "a/b=c".to_owned(), required: true }],
            extra_hosts: vec![("name".to_owned(), "192.0.2.1".to_owned())],
        }
    }

    #[test]
    fn a_command_is_had_again_from_its_record() {
        let line = serde_json::to_string(&Recipe::of(&op())).unwrap();
        let recipe: Recipe = serde_json::from_str(&line).unwrap();
        assert_eq!(recipe.command(op().args), Some(op()));
        assert_eq!(recipe.inputs().collect::<Vec<_>>(), [1]);
        let plain: Recipe = serde_json::from_str("{}").unwrap();
        assert_eq!(plain.command(Vec::new()).unwrap().cwd, GuestPath::root());
    }

    #[test]
    fn what_may_be_secret_is_named_alone() {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let env = vec![
            variable("API_TOKEN", "hunter2"),
            variable("http_proxy", "http://proxy.example"),
            variable("URL", "https://me:hunter2@example.com"),
            variable("HOME", "/root"),
        ];
        let proxy_env = vec![variable("https_proxy", "http://me:hunter2@proxy.example")];
        let recipe = Recipe::of(&ExecOp { env, proxy_env, ..op() });
        assert_eq!(recipe.withheld().collect::<Vec<_>>(), ["API_TOKEN", "http_proxy", "URL"]);
        assert!(!serde_json::to_string(&recipe).unwrap().contains("hunter2"));
        assert_eq!(recipe.command(Vec::new()).unwrap().env, [variable("HOME", "/root")]);
    }
}
