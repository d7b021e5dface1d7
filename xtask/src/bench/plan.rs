//! Parsing and planning alone, of a large file and of many stages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell::{output, run};

/// What is planned, and the aim in milliseconds.
const CASES: [(&str, &str, &str, f64); 2] = [
    ("10 MB of ordinary lines", "lines", "10000000", 1_000.0),
    ("1,000 stages", "stages", "1000", 50.0),
];

/// Measures each case; a line for each.
pub(super) fn plans(top: &Path) -> Result<Vec<String>> {
    run(Command::new("cargo")
        .args(["build", "--quiet", "--release", "--locked", "--package", "kiln-frontend"])
        .args(["--example", "plan_cost"])
        .current_dir(top))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(top.join("target"), PathBuf::from);
    let program = target.join("release/examples/plan_cost");
    let line = |(what, shape, count, aim): (&str, &str, &str, f64)| {
        let nanoseconds = output(Command::new(&program).args([shape, count]))?;
        let milliseconds = nanoseconds.trim().parse::<f64>().context("the time to plan")? / 1e6;
        Ok(format!("parse and plan, {what}: {milliseconds:.1} ms (aim {aim:.0})"))
    };
    CASES.into_iter().map(line).collect()
}
