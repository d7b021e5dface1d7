//! The demo: what Kiln does, on a machine that has Rust and nothing else of ours.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::base::{Kiln, provide};
use crate::shell::{run, say, top};

/// Builds an example, builds it again, changes one file, builds again, and shows the times.
pub(crate) fn demo() -> Result<()> {
    let top = top()?;
    say("compiling kiln (release) ...");
    let kiln = Kiln::build(&top, top.join("target/demo-store"))?;
    provide(&kiln)?;
    let work = tempfile::Builder::new().prefix("kiln-demo-").tempdir()?;
    let context = work.path().join("site");
    copy_tree(&top.join("testdata/demo"), &context)?;

    // The store outlives the demo, and with it the cache: a second demo would have no first build.
    let first = build(&kiln, &context, &["--no-cache"], "1. First build: every step runs")?;
    let again = build(&kiln, &context, &[], "2. The same again: every step is cached")?;
    let page = context.join("pages/about.txt");
    let text = fs::read_to_string(&page)?;
    fs::write(&page, text + "Changed just now.\n").context("changing pages/about.txt")?;
    let changed = build(&kiln, &context, &[], "3. One page changed: only what reads it runs")?;

    say("\n4. What is in the store");
    run(&mut kiln.command(&["images"]))?;
    say("\nTimes of the three builds, start to end of the process:");
    for (what, time) in [("first", first), ("cached", again), ("one file changed", changed)] {
        say(&format!("  {what:<18} {:>7.1} ms", time.as_secs_f64() * 1e3));
    }
    say("\nTry it on a Dockerfile of your own:  target/release/kiln build -t NAME .");
    Ok(())
}

fn build(kiln: &Kiln, context: &Path, options: &[&str], title: &str) -> Result<Duration> {
    say(&format!("\n{title}\n"));
    let context = context.display().to_string();
    let mut command: Command =
        kiln.command(&["build", "--progress", "plain", "--tag", "demo/site"]);
    command.args(options).arg(&context);
    let start = Instant::now();
    run(&mut command)?;
    Ok(start.elapsed())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
