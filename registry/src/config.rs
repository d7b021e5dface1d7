//! How registries are reached: the `[registry."HOST"]` tables of `kiln.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The configuration of every registry that needs one, by its host as image names write it
/// (`docker.io`, `localhost:5000`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegistryConfig {
    /// Host → its configuration; mirrors have tables of their own.
    pub hosts: BTreeMap<String, HostConfig>,
}

/// The configuration of one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostConfig {
    /// Hosts asked before the registry itself, in order; a path prefix may follow the host.
    pub mirrors: Vec<String>,
    /// Speak plain HTTP.
    pub http: bool,
    /// Accept any certificate, and plain HTTP where TLS is not spoken.
    pub insecure: bool,
    /// PEM files of authorities trusted for this host, beside the system's.
    pub ca: Vec<PathBuf>,
    /// Other hosts that may be given this registry's credential, when it names them as where to log in.
    pub token_hosts: Vec<String>,
}

impl RegistryConfig {
    /// The configuration of a host; the default for one that is not named.
    #[must_use]
    pub fn host(&self, host: &str) -> HostConfig {
        self.hosts.get(host).cloned().unwrap_or_default()
    }
}
