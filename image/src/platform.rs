//! Platforms: operating system, architecture, variant; normalised as containerd does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ImageError;

/// A platform in normal form: `linux/amd64`, `linux/arm64`, `linux/arm/v7`.
///
/// Every way of making one normalises it (`x86_64` is `amd64`, `aarch64` and `arm64/v8` are `arm64`,
/// `arm` is `arm/v7`), so two platforms are the same if they compare equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "RawPlatform")]
pub struct Platform {
    architecture: String,
    os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    os_version: String,
}

/// A platform as a document spells it.
#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
    #[serde(default, rename = "os.version")]
    os_version: String,
}

impl From<RawPlatform> for Platform {
    fn from(raw: RawPlatform) -> Self {
        let mut platform = Self::new(&raw.os, &raw.architecture, &raw.variant);
        platform.os_version = raw.os_version;
        platform
    }
}

impl Platform {
    /// A platform from its parts, normalised; `variant` may be empty.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = normalise(architecture, variant);
        Self { architecture, os, variant, os_version: String::new() }
    }

    /// The platform that this binary was built for, as Linux.
    #[must_use]
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// The operating system: `linux`.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture: `amd64`, `arm64`, `arm`, `386`.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant (`v7`), empty where the architecture has no more than one or it is the usual one.
    #[must_use]
    pub fn variant(&self) -> &str {
        &self.variant
    }

    /// How well an image for `self` serves `wanted`: 0 is best, `None` is not at all.
    ///
    /// A lower variant of the same architecture serves (arm/v6 on arm/v7), the nearer the better.
    #[must_use]
    pub fn distance_to(&self, wanted: &Self) -> Option<u32> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        let (mine, theirs) = (variant_level(&self.variant), variant_level(&wanted.variant));
        match (mine, theirs) {
            _ if self.variant == wanted.variant => Some(0),
            (Some(mine), Some(theirs)) if mine < theirs => Some(theirs - mine),
            _ => None,
        }
    }
}

/// The number of a variant `v<n>`; an architecture's usual variant, written empty, counts as 1
///
fn variant_level(variant: &str) -> Option<u32> {
    if variant.is_empty() {
        return Some(1);
    }
    variant.strip_prefix('v')?.parse().ok()
}

/// Normalises an architecture and its variant as containerd's platforms package does.
fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le", v) => ("ppc64le", v),
        ("loongarch64", v) => ("loong64", v),
        (a, v) => (a, v),
    };
    (architecture.to_owned(), variant.to_owned())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    /// Reads `os/architecture[/variant]`, or an architecture or an operating system alone, the other
    /// being the host's.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let fail = || ImageError::Platform { platform: text.to_owned() };
        let plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| plain(part)) {
            return Err(fail());
        }
        match parts.as_slice() {
            [one] if is_architecture(one) => Ok(Self::new("linux", one, "")),
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => {
                Ok(Self::new(os, std::env::consts::ARCH, ""))
            }
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(fail()),
        }
    }
}

/// Whether a lone word names an architecture.
fn is_architecture(word: &str) -> bool {
    const KNOWN: [&str; 9] =
        ["386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"];
    KNOWN.contains(&normalise(word, "").0.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_come_to_one_form() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_platform() {
        for text in ["", "/", "linux/", "linux/a/b/c", "linux/am d64", "potato"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_lower_variant_serves_and_a_higher_does_not() {
        let distance = |a: &str, b: &str| {
            a.parse::<Platform>().unwrap().distance_to(&b.parse::<Platform>().unwrap())
        };
        assert_eq!(distance("linux/arm/v6", "linux/arm/v7"), Some(1));
        assert_eq!(distance("linux/arm/v7", "linux/arm/v6"), None);
        assert_eq!(distance("linux/amd64", "linux/amd64/v3"), Some(2));
        assert_eq!(distance("linux/amd64", "linux/arm64"), None);
    }
}
