//! Making what a build stored survive a loss of power, after the build has answered.
//!
//! Writing a filesystem's dirty pages out can take seconds that no build should wait for. A process of its
//! own does it: a fresh one, since the build's threads may hold locks.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_engine::Engine;

/// The name by which the process knows what it was started for.
const NAME: &str = "kiln-mark-durable";

/// Starts the process, if the engine stored anything. Without it the next build after a loss of power runs
/// more.
pub(crate) fn in_background(engine: &Engine) {
    if !engine.has_published() {
        return;
    }
    let spawned = Command::new("/proc/self/exe")
        .arg0(NAME)
        .arg(engine.root())
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
        && let Err(error) = Engine::mark_durable(Path::new(&root))
    {
        tracing::warn!(%error, "the store is not made durable");
    }
    true
}
