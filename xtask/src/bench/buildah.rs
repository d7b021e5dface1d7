//! Buildah on the same Dockerfiles, where it is installed: with a storage of its own, without root's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::time;
use crate::base::{Kiln, NAME};
use crate::shell::{has, output};

/// An installed buildah with the same base image in a storage of its own.
pub(super) struct Buildah {
    storage: PathBuf,
    /// Graph driver of its storage: overlay where it works.
    driver: &'static str,
}

impl Buildah {
    /// Buildah, if it is installed, with Kiln's base pulled into it.
    pub(super) fn find(kiln: &Kiln, work: &Path) -> Result<Option<Self>> {
        if !has("buildah") {
            return Ok(None);
        }
        let storage = work.join("buildah");
        fs::create_dir_all(&storage)?;
        fs::write(
            storage.join("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )?;
        let archive = storage.join("base.tar").display().to_string();
        output(&mut kiln.command(&["save", "--output", &archive, NAME]))?;
        for driver in ["overlay", "vfs"] {
            let found = Self { storage: storage.clone(), driver };
            let source = format!("docker-archive:{archive}");
            let policy = found.policy();
            if output(found.command("pull").args(["--signature-policy", &policy, &source])).is_ok()
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Builds a context, with its layers cached or from the start.
    pub(super) fn build(&self, context: &Path, cold: bool) -> Result<Duration> {
        let mut command = self.command("build");
        command.args(["--layers", "--pull=never", "--isolation", "chroot", "--quiet"]);
        command.args(["--signature-policy", &self.policy(), "--tag", "bench"]);
        if cold {
            command.arg("--no-cache");
        }
        command.arg(context);
        time(|| output(&mut command).map(drop))
    }

    fn policy(&self) -> String {
        self.storage.join("policy.json").display().to_string()
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(self.storage.join("root"))
            .arg("--runroot")
            .arg(self.storage.join("run"))
            .args(["--storage-driver", self.driver, subcommand]);
        command
    }
}
