//! Which ids an account may map, and how they are mapped.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::{Gid, Pid, Uid, User};

use crate::ExecutorError;

/// A run of ids that an account may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    first: u32,
    count: u32,
}

/// How an account's ids are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Id 0 is the account; subordinate ids follow, in the order of the files.
    Subordinate { uids: Vec<Range>, gids: Vec<Range>, newuidmap: PathBuf, newgidmap: PathBuf },
    /// Id 0 is the account, and there is no other.
    Single {
        /// Why not more.
        reason: String,
    },
}

impl Mapping {
    /// What this process's account can have.
    pub(super) fn of_this_account() -> Self {
        let uid = Uid::current();
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
        let ranges = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            parse_ranges(&text, name.as_deref(), uid.as_raw())
        };
        let (uids, gids) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
        let single = |reason: String| Self::Single { reason };
        let account = name.clone().unwrap_or_else(|| uid.to_string());
        if uids.is_empty() || gids.is_empty() {
            return single(format!(
                "`{account}` has no subordinate ids in /etc/subuid and /etc/subgid"
            ));
        }
        match (find_tool("newuidmap"), find_tool("newgidmap")) {
            (Some(newuidmap), Some(newgidmap)) => {
                Self::Subordinate { uids, gids, newuidmap, newgidmap }
            }
            _ => single("the programs `newuidmap` and `newgidmap` are not installed".to_owned()),
        }
    }

    /// Maps the ids of a process in a new user namespace, from outside it.
    pub(super) fn apply(&self, child: Pid) -> Result<(), ExecutorError> {
        let Self::Subordinate { uids, gids, newuidmap, newgidmap } = self else { return Ok(()) };
        run_tool(newuidmap, child, Uid::current().as_raw(), uids)?;
        run_tool(newgidmap, child, Gid::current().as_raw(), gids)
    }
}

/// Reads a file of `name-or-number:first:count` lines; those of other accounts, and malformed ones, are
/// passed over.
fn parse_ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            (Some(owner) == name || owner == uid).then_some(Range { first, count })
        })
        .filter(|range| range.count > 0)
        .collect()
}

fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/usr/sbin".into());
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|tool| tool.is_file())
}

fn run_tool(
    tool: &std::path::Path,
    child: Pid,
    own: u32,
    ranges: &[Range],
) -> Result<(), ExecutorError> {
    let failed =
        |detail: String| ExecutorError::MapIds { tool: tool.display().to_string(), detail };
    let output = Command::new(tool)
        .args(arguments(child, own, ranges))
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}

fn arguments(child: Pid, own: u32, ranges: &[Range]) -> Vec<String> {
    let mut arguments = vec![child.to_string(), "0".into(), own.to_string(), "1".into()];
    let mut next = 1_u32;
    for range in ranges {
        arguments.extend([next, range.first, range.count].map(|number| number.to_string()));
        next = next.saturating_add(range.count);
    }
    arguments
}

/// What the parent tells the child: nothing for success.
pub(super) fn check_answer(answer: &str) -> Result<(), ExecutorError> {
    match answer.split_once('\n') {
        None if answer == "ok" => Ok(()),
        Some((tool, detail)) => {
            Err(ExecutorError::MapIds { tool: tool.to_owned(), detail: detail.to_owned() })
        }
        None => Err(ExecutorError::MapIds {
            tool: "newuidmap".to_owned(),
            detail: "the parent process ended".to_owned(),
        }),
    }
}

/// The other side of [`check_answer`].
pub(super) fn answer(result: &Result<(), ExecutorError>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(ExecutorError::MapIds { tool, detail }) => format!("{tool}\n{detail}"),
        Err(other) => format!("newuidmap\n{other}"),
    }
}

/// Maps id 0 to the account, which the kernel allows without help when groups cannot be set.
pub(super) fn write_single(uid: u32, gid: u32) -> Result<(), ExecutorError> {
    let write = |file: &str, text: String| {
        fs::write(file, text).map_err(|error| ExecutorError::MapIds {
            tool: file.to_owned(),
            detail: error.to_string(),
        })
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_ranges_of_one_account() {
        let text = "alice:100000:65536\nbob:200000:10\n1000:300000:5\nbad\nalice:x:1\nalice:1:0\n";
        let range = |first, count| Range { first, count };
        assert_eq!(parse_ranges(text, Some("alice"), 1), [range(100_000, 65_536)]);
        assert_eq!(parse_ranges(text, Some("bob"), 1000), [range(200_000, 10), range(300_000, 5)]);
        assert_eq!(parse_ranges(text, None, 7), []);
    }

    #[test]
    fn maps_ranges_one_after_another() {
        let ranges = [Range { first: 100, count: 10 }, Range { first: 500, count: 5 }];
        let arguments = arguments(Pid::from_raw(42), 1000, &ranges);
        assert_eq!(arguments.join(" "), "42 0 1000 1 1 100 10 11 500 5");
    }

    #[test]
    fn failures_reach_the_child() {
        let failed = Err(ExecutorError::MapIds { tool: "t".into(), detail: "two\nlines".into() });
        let error = check_answer(&answer(&failed)).unwrap_err();
        assert_eq!(error.to_string(), "cannot map ids with `t`: two\nlines");
        assert!(check_answer(&answer(&Ok(()))).is_ok());
        assert!(check_answer("").is_err());
    }
}
