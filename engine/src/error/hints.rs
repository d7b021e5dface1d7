//! Ways out of failures, for people.

use std::io;

use kiln_cache::CacheError;
use kiln_cache::select::SelectError;
use kiln_registry::RegistryError;

use super::EngineError;
use crate::runner::Failed;

impl EngineError {
    /// Lines of advice.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "most messages say it all")]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Select(error) => error.hints(),
            Self::NoBuild { hints, .. } | Self::NoStep { hints, .. } => hints.clone(),
            Self::Cache(CacheError::DamagedStoreInUse { .. }) => vec![
                "once they have ended, `kiln system check --repair` makes it anew from what is whole; so \
                 does any other command that opens the store"
                    .to_owned(),
            ],
            Self::Overlap { .. } => {
                vec![
                    "leave out `platform-split=false`: each platform then has a directory"
                        .to_owned(),
                ]
            }
            Self::SeveralPlatforms => {
                vec!["use `--output type=oci`, or build for one `--platform`".to_owned()]
            }
            Self::Remote(error) => error.hints(),
            Self::CacheExport { source, .. } => source.hints(),
            Self::NoSource { missing, .. } => {
                scheme_hint(missing).map_or_else(|| missing.hints(), |hint| vec![hint])
            }
            Self::Command { args, exit, output, .. } => command_hints(args, *exit, output),
            Self::ReadFile { what: "Dockerfile", source, .. }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                vec!["name another file with `--file`".to_owned()]
            }
            Self::Registry(RegistryError::Unreachable { .. }) => {
                vec![
                    "is the host right, and the network up? a `kiln.toml` can name mirrors"
                        .to_owned(),
                ]
            }
            Self::Registry(RegistryError::Unauthorised { .. }) => {
                vec!["credentials are read from `~/.docker/config.json`".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// What to say of a path that was meant as an address: `file:///x` is the path `/file:/x`.
fn scheme_hint(missing: &SelectError) -> Option<String> {
    let SelectError::Missing { source_path, .. } = missing else { return None };
    let (scheme, _) = source_path.trim_start_matches('/').split_once(":/")?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    is_scheme.then(|| {
        format!("`{scheme}://` is not fetched: `ADD` takes addresses of http, https, ssh and git")
    })
}

/// What commands that fail in usual ways lack.
fn command_hints(args: &[String], exit: Failed, output: &[String]) -> Vec<String> {
    /// What the shells say, and who runs a command without one.
    const NOT_FOUND: i32 = 127;
    /// SIGKILL.
    const KILLED: i32 = 9;
    let unfound = output.last().is_some_and(|line| line == "kiln: `/bin/sh` was not found");
    match exit {
        Failed::Code(NOT_FOUND) if unfound && args.get(1).is_some_and(|flag| flag == "-c") => {
            vec![
                "the image has no shell; write the command as `RUN [\"program\", \"argument\"]`"
                    .to_owned(),
            ]
        }
        Failed::Code(_) if let Some(machine) = output.last().and_then(|line| foreign(line)) => {
            vec![format!(
                "an emulator that the kernel knows (binfmt_misc, with the flag F) could run it: install \
                 Debian's `qemu-user-binfmt`, or run `docker run --privileged --rm tonistiigi/binfmt \
                 --install {machine}`"
            )]
        }
        Failed::Signal(KILLED) => {
            vec!["perhaps the memory ran out; the kernel's log tells".to_owned()]
        }
        Failed::Code(_) | Failed::Signal(_) => Vec::new(),
    }
}

/// The machine that a program is for, when that is why it could not run.
fn foreign(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix("kiln: `")?.split_once("` is a program for ")?;
    rest.strip_suffix(", which this machine cannot run")
}
