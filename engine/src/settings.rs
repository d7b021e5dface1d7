//! `kiln.toml`: how registries are reached, where devices are described, how large the store may grow, and how much
//! is kept of builds.
//!
//! The first file that exists counts: the one the caller names, `$XDG_CONFIG_HOME/kiln/kiln.toml`
//! (`~/.config` where the variable is unset), `/etc/kiln/kiln.toml`. The form of the tables is
//! that of BuildKit's `buildkitd.toml`.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
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
    /// How large the store may grow.
    #[serde(default)]
    pub gc: GcSettings,
    /// How much is kept of builds.
    #[serde(default)]
    pub history: HistorySettings,
}

/// `[history]`: how much is kept of builds that ended. The names are BuildKit's, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HistorySettings {
    /// How many: 100. Nothing is recorded where it is 0.
    #[serde(alias = "maxEntries")]
    pub max_entries: u32,
    /// For how long: 30 days.
    #[serde(alias = "maxAge")]
    pub max_age: Age,
    /// How large all may be together: 500 MB.
    pub max_size: Amount,
}

impl Default for HistorySettings {
    fn default() -> Self {
        let max_age = Age(Duration::from_secs(30 * 86_400));
        Self { max_entries: 100, max_age, max_size: Amount::Bytes(500_000_000) }
    }
}

impl HistorySettings {
    /// Whether builds are recorded.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self.max_entries > 0
    }
}

/// A time that something may be old, as Go writes it, with days and weeks besides: `1h30m`, `7d`; or in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "AmountText")]
pub struct Age(Duration);

impl Age {
    /// The time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration such as 90s, 24h or 7d")]
pub struct AgeError {
    text: String,
}

impl TryFrom<AmountText> for Age {
    type Error = AgeError;

    fn try_from(text: AmountText) -> Result<Self, AgeError> {
        match text {
            AmountText::Number(seconds) => Ok(Self(Duration::from_secs(seconds))),
            AmountText::Text(text) => text.parse(),
        }
    }
}

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let none = || AgeError { text: text.to_owned() };
        let mut rest = text;
        let mut sum = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(none)?;
            let number: u64 = rest[..digits].parse().map_err(|_| none())?;
            let unit = &rest[digits..];
            let unit = &unit[..unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len())];
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                "w" => 604_800,
                _ => return Err(none()),
            };
            let more = number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(none)?;
            sum = sum.checked_add(more).ok_or_else(none)?;
            rest = &rest[digits + unit.len()..];
        }
        if text.is_empty() { Err(none()) } else { Ok(Self(sum)) }
    }
}

/// `[gc]`: what is collected after a build that stored something. The defaults are BuildKit's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct GcSettings {
    /// Whether anything is.
    pub enabled: bool,
    /// The most that stays besides images with a name: 60 % of the filesystem.
    pub max: Amount,
    /// What stays in any case: 10 %.
    pub reserved: Amount,
    /// What should be free on the filesystem: 20 %.
    pub min_free: Amount,
}

impl Default for GcSettings {
    fn default() -> Self {
        let percent = Amount::Percent;
        Self { enabled: true, max: percent(60), reserved: percent(10), min_free: percent(20) }
    }
}

/// An amount of disk space: `20GB`, `512MiB`, `60%`, or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "AmountText")]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Hundredths of the store's filesystem.
    Percent(u8),
}

/// An amount as it is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum AmountText {
    Number(u64),
    Text(String),
}

impl TryFrom<AmountText> for Amount {
    type Error = AmountError;

    fn try_from(text: AmountText) -> Result<Self, AmountError> {
        match text {
            AmountText::Number(bytes) => Ok(Self::Bytes(bytes)),
            AmountText::Text(text) => text.parse(),
        }
    }
}

/// A text that is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no amount of disk space; write it as `20GB`, `512MiB`, `60%` or in bytes")]
pub struct AmountError {
    text: String,
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let none = || AmountError { text: text.to_owned() };
        let lower = text.trim().to_ascii_lowercase();
        let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
        let (number, unit) = lower.split_at(end);
        let unit = unit.trim();
        if unit == "%" {
            let percent = number.parse().ok().filter(|percent| *percent <= 100);
            return percent.map(Self::Percent).ok_or_else(none);
        }
        let (prefix, base) = match unit.strip_suffix("ib") {
            Some(prefix) => (prefix, 1024_u64),
            None => (unit.strip_suffix('b').unwrap_or(unit), 1000),
        };
        let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == prefix);
        let power = power.and_then(|power| u32::try_from(power).ok()).ok_or_else(none)?;
        let scale = base.pow(power);
        // Parts of a unit are exact to the thousandth.
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let whole: u64 = whole.parse().map_err(|_| none())?;
        let part: u64 = format!("{part:0<3.3}").parse().map_err(|_| none())?;
        let bytes = whole.checked_mul(scale).and_then(|b| b.checked_add(scale / 1000 * part));
        bytes.map(Self::Bytes).ok_or_else(none)
    }
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
    fn amounts_of_disk_space() {
        let gc = parse("[gc]\nmax = \"1.5GB\"\nmin-free = \"5%\"\nreserved = 7\n").unwrap().gc;
        let (max, free) = (Amount::Bytes(1_500_000_000), Amount::Percent(5));
        let reserved = Amount::Bytes(7);
        assert_eq!(gc, GcSettings { enabled: true, max, reserved, min_free: free });
        assert_eq!(parse("").unwrap().gc, GcSettings::default());
        for (text, bytes) in [("0", 0), ("20 GB", 20_000_000_000), ("2GiB", 2 << 30), ("3k", 3000)]
        {
            assert_eq!(text.parse(), Ok(Amount::Bytes(bytes)), "{text}");
        }
        for text in ["", "GB", "-1", "101%", "1.5%", "1XB", "99999999999PB", "1..5GB"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
        assert!(parse("[gc]\nmax = \"much\"\n").is_err());
    }

    #[test]
    fn history_has_the_names_of_buildkit_too() {
        let history = parse("[history]\nmaxEntries = 3\nmaxAge = 3600\n").unwrap().history;
        assert_eq!((history.max_entries, history.max_age), (3, Age(Duration::from_secs(3600))));
        let history = parse("[history]\nmax-age = \"1w1d\"\nmax-size = \"1MB\"\n").unwrap().history;
        assert_eq!(history.max_age.duration(), Duration::from_secs(8 * 86_400));
        assert_eq!(history.max_size, Amount::Bytes(1_000_000));
        assert!(
            history.is_kept() && !parse("[history]\nmax-entries = 0\n").unwrap().history.is_kept()
        );
        for text in ["", "24", "h", "1y", "99999999999999999999w"] {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
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
