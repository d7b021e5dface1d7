//! What a machine may or may not have beside the project.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::golden::workspace;

/// A file of the conformance corpus, which is kept beside the project and not in it. Says on standard
/// error that the test is skipped when it is not there.
#[must_use]
pub fn corpus(name: &str) -> Option<String> {
    let path = workspace().join("../shared/corpus").join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            skipped(&format!("{}: {error}", path.display()));
            None
        }
    }
}

/// A directory of the corpus. Says on standard error that the test is skipped when it is not there.
#[must_use]
pub fn corpus_directory(name: &str) -> Option<PathBuf> {
    let path = workspace().join("../shared/corpus").join(name);
    match path.canonicalize() {
        Ok(path) => Some(path),
        Err(error) => {
            skipped(&format!("{}: {error}", path.display()));
            None
        }
    }
}

/// Says on standard error that a test is skipped, and why; also in the file that `KILN_SKIPPED` names, for
/// whoever counts.
///
/// Written past the test harness, which keeps to itself what a test that passes prints with macros.
///
/// # Panics
/// When that file cannot be written: a skip that nobody counts is a hidden one.
pub fn skipped(reason: &str) {
    // There is nobody else to tell.
    let _unseen = writeln!(io::stderr(), "SKIPPED: {reason}");
    if let Some(path) = std::env::var_os("KILN_SKIPPED") {
        let mut list = OpenOptions::new().append(true).create(true).open(path).expect("the list");
        list.write_all(format!("{reason}\n").as_bytes()).expect("the list of what is skipped");
    }
}
