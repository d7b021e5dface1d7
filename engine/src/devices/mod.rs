//! Devices of this machine, by their names in the Container Device Interface (CDI).
//!
//! Specifications are files in a few directories, of which later ones count more. They are the machine
//! owner's; a Dockerfile only names devices, and whoever builds allows them.

mod spec;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use kiln_frontend::{Entitlement, RunOptions};
use kiln_ir::DeviceRequest;
use serde::Deserialize;

pub(crate) use self::spec::DeviceEdits;
use self::spec::{Device, Spec};
use crate::EngineError;

/// The most files that are read, and the most bytes of one.
const MAX_FILES: usize = 256;
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Names a class beside the device's name.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
/// Allows a device to every build.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// Where devices are described, in the form of BuildKit's `buildkitd.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceSettings {
    /// Directories of specifications, the one that counts most last.
    #[serde(default = "usual_directories")]
    pub spec_dirs: Vec<PathBuf>,
    /// Devices or classes that every build may use.
    #[serde(default)]
    pub auto_allowed: Vec<String>,
}

impl Default for DeviceSettings {
    fn default() -> Self {
        Self { spec_dirs: usual_directories(), auto_allowed: Vec::new() }
    }
}

fn usual_directories() -> Vec<PathBuf> {
    ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"].map(PathBuf::from).into()
}

/// What a command gets with the devices that it asks for.
pub(crate) fn resolve(
    wanted: &[DeviceRequest],
    settings: &DeviceSettings,
    options: &RunOptions,
) -> Result<DeviceEdits, EngineError> {
    let mut edits = DeviceEdits::default();
    if wanted.is_empty() {
        return Ok(edits);
    }
    let specs = read_all(&settings.spec_dirs)?;
    let mut done = BTreeSet::new();
    for request in wanted {
        let found = find(&request.name, &specs);
        if found.is_empty() && request.required {
            return Err(absent(&request.name, settings));
        }
        for (index, device) in found {
            let (spec, name) = (&specs[index], full_name(&specs[index], device));
            if !done.insert(name.clone()) {
                continue;
            }
            if !is_allowed(&name, spec, device, settings, options) {
                let detail = format!(
                    "it is not allowed in this build; if you trust this Dockerfile, build with \
                     `--allow device={name}`"
                );
                return Err(EngineError::Device { name, detail });
            }
            let failed = |detail| EngineError::Device { name: name.clone(), detail };
            if done.insert(format!("{index}")) {
                spec.container_edits.apply(&mut edits).map_err(failed)?;
            }
            device.container_edits.apply(&mut edits).map_err(failed)?;
        }
    }
    Ok(edits)
}

fn absent(name: &str, settings: &DeviceSettings) -> EngineError {
    let dirs: Vec<_> = settings.spec_dirs.iter().map(|dir| dir.display().to_string()).collect();
    let detail = format!("no specification in {} has it", dirs.join(", "));
    EngineError::Device { name: name.to_owned(), detail }
}

fn full_name(spec: &Spec, device: &Device) -> String {
    format!("{}={}", spec.kind, device.name)
}

/// The devices that a name means, each with the index of its specification.
fn find<'s>(wanted: &str, specs: &'s [Spec]) -> Vec<(usize, &'s Device)> {
    let (kind, name) = match wanted.split_once('=') {
        Some((kind, name)) => (kind, Some(name)),
        None => (wanted, None),
    };
    let of_kind: Vec<_> = specs
        .iter()
        .enumerate()
        // Of two with the same name the later one counts.
        .rev()
        .filter(|(_, spec)| spec.kind == kind)
        .flat_map(|(index, spec)| spec.devices.iter().map(move |device| (index, device)))
        .collect();
    let first_of_each = |devices: &[(usize, &'s Device)]| {
        let mut seen = BTreeSet::new();
        devices.iter().copied().filter(|(_, device)| seen.insert(&device.name)).collect::<Vec<_>>()
    };
    match name {
        None => of_kind.iter().copied().take(1).collect(),
        Some("*") => first_of_each(&of_kind),
        Some(name) => {
            let named = of_kind.iter().copied().find(|(_, device)| device.name == name);
            let class: Vec<_> = of_kind
                .iter()
                .copied()
                .filter(|(index, device)| annotation(&specs[*index], device, CLASS) == Some(name))
                .collect();
            named.map_or_else(|| first_of_each(&class), |named| vec![named])
        }
    }
}

fn annotation<'s>(spec: &'s Spec, device: &'s Device, key: &str) -> Option<&'s str> {
    device.annotations.get(key).or_else(|| spec.annotations.get(key)).map(String::as_str)
}

fn is_allowed(
    name: &str,
    spec: &Spec,
    device: &Device,
    settings: &DeviceSettings,
    options: &RunOptions,
) -> bool {
    let allows = |text: &str| options.allows(&Entitlement::Device(text.to_owned()));
    options.allows(&Entitlement::AnyDevice)
        || allows(name)
        || allows(&spec.kind)
        || allows(&format!("{}=*", spec.kind))
        || annotation(spec, device, AUTO_ALLOW) == Some("true")
        || settings.auto_allowed.iter().any(|allowed| *allowed == name || *allowed == spec.kind)
}

/// All specifications, the one that counts most last.
fn read_all(dirs: &[PathBuf]) -> Result<Vec<Spec>, EngineError> {
    let mut specs = Vec::new();
    for dir in dirs {
        let mut paths = match fs::read_dir(dir) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
        .map_err(unreadable(dir))?;
        paths.sort();
        for path in paths {
            let is_json = match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => true,
                Some("yaml" | "yml") => false,
                _ => continue,
            };
            if specs.len() == MAX_FILES {
                return Err(unreadable(&path)(io::Error::other("there are too many")));
            }
            let text = read(&path).map_err(unreadable(&path))?;
            let spec = Spec::parse(&text, is_json);
            specs.push(spec.map_err(|reason| unreadable(&path)(io::Error::other(reason)))?);
        }
    }
    Ok(specs)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it holds more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::ReadFile { what: "device specification", path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{"cdiVersion": "0.6.0", "kind": "v.com/c",
        "containerEdits": {"env": ["ALL=1"]},
        "devices": [
            {"name": "a", "containerEdits": {"env": ["WHICH=a"]}},
            {"name": "b", "annotations": {"org.mobyproject.buildkit.device.class": "fast"},
             "containerEdits": {"env": ["WHICH=b"]}}]}"#;
    const SECOND: &str = "cdiVersion: 0.6.0\nkind: v.com/c\ndevices:\n- name: a\n  containerEdits:\n    env: [WHICH=later]\n";

    fn settings(dir: &Path) -> DeviceSettings {
        let dirs = ["one", "two", "none"].map(|name| dir.join(name));
        for (dir, name, text) in [(&dirs[0], "x.json", FIRST), (&dirs[1], "y.yaml", SECOND)] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join(name), text).unwrap();
            fs::write(dir.join("README"), "no specification").unwrap();
        }
        DeviceSettings { spec_dirs: dirs.into(), auto_allowed: Vec::new() }
    }

    fn env(
        names: &[&str],
        settings: &DeviceSettings,
        allow: &[Entitlement],
    ) -> Result<String, String> {
        let wanted: Vec<_> = names
            .iter()
            .map(|name| DeviceRequest { name: (*name).to_owned(), required: true })
            .collect();
        let allowed = Some(allow.iter().cloned().collect());
        let options = RunOptions { allowed, ..RunOptions::default() };
        let edits =
            resolve(&wanted, settings, &options).map_err(|error| crate::error::chain(&error))?;
        let pairs = edits.env.iter().map(|(name, value)| format!("{name}={value}"));
        Ok(pairs.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_classes_and_wildcards() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let any = [Entitlement::AnyDevice];
        for (wanted, expected) in [
            (vec!["v.com/c=a"], "WHICH=later"),
            (vec!["v.com/c=b"], "ALL=1 WHICH=b"),
            (vec!["v.com/c=fast"], "ALL=1 WHICH=b"),
            (vec!["v.com/c"], "WHICH=later"),
            (vec!["v.com/c=*"], "WHICH=later ALL=1 WHICH=b"),
            (vec!["v.com/c=b", "v.com/c=*"], "ALL=1 WHICH=b WHICH=later"),
        ] {
            assert_eq!(env(&wanted, &settings, &any), Ok(expected.to_owned()), "{wanted:?}");
        }
        let missing = env(&["v.com/d=a"], &settings, &any).unwrap_err();
        assert!(missing.contains("`v.com/d=a`") && missing.contains("one"), "{missing}");
    }

    #[test]
    fn a_device_has_to_be_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        let refused = env(&["v.com/c=b"], &settings, &[]).unwrap_err();
        assert!(refused.contains("--allow device=v.com/c=b"), "{refused}");
        for name in ["v.com/c=b", "v.com/c", "v.com/c=*"] {
            assert!(
                env(&["v.com/c=b"], &settings, &[Entitlement::Device(name.to_owned())]).is_ok()
            );
        }
        assert!(
            env(&["v.com/c=b"], &settings, &[Entitlement::Device("v.com/c=a".to_owned())]).is_err()
        );
        settings.auto_allowed.push("v.com/c".to_owned());
        assert!(env(&["v.com/c=b"], &settings, &[]).is_ok());
    }

    #[test]
    fn a_broken_specification_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        fs::write(dir.path().join("two/z.yml"), "kind: [").unwrap();
        let error = env(&["v.com/c=a"], &settings, &[]).unwrap_err();
        assert!(error.contains("two/z.yml"), "{error}");
    }
}
