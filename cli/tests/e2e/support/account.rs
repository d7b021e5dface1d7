//! An ordinary user of the test's own.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{have, is_root, output, tool};

/// How often to try while another account is being made or removed.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// An account with subordinate ids, which goes with this value.
pub(crate) struct Account {
    name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// Makes one; nothing where this machine cannot. Tests that run at the same time differ in `purpose`.
    pub(crate) fn new(purpose: &str) -> Option<Self> {
        if !is_root() || !have(&["useradd", "userdel", "newuidmap", "newgidmap"]) {
            return None;
        }
        let name = format!("ke2e-{purpose}-{}", std::process::id());
        let made = again(tool("useradd").args([
            "--system",
            "--no-create-home",
            "--add-subids-for-system",
            &name,
        ]));
        assert!(made, "useradd {name}");
        let id =
            |option: &str| output(tool("id").args([option, name.as_str()])).trim().parse().unwrap();
        let (uid, gid) = (id("-u"), id("-g"));
        Some(Self { name, uid, gid })
    }

    /// Makes a tree the account's.
    pub(crate) fn give(&self, path: &Path) {
        lchown(path, Some(self.uid), Some(self.gid)).unwrap();
        if path.symlink_metadata().unwrap().is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.give(&entry.unwrap().path());
            }
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // One that stays behind is seen by whoever looks at the machine's accounts, not by a test.
        let _removed = again(tool("userdel").arg(&self.name));
    }
}

fn again(command: &mut Command) -> bool {
    command.stderr(Stdio::null());
    (0..TRIES).any(|_| {
        let done = command.status().is_ok_and(|status| status.success());
        if !done {
            thread::sleep(PAUSE);
        }
        done
    })
}
