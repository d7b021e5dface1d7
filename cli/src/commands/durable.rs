//! Making what a build stored survive a loss of power, and collecting what is over the limits, after the
//! build has answered.
//!
//! Writing a filesystem's dirty pages out can take seconds that no build should wait for. A process of its
//! own does it: a fresh one, since the build's threads may hold locks.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_engine::Engine;
use kiln_engine::gc::Limits;

/// The name by which the process knows what it was started for.
const NAME: &str = "kiln-mark-durable";

/// Starts the process, if the engine stored anything. Without it the next build after a loss of power runs
/// more.
pub(crate) fn in_background(engine: &Engine) {
    if !engine.has_published() {
        return;
    }
    let limits = engine.limits().unwrap_or_else(|error| {
        tracing::warn!(%error, "nothing is collected");
        None
    });
    let spawned = Command::new("/proc/self/exe")
        .arg0(NAME)
        .arg(engine.root())
        .args(limits.map(encode).into_iter().flatten())
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
        && let Err(error) = Engine::settle(Path::new(&root), decode(arguments))
    {
        tracing::warn!(%error, "the store is not made durable, or nothing is collected");
    }
    true
}

/// The limits as arguments, in a fixed order.
fn encode(limits: Limits) -> [String; 3] {
    let Limits { max_used_bytes, reserved_bytes, min_free_bytes } = limits;
    [max_used_bytes, reserved_bytes, min_free_bytes]
        .map(|bytes| bytes.map_or_else(String::new, |bytes| bytes.to_string()))
}

/// The limits from arguments; nothing when none were given.
fn decode(arguments: impl Iterator<Item = OsString>) -> Option<Limits> {
    let mut bytes = arguments.map(|text| text.to_str().and_then(|text| text.parse().ok()));
    Some(Limits {
        max_used_bytes: bytes.next()?,
        reserved_bytes: bytes.next()?,
        min_free_bytes: bytes.next()?,
    })
}
