//! Compares Kiln with the reference on real input, which lies beside the project, by the tests that read it: plans,
//! words and ignore files, and whole builds.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{say, top};

/// Where the corpus lies, from the workspace's top.
const CORPUS: &str = "../shared/corpus";

/// The tests that compare tables of the corpus.
const TABLES: [&[&str]; 3] = [
    &["-p", "kiln-ir", "-p", "kiln-frontend", "--lib", "agrees_with_the_table"],
    &["-p", "kiln-cli", "--test", "corpus"],
    &["-p", "kiln-frontend", "--test", "corpus"],
];

/// The test that compares builds, and the variable that chooses them.
const BUILDS: &[&str] = &["-p", "kiln-cli", "--test", "e2e", "builds_give_the_references_images"];
const CHOSEN: &str = "KILN_BUILDS";

/// Compares plans and tables of words and ignore files, or with `builds` whole builds: all, or those whose name
/// contains `only`.
pub(crate) fn corpus(builds: bool, only: Option<&str>) -> Result<()> {
    let top = top()?;
    let corpus = top.join(CORPUS);
    if !corpus.is_dir() {
        say(&format!("SKIPPED: {CORPUS} is not here: 0 equal, 0 differ, 0 not supported yet"));
        return Ok(());
    }
    if builds {
        compare(&top, &[BUILDS], only.unwrap_or_default())
    } else {
        compare(&top, &TABLES, "")
    }
}

/// Runs tests that read the corpus, and adds up what they compared.
fn compare(top: &Path, tests: &[&[&str]], chosen: &str) -> Result<()> {
    let list = tempfile::NamedTempFile::new()?;
    let mut failed = Vec::new();
    for arguments in tests {
        let mut command = Command::new("cargo");
        command.args(["test", "--quiet", "--locked", "--no-fail-fast"]).args(*arguments);
        command.env("KILN_COMPARED", list.path()).env(CHOSEN, chosen).current_dir(top);
        let tests = command.output()?;
        if !tests.status.success() {
            failed
                .push(String::from_utf8_lossy(&[tests.stdout, tests.stderr].concat()).into_owned());
        }
    }
    let told = fs::read_to_string(list.path())?;
    if told.is_empty() {
        bail!("nothing was compared\n{}", failed.concat());
    }
    let sum = |word: &str| -> usize { told.lines().filter_map(|line| count(line, word)).sum() };
    let (equal, differ, not_yet) = (sum("equal"), sum("differ"), sum("not supported yet"));
    say(told.trim_end());
    say(&format!("{equal} equal, {differ} differ, {not_yet} not supported yet"));
    if !failed.is_empty() {
        bail!("differences that no decision argues for");
    }
    Ok(())
}

/// The number before a word in a line such as `words.json: 900 equal, 0 differ`.
fn count(line: &str, word: &str) -> Option<usize> {
    // Lines that are set in tell differences.
    let (_, counts) = line.split_once(": ").filter(|_| !line.starts_with(' '))?;
    counts.split(", ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_tests_tell() {
        let line = "words.json: 900 equal, 3 differ, 0 not supported yet";
        assert_eq!([count(line, "equal"), count(line, "differ")], [Some(900), Some(3)]);
        assert_eq!(count(line, "not supported yet"), Some(0));
        assert_eq!(count("    id: 1 equal, 2", "equal"), None);
    }
}
