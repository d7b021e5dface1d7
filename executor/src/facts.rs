//! What of the machine a plan depends on.

use std::io;
use std::path::Path;

use crate::ExecutorError;

/// Which user and group ids exist for Kiln.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// All of them: Kiln is in the machine's first user namespace.
    All,
    /// Those of a user namespace with subordinate ids.
    Mapped,
    /// Id 0 alone.
    Single,
}

/// What of the machine a plan depends on. Gathered once per process, after [`crate::userns::enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Which ids exist.
    pub ids: Ids,
    /// The host's `/etc/resolv.conf`; empty when there is none.
    pub resolv_conf: Vec<u8>,
    /// The highest capability number the kernel knows.
    pub last_capability: u32,
    /// Whether the kernel has filters of system calls.
    pub has_filters: bool,
}

impl HostFacts {
    /// Looks at this machine.
    ///
    /// # Errors
    /// When a file that every Linux has cannot be read.
    pub fn gather() -> Result<Self, ExecutorError> {
        let resolv_conf = match std::fs::read("/etc/resolv.conf") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|source| unreadable("/etc/resolv.conf", source))?,
        };
        let last = read("/proc/sys/kernel/cap_last_cap")?;
        let last_capability = last.trim().parse().map_err(|_| {
            let source = io::Error::new(io::ErrorKind::InvalidData, "not a number");
            unreadable("/proc/sys/kernel/cap_last_cap", source)
        })?;
        let ids = parse_ids(&read("/proc/self/uid_map")?);
        let has_filters = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
        Ok(Self { ids, resolv_conf, last_capability, has_filters })
    }
}

fn read(path: &str) -> Result<String, ExecutorError> {
    std::fs::read_to_string(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &str, source: io::Error) -> ExecutorError {
    ExecutorError::HostFact { path: Path::new(path).to_owned(), source }
}

/// Reads `/proc/self/uid_map`: lines of first id inside, first id outside, count.
fn parse_ids(map: &str) -> Ids {
    let counts: Vec<u64> =
        map.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse().ok()).collect();
    match counts.as_slice() {
        [count] if *count >= u64::from(u32::MAX) => Ids::All,
        [1] => Ids::Single,
        _ => Ids::Mapped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_mappings_apart() {
        assert_eq!(parse_ids("         0          0 4294967295\n"), Ids::All);
        assert_eq!(parse_ids("         0       1000          1\n"), Ids::Single);
        assert_eq!(parse_ids("0 1000 1\n1 100000 65536\n"), Ids::Mapped);
    }
}
