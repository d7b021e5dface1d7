//! Which hosts are asked for an image, in which order, and how they are spoken to.

use kiln_image::ImageRef;
use reqwest::Url;

use crate::{HostConfig, RegistryConfig, RegistryError};

/// The host behind the name `docker.io`.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// One way of reaching one host.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The host as names and credentials write it.
    pub(crate) host: String,
    /// `scheme://host[:port]/` and a mirror's path prefix, ending in a slash.
    pub(crate) base: Url,
    /// How the host is configured.
    pub(crate) config: HostConfig,
}

impl Endpoint {
    /// `scheme://host[:port]`, for messages and as the identity of the server.
    pub(crate) fn origin(&self) -> String {
        origin(&self.base)
    }

    /// The address of a part of a repository: `v2/NAME/KIND/ID`.
    pub(crate) fn address(&self, repository: &str, kind: &str, id: &str) -> Url {
        let mut address = self.base.clone();
        // Names, tags and digests were checked when they were parsed: none holds `?`, `#`, `%` or `..`.
        let path = format!("{}v2/{repository}/{kind}/{id}", self.base.path());
        address.set_path(&path);
        address
    }
}

/// The identity of a server: scheme, host and port.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The ways of reaching an image's registry: its mirrors in their order, then itself; of each TLS first,
/// then plain HTTP where that is allowed.
pub(crate) fn endpoints(
    config: &RegistryConfig,
    image: &ImageRef,
) -> Result<Vec<Endpoint>, RegistryError> {
    let mut list = Vec::new();
    for mirror in &config.host(image.registry()).mirrors {
        push(&mut list, config, mirror)?;
    }
    list.extend(own_endpoints(config, image)?);
    Ok(list)
}

/// The ways of reaching an image's registry itself: TLS first, then plain HTTP where that is allowed.
pub(crate) fn own_endpoints(
    config: &RegistryConfig,
    image: &ImageRef,
) -> Result<Vec<Endpoint>, RegistryError> {
    let mut list = Vec::new();
    push(&mut list, config, image.registry())?;
    Ok(list)
}

fn push(
    list: &mut Vec<Endpoint>,
    config: &RegistryConfig,
    place: &str,
) -> Result<(), RegistryError> {
    let (scheme, place) = match place.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, place),
    };
    let (host, prefix) = place.split_once('/').unwrap_or((place, ""));
    let settings = config.host(host);
    let schemes: &[&str] = match scheme {
        Some("http") => &["http"],
        Some(_) => &["https"],
        None if settings.http => &["http"],
        None if settings.insecure || is_loopback(host) => &["https", "http"],
        None => &["https"],
    };
    for scheme in schemes {
        let server = if host == "docker.io" { DOCKER_HUB_HOST } else { host };
        let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
        let base = Url::parse(&format!("{scheme}://{server}/{prefix}{slash}"))
            .ok()
            .filter(|url| url.has_host() && url.username().is_empty() && url.query().is_none())
            .ok_or_else(|| RegistryError::Host { host: place.to_owned() })?;
        list.push(Endpoint { host: host.to_owned(), base, config: settings.clone() });
    }
    Ok(())
}

/// Whether a host is this machine by its very name: no resolver is asked.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(config: &str, image: &str) -> Vec<String> {
        let config: RegistryConfig = serde_json::from_str(config).unwrap();
        let image: ImageRef = image.parse().unwrap();
        let list = endpoints(&config, &image).unwrap();
        list.iter().map(|e| e.address(image.repository(), "manifests", "t").to_string()).collect()
    }

    #[test]
    fn mirrors_come_first_and_plain_http_only_where_allowed() {
        let config = r#"{"docker.io":{"mirrors":["m.example/hub","http://p.example"]},
            "old.example":{"http":true},"lax.example":{"insecure":true}}"#;
        assert_eq!(
            addresses(config, "busybox"),
            [
                "https://m.example/hub/v2/library/busybox/manifests/t",
                "http://p.example/v2/library/busybox/manifests/t",
                "https://registry-1.docker.io/v2/library/busybox/manifests/t",
            ]
        );
        assert_eq!(addresses(config, "old.example/x"), ["http://old.example/v2/x/manifests/t"]);
        assert_eq!(addresses(config, "lax.example/x").len(), 2);
        assert_eq!(
            addresses(config, "other.example/x"),
            ["https://other.example/v2/x/manifests/t"]
        );
    }

    #[test]
    fn loopback_is_told_by_its_name() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:1", "127.8.8.8", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "127.0.0.1.example:5", "10.0.0.1", "[::2]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_place_that_is_no_host_is_an_error() {
        for place in ["", "a b", "u:p@h.example", "h.example/?q"] {
            let config = RegistryConfig::default();
            assert!(push(&mut Vec::new(), &config, place).is_err(), "{place}");
        }
    }
}
