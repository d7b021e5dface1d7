//! The image config: what an image runs, where it came from, which layers it is made of.
//!
//! The schema is OCI's with Docker's additions. What Kiln does not know it keeps (`extra`), so that a
//! config passes through a build unharmed. Written configs are deterministic and minimal: empty fields
//! are left out, maps are sorted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::manifest::check_size;
use crate::{ImageError, OciDigest, Platform};

/// The config document of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, in RFC 3339; kept as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it (`MAINTAINER`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The architecture: `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// The architecture's variant: `v7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The operating system: `linux`.
    #[serde(default)]
    pub os: String,
    /// How a container of the image runs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// The layers, lowest first, by the digests of their plain archives.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How each layer came about, oldest first, with entries for steps that made none.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// Fields that Kiln does not know, as they were.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// The `config` part: what OCI knows of how a container runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user`, `uid`, `user:group`; empty is root.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// Ports as `80/tcp`.
    #[serde(default, with = "set_as_map", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`, in order.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `None` is unset; an empty list is a thing of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// `None` is unset; an empty list is a thing of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Absolute paths.
    #[serde(default, with = "set_as_map", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Absolute path; empty is `/`.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Labels, sorted by key.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// A signal's name or number.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub stop_signal: String,
    /// What Docker adds to OCI's fields.
    #[serde(flatten)]
    pub docker: DockerFields,
    /// Fields that Kiln does not know, as they were.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Docker's additions to the `config` part; in the document they stand beside OCI's fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerFields {
    /// How to see whether a container is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds on this image, in order.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// The shell of shell-form commands; empty is the default.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// A mark that builders leave when the last CMD or ENTRYPOINT was written in shell form.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
}

/// How Docker sees whether a container is well. Durations are in nanoseconds; zero is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", args…]` or `["CMD-SHELL", line]`; empty inherits.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Nanoseconds between checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Nanoseconds that a check may take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Nanoseconds during which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Nanoseconds between checks during the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row until a container counts as unwell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    /// Digests of the plain archives, lowest layer first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<OciDigest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new() }
    }
}

/// One step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, in RFC 3339; kept as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A remark of the builder's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// The platform that the image is for, normalised.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }

    /// The document's bytes: compact JSON, the same for the same value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("every field and every map key is representable in JSON")
    }
}

/// Reads a config document.
///
/// # Errors
///
/// Fails on more than [`crate::MAX_DOCUMENT_BYTES`], on JSON of another shape, and on a root filesystem
/// that is not made of layers.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, ImageError> {
    const DOCUMENT: &str = "image config";
    check_size(DOCUMENT, bytes)?;
    let config: ImageConfig = serde_json::from_slice(bytes)
        .map_err(|source| ImageError::Json { document: DOCUMENT, source })?;
    let fail = |reason: String| Err(ImageError::Invalid { document: DOCUMENT, reason });
    if config.rootfs.kind != layers() {
        return fail(format!("its rootfs is of type `{}`, not `layers`", config.rootfs.kind));
    }
    let made = config.history.iter().filter(|entry| !entry.empty_layer).count();
    if made > config.rootfs.diff_ids.len() {
        let has = config.rootfs.diff_ids.len();
        return fail(format!("its history speaks of {made} layers, and it has {has}"));
    }
    Ok(config)
}

fn layers() -> String {
    "layers".to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Docker writes `null` for what is empty.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Sets that the document writes as objects with empty values.
mod set_as_map {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        set: &BTreeSet<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|key| (key, serde_json::Map::new())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map: Option<BTreeMap<String, serde::de::IgnoredAny>> =
            Option::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}

#[cfg(test)]
mod tests;
