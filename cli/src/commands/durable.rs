//! Making what a build stored survive a loss of power, and collecting what is over the limits, after the
//! build has answered.
//!
//! Writing a filesystem's dirty pages out can take seconds that no build should wait for. A process of its
//! own does it: a fresh one, since the build's threads may hold locks.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kiln_engine::Engine;
use kiln_engine::gc::Limits;
use kiln_engine::history::BuildLimits;

/// The name by which the process knows what it was started for.
const NAME: &str = "kiln-mark-durable";

/// Starts the process, if the engine stored anything. Without it the next build after a loss of power runs
/// more.
pub(crate) fn in_background(engine: &Engine) {
    if !engine.is_unsettled() {
        return;
    }
    let both = engine.build_limits().and_then(|builds| Ok((builds, engine.limits()?)));
    let limits = both.map_or_else(
        |error| {
            tracing::warn!(%error, "nothing is collected");
            Vec::new()
        },
        |(builds, limits)| encode(builds, limits),
    );
    let spawned = Command::new("/proc/self/exe")
        .arg0(NAME)
        .arg(engine.root())
        .args(limits)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    if let Err(error) = spawned {
        tracing::warn!(%error, "the store is not made durable");
    }
}

/// Becomes the process when it was started as that; answers whether it did.
pub(crate) fn main() -> bool {
    let mut arguments = std::env::args_os();
    if arguments.next().is_none_or(|name| name != NAME) {
        return false;
    }
    if let Some(root) = arguments.next()
        && let (builds, limits) = decode(arguments)
        && let Err(error) = Engine::settle(Path::new(&root), builds, limits)
    {
        tracing::warn!(%error, "the store is not made durable, or nothing is collected");
    }
    true
}

/// The limits as arguments, in a fixed order: those of the history, then those of the rest unless that is not
/// collected.
fn encode(builds: BuildLimits, limits: Option<Limits>) -> Vec<String> {
    let BuildLimits { count, age, size_bytes } = builds;
    let history = [u64::from(count), age.as_secs(), size_bytes].map(Some);
    let rest = limits.map(|Limits { max_used_bytes, reserved_bytes, min_free_bytes }| {
        [max_used_bytes, reserved_bytes, min_free_bytes]
    });
    let numbers = history.into_iter().chain(rest.into_iter().flatten());
    numbers.map(|number| number.map_or_else(String::new, |number| number.to_string())).collect()
}

/// The limits from arguments; nothing of those that were not given.
fn decode(arguments: impl Iterator<Item = OsString>) -> (Option<BuildLimits>, Option<Limits>) {
    let mut numbers = arguments.map(|text| text.to_str().and_then(|text| text.parse().ok()));
    let mut next = || numbers.next();
    let history = [next(), next(), next()].map(Option::flatten);
    let rest = [next(), next(), next()];
    let builds = match history {
        [Some(count), Some(seconds), Some(size_bytes)] => {
            let age = Duration::from_secs(seconds);
            Some(BuildLimits { count: u32::try_from(count).unwrap_or(u32::MAX), age, size_bytes })
        }
        _ => None,
    };
    let limits = match rest {
        [Some(max_used_bytes), Some(reserved_bytes), Some(min_free_bytes)] => {
            Some(Limits { max_used_bytes, reserved_bytes, min_free_bytes })
        }
        _ => None,
    };
    (builds, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_the_way() {
        let age = Duration::from_secs(7);
        let builds = BuildLimits { count: 5, age, size_bytes: u64::MAX };
        let some =
            Limits { max_used_bytes: Some(3), reserved_bytes: None, min_free_bytes: Some(0) };
        for limits in [Some(some), None] {
            let arguments = encode(builds, limits).into_iter().map(OsString::from);
            assert_eq!(decode(arguments), (Some(builds), limits));
        }
        assert_eq!(decode(std::iter::empty()), (None, None));
    }
}
