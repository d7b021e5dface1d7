//! One specification file of the Container Device Interface, read with limits.
//!
//! The format is that of <https://github.com/cncf-tags/container-device-interface>, as JSON or YAML. What Kiln
//! cannot do for a device (hooks, changed owners, network devices) is kept as the reason why the device
//! cannot be had, so that a command never runs with half of one.

use std::collections::BTreeMap;

use kiln_executor::{Access, MountSource, MountSpec};
use kiln_ir::GuestPath;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The most devices in a file, and the most edits of each kind for a device.
const MAX_ITEMS: usize = 1024;

/// A specification file as written; fields that change nothing are left out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// `vendor/class` of all its devices.
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    /// For every device of the file.
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// A device of a specification.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// What a device needs of a container, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Edits {
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    device_nodes: Vec<Node>,
    #[serde(default)]
    mounts: Vec<Mount>,
    #[serde(default)]
    hooks: Vec<IgnoredAny>,
    #[serde(default)]
    additional_gids: Vec<IgnoredAny>,
    #[serde(default)]
    net_devices: Vec<IgnoredAny>,
    #[serde(default)]
    intel_rdt: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    #[serde(default)]
    host_path: Option<String>,
    #[serde(default)]
    file_mode: Option<IgnoredAny>,
    #[serde(default)]
    uid: Option<IgnoredAny>,
    #[serde(default)]
    gid: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
}

/// What a command gets with its devices.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceEdits {
    /// Variables, in order.
    pub(crate) env: Vec<(String, String)>,
    /// Nodes, files and directories of the host's.
    pub(crate) mounts: Vec<MountSpec>,
}

impl Spec {
    /// Reads a file's text.
    pub(super) fn parse(text: &str, is_json: bool) -> Result<Self, String> {
        let spec: Self = if is_json {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            serde_saphyr::from_str(text).map_err(|error| error.to_string())?
        };
        if spec.devices.len() > MAX_ITEMS {
            return Err(format!("it has {} devices; at most {MAX_ITEMS}", spec.devices.len()));
        }
        if !spec
            .kind
            .split_once('/')
            .is_some_and(|(vendor, class)| is_name(vendor) && is_name(class))
        {
            return Err(format!("its kind `{}` is not `vendor/class`", spec.kind));
        }
        match spec.devices.iter().find(|device| !is_name(&device.name)) {
            Some(device) => Err(format!("`{}` is no name of a device", device.name)),
            None => Ok(spec),
        }
    }
}

impl Edits {
    /// Adds these edits, or says why that cannot be done.
    pub(super) fn apply(&self, edits: &mut DeviceEdits) -> Result<(), String> {
        let unsupported = [
            ("hooks", !self.hooks.is_empty()),
            ("additional groups", !self.additional_gids.is_empty()),
            ("network devices", !self.net_devices.is_empty()),
            ("Intel RDT", self.intel_rdt.is_some()),
        ];
        if let Some((what, _)) = unsupported.iter().find(|(_, given)| *given) {
            return Err(format!("its specification asks for {what}, which is not supported yet"));
        }
        if [self.env.len(), self.device_nodes.len(), self.mounts.len()]
            .iter()
            .any(|n| *n > MAX_ITEMS)
        {
            return Err(format!("its specification has more than {MAX_ITEMS} edits of one kind"));
        }
        for pair in &self.env {
            let (name, value) = pair
                .split_once('=')
                .filter(|(name, _)| !name.is_empty() && !pair.contains('\0'))
                .ok_or_else(|| format!("its variable `{pair}` is not of the form NAME=VALUE"))?;
            edits.env.push((name.to_owned(), value.to_owned()));
        }
        for node in &self.device_nodes {
            edits.mounts.push(node.mount()?);
        }
        for mount in &self.mounts {
            edits.mounts.push(mount.mount()?);
        }
        Ok(())
    }
}

impl Node {
    fn mount(&self) -> Result<MountSpec, String> {
        if self.file_mode.is_some() || self.uid.is_some() || self.gid.is_some() {
            return Err(format!(
                "its node `{}` has a mode or owner of its own, which is not supported yet",
                self.path
            ));
        }
        let path = host_path(self.host_path.as_ref().unwrap_or(&self.path))?;
        let source = MountSource::File { path: path.into(), access: Access::ReadWrite };
        Ok(MountSpec { target: target(&self.path)?, source })
    }
}

impl Mount {
    fn mount(&self) -> Result<MountSpec, String> {
        let path = host_path(&self.host_path)?;
        let read_only = self.options.iter().any(|option| option == "ro");
        let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
        let is_dir = std::fs::metadata(path)
            .map_err(|error| format!("`{path}`, which it mounts, cannot be had: {error}"))?
            .is_dir();
        let path = path.into();
        let source = if is_dir {
            MountSource::Directory { path, access }
        } else {
            MountSource::File { path, access }
        };
        Ok(MountSpec { target: target(&self.container_path)?, source })
    }
}

fn host_path(path: &str) -> Result<&str, String> {
    if path.starts_with('/') && !path.split('/').any(|part| part == "..") {
        Ok(path)
    } else {
        Err(format!("its path `{path}` is not absolute"))
    }
}

fn target(path: &str) -> Result<GuestPath, String> {
    host_path(path)?;
    let path = GuestPath::new(path).map_err(|error| error.to_string())?;
    if path.is_root() { Err("it mounts over the root".to_owned()) } else { Ok(path) }
}

/// Letters, digits and between them a few marks.
fn is_name(text: &str) -> bool {
    let edge = |ch: Option<char>| ch.is_some_and(|ch| ch.is_ascii_alphanumeric());
    text.len() <= 128
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|ch| ch.is_ascii_alphanumeric() || "_-.:".contains(ch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(edits: &str) -> Result<DeviceEdits, String> {
        let text = format!("kind: v.com/c\ndevices:\n- name: a\n  containerEdits: {edits}\n");
        let spec = Spec::parse(&text, false)?;
        let mut found = DeviceEdits::default();
        spec.devices[0].container_edits.apply(&mut found).map(|()| found)
    }

    #[test]
    fn a_device_is_nodes_variables_and_mounts() {
        let found = edits(
            "{env: [A=b=c], deviceNodes: [{path: /dev/a, hostPath: /dev/null}], \
             mounts: [{hostPath: /usr, containerPath: /x, options: [ro, bind]}]}",
        )
        .unwrap();
        assert_eq!(found.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(found.mounts[0].target.as_str(), "/dev/a");
        assert_eq!(
            found.mounts[0].source,
            MountSource::File { path: "/dev/null".into(), access: Access::ReadWrite }
        );
        assert_eq!(
            found.mounts[1].source,
            MountSource::Directory { path: "/usr".into(), access: Access::ReadOnly }
        );
    }

    #[test]
    fn what_cannot_be_done_is_a_reason() {
        for (text, reason) in [
            ("{hooks: [{hookName: createContainer, path: /x}]}", "asks for hooks"),
            ("{additionalGids: [7]}", "asks for additional groups"),
            ("{deviceNodes: [{path: /dev/a, fileMode: 0600}]}", "a mode or owner of its own"),
            ("{deviceNodes: [{path: /dev/a, hostPath: /dev/../etc/shadow}]}", "is not absolute"),
            ("{deviceNodes: [{path: /}]}", "over the root"),
            ("{env: [\"=x\"]}", "not of the form NAME=VALUE"),
            ("{mounts: [{hostPath: /nowhere/at/all, containerPath: /x}]}", "cannot be had"),
        ] {
            let error = edits(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn hostile_files_are_refused() {
        let bomb = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} [*a{p}, *a{p}, *a{p}, *a{p}]\n", p = n - 1)
        });
        let deep = format!("kind: {}", "[".repeat(100_000));
        let many = format!("kind: v/c\ndevices: [{}]", "{name: a},".repeat(2000));
        for text in [
            bomb.as_str(),
            &deep,
            &many,
            "kind: a",
            "kind: ../c/d",
            "kind: v/c\ndevices: [{name: ../x}]",
        ] {
            assert!(Spec::parse(text, false).is_err(), "{}", &text[..text.len().min(40)]);
        }
        assert!(Spec::parse("{\"kind\": 7}", true).is_err());
    }
}
