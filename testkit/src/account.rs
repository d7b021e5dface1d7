//! An ordinary user of a test's own.

use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use crate::skipped;

/// How often to try while another account is being made or removed.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// An account with subordinate ids, which goes with this value.
#[derive(Debug)]
pub struct Account {
    name: String,
    /// Its user id.
    pub uid: u32,
    /// Its group's id.
    pub gid: u32,
}

impl Account {
    /// Makes one; says what is missing where this machine cannot. Tests that run at the same time differ in
    /// `purpose`, which is short and in small letters.
    ///
    /// # Panics
    /// When it cannot be made though all is there for it.
    #[must_use]
    pub fn new(purpose: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("only root can make accounts");
            return None;
        }
        let needed = ["useradd", "userdel", "newuidmap", "newgidmap"];
        let missing: Vec<&str> = needed.into_iter().filter(|name| find(name).is_none()).collect();
        if !missing.is_empty() {
            skipped(&format!("not installed: {} (Debian: passwd, uidmap)", missing.join(", ")));
            return None;
        }
        let name = format!("kiln-{purpose}-{}", std::process::id());
        let arguments = ["--system", "--no-create-home", "--add-subids-for-system", &name];
        assert!(again(program("useradd").args(arguments)), "useradd {name}");
        // From here on it goes, whatever fails.
        let mut account = Self { name, uid: 0, gid: 0 };
        (account.uid, account.gid) = (account.id("-u"), account.id("-g"));
        Some(account)
    }

    fn id(&self, option: &str) -> u32 {
        let output = program("id").args([option, &self.name]).output().expect("`id` runs");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().unwrap_or_else(|_| panic!("`id {option} {}` says `{text}`", self.name))
    }

    /// Makes a tree the account's.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn give(&self, path: &Path) {
        give(path, self.uid, self.gid);
    }
}

/// Makes a tree somebody's.
///
/// # Panics
/// When that is not possible.
pub fn give(path: &Path, uid: u32, gid: u32) {
    lchown(path, Some(uid), Some(gid)).expect("a path can be given away");
    if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        for entry in fs::read_dir(path).expect("a directory can be read") {
            give(&entry.expect("a directory can be read").path(), uid, gid);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // One that stays behind is seen by whoever looks at the machine's accounts, not by a test.
        let _removed = again(program("userdel").arg(&self.name));
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

fn program(name: &str) -> Command {
    let mut command = Command::new(find(name).unwrap_or_else(|| name.into()));
    command.stdin(Stdio::null());
    command
}

/// A program, also one that is for root alone.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(name)).find(|path| path.is_file())
}
