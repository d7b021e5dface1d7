//! The house rules that a compiler does not check.
//!
//! The direction of dependencies and file headers are errors. Sizes are a report: where to look first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::shell::{say, top};

/// What each crate may use of the others (ARCHITECTURE.md, "Crates").
const ALLOWED: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("grammar", &[]),
    ("testkit", &[]),
    ("image", &["ir"]),
    ("cache", &["ir"]),
    ("executor", &["ir"]),
    ("frontend", &["grammar", "image", "ir"]),
    ("registry", &["image"]),
    ("solver", &["cache", "ir"]),
    ("engine", &["cache", "executor", "frontend", "grammar", "image", "ir", "registry", "solver"]),
    ("cli", &["engine", "frontend", "grammar", "image", "ir", "solver"]),
    ("xtask", &[]),
];

/// Lines at which a file begins to be looked at.
const FILE_LINES: usize = 500;

/// Checks every rule and reports all breaches at once.
pub(crate) fn tidy() -> Result<()> {
    let top = top()?;
    let mut breaches = Vec::new();
    check_dependencies(&top, &mut breaches)?;
    check_clippy_settings(&top, &mut breaches)?;
    let mut large = Vec::new();
    for (name, _) in ALLOWED {
        for file in rust_files(&top.join(name))? {
            check_file(&top, &file, &mut breaches, &mut large)?;
        }
    }
    large.sort_unstable_by(|left, right| right.cmp(left));
    for (lines, file) in &large {
        say(&format!("report: {lines:5} lines  {}", file.display()));
    }
    for breach in &breaches {
        say(&format!("tidy: {breach}"));
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the house rules", breaches.len());
    }
    say("tidy: ok");
    Ok(())
}

fn check_dependencies(top: &Path, breaches: &mut Vec<String>) -> Result<()> {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for (name, may_use) in &allowed {
        let path = top.join(name).join("Cargo.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let manifest: toml::Table = text.parse().with_context(|| path.display().to_string())?;
        let Some(dependencies) = manifest.get("dependencies").and_then(toml::Value::as_table)
        else {
            continue;
        };
        for (dependency, value) in dependencies {
            if let Some(ours) = dependency.strip_prefix("kiln-")
                && !may_use.contains(&ours)
            {
                breaches.push(format!("`{name}` may not depend on `{ours}`"));
            }
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                breaches.push(format!(
                    "`{name}`: the version of `{dependency}` belongs in the workspace's Cargo.toml"
                ));
            }
        }
    }
    Ok(())
}

/// A crate's own `clippy.toml` replaces the workspace's, so it must repeat its settings.
fn check_clippy_settings(top: &Path, breaches: &mut Vec<String>) -> Result<()> {
    let settings = fs::read_to_string(top.join("clippy.toml")).context("clippy.toml")?;
    for (name, _) in ALLOWED {
        let Ok(own) = fs::read_to_string(top.join(name).join("clippy.toml")) else { continue };
        for line in settings.lines().filter(|line| !line.is_empty() && !own.contains(*line)) {
            breaches.push(format!("{name}/clippy.toml lacks the workspace's `{line}`"));
        }
    }
    Ok(())
}

fn check_file(
    top: &Path,
    file: &Path,
    breaches: &mut Vec<String>,
    large: &mut Vec<(usize, PathBuf)>,
) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let shown = file.strip_prefix(top).unwrap_or(file);
    if !text.starts_with("//!") {
        breaches.push(format!("{}: no `//!` header", shown.display()));
    }
    let is_test = shown.components().any(|part| part.as_os_str() == "tests")
        || shown.file_stem().is_some_and(|stem| stem == "tests");
    let lines = text.lines().count();
    if lines > FILE_LINES && !is_test {
        large.push((lines, shown.to_owned()));
    }
    Ok(())
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
