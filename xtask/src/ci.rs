//! What a change must pass, in the order in which a failure is cheapest to find.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{has, run, say, top};

/// Runs every check.
pub(crate) fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    crate::tidy::tidy()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    test()?;
    run(Command::new("cargo")
        .args(["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .current_dir(top()?))?;
    optional("cargo-deny", &["deny", "--all-features", "check", "bans", "licenses", "sources"])?;
    fuzz_targets()
}

/// Runs every test, and tells how many had to be skipped on this machine.
fn test() -> Result<()> {
    let skipped = tempfile::NamedTempFile::new()?;
    run(Command::new("cargo")
        .args(["test", "--workspace", "--locked"])
        .env("KILN_SKIPPED", skipped.path())
        .current_dir(top()?))?;
    let reasons = std::fs::read_to_string(skipped.path())?;
    say(&format!("skipped for want of something on this machine: {}", reasons.lines().count()));
    reasons.lines().for_each(|reason| say(&format!("  {reason}")));
    Ok(())
}

/// Rewrites every golden file from what the code gives now; `git diff` shows what changed.
pub(crate) fn bless() -> Result<()> {
    run(Command::new("cargo")
        .args(["test", "--workspace", "--locked"])
        .env("KILN_BLESS", "1")
        .current_dir(top()?))
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run(Command::new("cargo").args(arguments).current_dir(top()?))
}

fn optional(program: &str, arguments: &[&str]) -> Result<()> {
    if has(program) {
        return cargo(arguments);
    }
    say(&format!("SKIPPED: {program} is not installed (cargo install {program})"));
    Ok(())
}

/// The fuzz targets stand outside the workspace; they must at least compile.
fn fuzz_targets() -> Result<()> {
    let fuzz = top()?.join("fuzz");
    if !fuzz.join("Cargo.toml").is_file() {
        bail!("fuzz/Cargo.toml is missing");
    }
    run(Command::new("cargo")
        .args(["check", "--locked", "--bins"])
        .env("CARGO_TARGET_DIR", top()?.join("target"))
        .current_dir(fuzz))
}
