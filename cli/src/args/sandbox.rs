//! What `RUN` steps find around them, and how far they may reach.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::ValueError;

/// Resources of `--ulimit`, by setrlimit(2)'s names.
const RESOURCES: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
const ENTITLEMENTS: &[&str] = &["network.host", "security.insecure", "device"];
/// Stands for the machine's own address.
const GATEWAY: &str = "host-gateway";

/// Options for the sandboxes of all steps.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Sandbox {
    /// ssh agent for RUN --mount=type=ssh: default (that of SSH_AUTH_SOCK), or ID=SOCKET
    #[arg(long = "ssh", value_name = "ID[=SOCKET]", value_parser = AgentSpec::parse)]
    pub agents: Vec<AgentSpec>,
    /// Let steps reach beyond their sandbox: network.host, security.insecure, device[=NAME]
    #[arg(long = "allow", value_name = "ENTITLEMENT", value_parser = Allowance::parse)]
    pub allow: Vec<Allowance>,
    /// Name for /etc/hosts of every step
    #[arg(long = "add-host", value_name = "HOST:IP", value_parser = HostSpec::parse)]
    pub hosts: Vec<HostSpec>,
    /// Resource limit of every step
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = Ulimit::parse)]
    pub ulimits: Vec<Ulimit>,
    /// Size of /dev/shm in every step, such as 128m (default: 64m)
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub shm_size: Option<u64>,
}

/// `--ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSpec {
    /// The name that `RUN --mount=type=ssh,id=…` uses.
    pub id: String,
    /// The agent's socket; nothing for that of `SSH_AUTH_SOCK`.
    pub socket: Option<PathBuf>,
}

/// `--allow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowance {
    /// `RUN --network=host`.
    NetworkHost,
    /// `RUN --security=insecure`.
    SecurityInsecure,
    /// `RUN --device`: one device or class, or nothing for all.
    Device(Option<String>),
}

/// `--add-host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: String,
}

/// `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// One of setrlimit(2)'s names, without `RLIMIT_` and in lower case.
    pub resource: &'static str,
    /// What counts now; nothing for no limit.
    pub soft: Option<u64>,
    /// How far a step may raise it; nothing for no limit.
    pub hard: Option<u64>,
}

impl AgentSpec {
    /// Reads `ID[=SOCKET]`.
    fn parse(text: &str) -> Result<Self, ValueError> {
        const FORM: &str = "ID[=SOCKET]";
        let (id, socket) = match text.split_once('=') {
            Some((id, socket)) => (id, Some(socket)),
            None => (text, None),
        };
        if id.is_empty() || socket == Some("") || socket.is_some_and(|path| path.contains(',')) {
            return Err(ValueError::Form { text: text.to_owned(), form: FORM });
        }
        Ok(Self { id: id.to_owned(), socket: socket.map(PathBuf::from) })
    }
}

impl Allowance {
    fn parse(text: &str) -> Result<Self, ValueError> {
        match text.split_once('=') {
            None if text == "network.host" => Ok(Self::NetworkHost),
            None if text == "security.insecure" => Ok(Self::SecurityInsecure),
            None if text == "device" => Ok(Self::Device(None)),
            Some(("device", name)) if !name.is_empty() => Ok(Self::Device(Some(name.to_owned()))),
            _ => Err(ValueError::Unknown {
                what: "entitlement",
                name: text.to_owned(),
                known: ENTITLEMENTS,
            }),
        }
    }
}

impl HostSpec {
    /// Reads `HOST:IP` or `HOST=IP`; an IPv6 address may stand in brackets.
    fn parse(text: &str) -> Result<Self, ValueError> {
        let fail = || ValueError::Form { text: text.to_owned(), form: "HOST:IP" };
        let (name, address) =
            text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(fail)?;
        let plain = |ch: char| ch.is_ascii_alphanumeric() || "-_.".contains(ch);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(fail());
        }
        // Steps see the machine's own network, whose gateway to itself is its loopback.
        let address = if address == GATEWAY { "127.0.0.1" } else { address };
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let address = bare.parse::<IpAddr>().map_err(|_| fail())?.to_string();
        Ok(Self { name: name.to_owned(), address })
    }
}

impl Ulimit {
    /// Reads `NAME=SOFT[:HARD]`; -1 is no limit.
    fn parse(text: &str) -> Result<Self, ValueError> {
        let fail = || ValueError::Form { text: text.to_owned(), form: "NAME=SOFT[:HARD]" };
        let (name, value) = text.split_once('=').ok_or_else(fail)?;
        let resource = RESOURCES.iter().find(|known| **known == name).ok_or_else(|| {
            ValueError::Unknown { what: "resource", name: name.to_owned(), known: RESOURCES }
        })?;
        let number = |text: &str| match text {
            "-1" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| fail()),
        };
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
            return Err(fail());
        }
        Ok(Self { resource, soft, hard })
    }
}

/// Reads a size in bytes with an optional unit of 1024: `b`, `k`, `m`, `g`.
fn parse_size(text: &str) -> Result<u64, ValueError> {
    let fail = || ValueError::Form { text: text.to_owned(), form: "NUMBER[b|k|m|g]" };
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|ch: char| ch.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return Err(fail()),
    };
    let number: u64 = digits.parse().map_err(|_| fail())?;
    number.checked_mul(1 << shift).filter(|size| *size > 0).ok_or_else(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T: std::fmt::Debug>(result: Result<T, ValueError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn agents() {
        let spec = |text: &str| AgentSpec::parse(text).map(|spec| (spec.id, spec.socket));
        assert_eq!(spec("default"), Ok(("default".to_owned(), None)));
        assert_eq!(spec("a=/run/s"), Ok(("a".to_owned(), Some("/run/s".into()))));
        assert_eq!(said(AgentSpec::parse("=x")), "`=x` is not of the form ID[=SOCKET]");
        assert_eq!(said(AgentSpec::parse("a=x,y")), "`a=x,y` is not of the form ID[=SOCKET]");
    }

    #[test]
    fn allowances() {
        assert_eq!(Allowance::parse("device=v/c=a"), Ok(Allowance::Device(Some("v/c=a".into()))));
        assert_eq!(Allowance::parse("security.insecure"), Ok(Allowance::SecurityInsecure));
        assert_eq!(
            said(Allowance::parse("security.insecur")),
            "unknown entitlement `security.insecur`; did you mean `security.insecure`?"
        );
    }

    #[test]
    fn hosts() {
        let host = |text: &str| HostSpec::parse(text).map(|host| (host.name, host.address));
        for (text, name, address) in [
            ("db:10.0.0.7", "db", "10.0.0.7"),
            ("db=10.0.0.7", "db", "10.0.0.7"),
            ("six:::1", "six", "::1"),
            ("six=[2001:db8::1]", "six", "2001:db8::1"),
            ("me:host-gateway", "me", "127.0.0.1"),
        ] {
            assert_eq!(host(text), Ok((name.to_owned(), address.to_owned())), "{text}");
        }
        for text in ["db", "db:", ":1.2.3.4", "db:10.0.0", "a b:1.2.3.4", "a\n1.1.1.1 b:1.2.3.4"] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits() {
        let limit = |text: &str| Ulimit::parse(text).map(|l| (l.resource, l.soft, l.hard));
        assert_eq!(limit("nofile=1024:2048"), Ok(("nofile", Some(1024), Some(2048))));
        assert_eq!(limit("core=0"), Ok(("core", Some(0), Some(0))));
        assert_eq!(limit("stack=1:-1"), Ok(("stack", Some(1), None)));
        assert_eq!(
            said(Ulimit::parse("nofle=1")),
            "unknown resource `nofle`; did you mean `nofile`?"
        );
        assert!(limit("nofile=2:1").is_err() && limit("nofile").is_err());
    }

    #[test]
    fn sizes() {
        for (text, size) in [("100", 100), ("64m", 64 << 20), ("1GB", 1 << 30), ("2k", 2048)] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "m", "0", "-1", "1x", "99999999999g"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
