//! `kiln.toml`: how registries are reached, and where devices are described.
//!
//! The first file that exists counts: the one the caller names, `$XDG_CONFIG_HOME/kiln/kiln.toml`
//! (`~/.config` where the variable is unset), `/etc/kiln/kiln.toml`. The form of the tables is
//! that of BuildKit's `buildkitd.toml`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use kiln_registry::RegistryConfig;
use serde::Deserialize;

use crate::EngineError;
use crate::devices::DeviceSettings;

/// The content of a `kiln.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// By host, with the port where it is not the usual one: `docker.io`, `registry.example:5000`.
    #[serde(default)]
    pub registry: RegistryConfig,
    /// Devices for `RUN --device`.
    #[serde(default)]
    pub cdi: DeviceSettings,
}

impl Settings {
    /// Reads the file that counts; no file at all gives the defaults.
    ///
    /// # Errors
    /// When the file named does not exist, or the one that counts cannot be read or understood.
    pub fn load(named: Option<&Path>) -> Result<Self, EngineError> {
        if let Some(path) = named {
            return Self::read(path)?.ok_or_else(|| EngineError::ReadFile {
                what: "configuration",
                path: path.to_owned(),
                source: rustix::io::Errno::NOENT.into(),
            });
        }
        for path in usual_places() {
            if let Some(settings) = Self::read(&path)? {
                return Ok(settings);
            }
        }
        Ok(Self::default())
    }

    fn read(path: &Path) -> Result<Option<Self>, EngineError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(EngineError::ReadFile {
                    what: "configuration",
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let settings = toml::from_str(&text).map_err(|source| EngineError::Settings {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Some(settings))
    }
}

fn usual_places() -> Vec<PathBuf> {
    let config = env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let user = config.or_else(home).map(|dir| dir.join("kiln/kiln.toml"));
    user.into_iter().chain([PathBuf::from("/etc/kiln/kiln.toml")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, EngineError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kiln.toml");
        fs::write(&path, text).unwrap();
        Settings::load(Some(&path))
    }

    #[test]
    fn reads_the_form_of_buildkit() {
        let settings = parse(
            "[registry.\"docker.io\"]\nmirrors = [\"mirror.example:5000\"]\n\
             [registry.\"mirror.example:5000\"]\nhttp = true\ninsecure = true\nca = [\"/ca.pem\"]\n",
        )
        .unwrap();
        assert_eq!(settings.registry.host("docker.io").mirrors, ["mirror.example:5000"]);
        let mirror = settings.registry.host("mirror.example:5000");
        assert!(mirror.http && mirror.insecure);
        assert_eq!(mirror.ca, [PathBuf::from("/ca.pem")]);
    }

    #[test]
    fn devices_have_usual_places() {
        assert_eq!(parse("").unwrap().cdi.spec_dirs[0], Path::new("/etc/cdi"));
        let cdi = parse("[cdi]\nspecDirs = [\"/d\"]\nautoAllowed = [\"v/c\"]\n").unwrap().cdi;
        assert_eq!((cdi.spec_dirs, cdi.auto_allowed), (vec!["/d".into()], vec!["v/c".to_owned()]));
    }

    #[test]
    fn unknown_keys_are_refused_with_the_known_ones() {
        let error = parse("[registry.\"docker.io\"]\nmirror = []\n").unwrap_err();
        let EngineError::Settings { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().contains("mirrors"), "{source}");
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = Settings::load(Some(Path::new("/nonexistent/kiln.toml"))).unwrap_err();
        assert!(matches!(error, EngineError::ReadFile { .. }));
    }
}
