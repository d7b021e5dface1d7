//! Cases and the outputs they are to have.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// One input of a suite.
#[derive(Debug, Clone)]
pub struct Case {
    /// The file's name without its extension.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub input: String,
}

impl Case {
    /// The golden file beside the input, told apart by its extension.
    #[must_use]
    pub fn golden(&self, extension: &str) -> PathBuf {
        self.path.with_extension(extension)
    }
}

/// The inputs in a folder of `testdata/`, sorted by name.
///
/// # Panics
/// When the folder cannot be read or holds no such file: a suite without cases tests nothing.
#[must_use]
pub fn cases(folder: &str, extension: &str) -> Vec<Case> {
    documents(&format!("testdata/{folder}"), extension)
}

/// The files of the same kind in a folder of the project, sorted by name.
///
/// # Panics
/// When the folder cannot be read or holds no such file.
#[must_use]
pub fn documents(folder: &str, extension: &str) -> Vec<Case> {
    let directory = workspace().join(folder);
    let entries = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no `*.{extension}` in {}", directory.display());
    paths.into_iter().map(case).collect()
}

fn case(path: PathBuf) -> Case {
    let input = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Case { name, path, input }
}

/// Compares text with a golden file.
///
/// # Panics
/// When they differ, with the first line that does, or when there is no golden file; unless `KILN_BLESS=1`
/// is set, in which case the file is written.
pub fn check(golden: &Path, actual: &str) {
    if env::var_os("KILN_BLESS").is_some_and(|value| value == "1") {
        fs::write(golden, actual)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", golden.display()));
        return;
    }
    let expected = fs::read_to_string(golden).unwrap_or_else(|error| {
        panic!("cannot read {}: {error}; KILN_BLESS=1 writes it", golden.display())
    });
    if let Some((line, expected, actual)) = first_difference(&expected, actual) {
        let file = golden.display();
        panic!(
            "{file}:{line} differs; KILN_BLESS=1 accepts it\n  expected: {expected}\n  actual:   {actual}"
        );
    }
}

/// The first line, counted from 1, in which two texts differ, with both versions of it.
fn first_difference<'a>(expected: &'a str, actual: &'a str) -> Option<(usize, &'a str, &'a str)> {
    if expected == actual {
        return None;
    }
    let (mut left, mut right) = (expected.split('\n'), actual.split('\n'));
    let mut line = 1;
    loop {
        match (left.next(), right.next()) {
            (Some(expected), Some(actual)) if expected == actual => line += 1,
            (expected, actual) => {
                const END: &str = "(end of text)";
                return Some((line, expected.unwrap_or(END), actual.unwrap_or(END)));
            }
        }
    }
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn names_the_first_differing_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some((2, "b", "c")));
        assert_eq!(first_difference("a", "a\n"), Some((2, "(end of text)", "")));
    }
}
