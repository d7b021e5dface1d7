//! Builds that must find every result in the cache.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Bed, assert_says};

const DOCKERFILE: &str = "\
FROM base AS build
COPY src /src
RUN cat /src/a > /made
FROM base
RUN echo beside > /beside
COPY --from=build /made /made
";

fn bed() -> Option<Bed> {
    let bed = Bed::new(DOCKERFILE)?;
    bed.write("src/a", "one\n");
    Some(bed)
}

#[test]
fn a_build_passes_where_all_is_cached() {
    let Some(bed) = bed() else { return };
    assert_eq!(bed.build(&[]).code, Some(0));
    let said = bed.build(&["--require-cached"]);
    assert_eq!((said.code, said.text.as_str()), (Some(0), ""));
    let said = bed.build(&["--require-cached", "--explain"]);
    assert_eq!((said.code, said.text.as_str()), (Some(0), "\nall 5 steps were cached\n"));
    bed.work.assert_no_mounts();
}

#[test]
fn a_refused_build_says_which_step_would_run_and_why() {
    let Some(bed) = bed() else { return };
    assert_eq!(bed.build(&[]).code, Some(0));
    bed.write("src/a", "other\n");
    bed.write("src/new", "");
    let said = bed.build(&["--require-cached", "--explain"]);
    assert_eq!(said.code, Some(8), "{}", said.text);
    assert_says(
        &said.text,
        &[
            "error: `[build 2/3] COPY src /src` is not cached, and `--require-cached` lets no step run",
            "ctx/Dockerfile:2)",
            "  differs from its result made ",
            ":\n    what is copied of `src` changed:\n",
            "      ~ src/a    content (4 → 6 bytes)\n      + src/new\n",
            "2 steps come after and were not looked at",
            "= help: a build without `--require-cached` runs these steps and records their results",
        ],
    );
    assert_eq!(said.text.matches("differs from").count(), 1, "told once:\n{}", said.text);
    // The record of the build says that much.
    assert_says(
        &bed.asked(&[]),
        &[
            "1 of 5 steps was not cached, and none was to run; the build ended before 2 were looked up",
            "not cached then, and `--require-cached` let no step run:\n  [build 2/3] COPY src /src",
        ],
    );
    bed.work.assert_no_mounts();
}

#[test]
fn all_steps_that_would_run_first_are_named() {
    let Some(bed) = bed() else { return };
    // The base is there, and nothing else.
    bed.write("Dockerfile", "FROM base\nRUN true\n");
    assert_eq!(bed.build(&[]).code, Some(0));
    bed.write("Dockerfile", DOCKERFILE);
    let said = bed.build(&["--require-cached"]);
    assert_eq!(said.code, Some(8), "{}", said.text);
    assert_says(
        &said.text,
        &[
            "error: 2 steps are not cached, and `--require-cached` lets no step run",
            "no earlier build of it is known:\n  [build 2/3] COPY src /src",
            "\n  [stage-1 2/3] RUN echo beside > /beside",
        ],
    );
}

#[test]
fn a_refused_build_leaves_the_store_as_it_was() {
    let Some(bed) = bed() else { return };
    assert_eq!(bed.build(&[]).code, Some(0));
    bed.write("src/a", "other\n");
    let (files, cached) = (bed.files(), bed.cached());
    for _ in 0..2 {
        assert_eq!(bed.build(&["--require-cached"]).code, Some(8));
    }
    assert_eq!((bed.files(), bed.cached()), (files, cached));
    // Nor does a later build take the step for one that was begun.
    let said = bed.explained(&[]);
    assert_says(&said, &["differs from its result made ", "3 of 5 steps ran"]);
    bed.work.assert_no_mounts();
}

impl Bed {
    /// What the cache holds, as it is listed.
    fn cached(&self) -> Vec<String> {
        let listed = self.kiln.print(&["builder", "du", "--format", "json"]);
        let of = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", row["ID"], row["Size"])
        };
        let mut ids: Vec<String> = listed.lines().map(of).collect();
        ids.sort();
        ids
    }

    /// The store's layers, blobs and contexts.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for name in ["layers", "oci", "contexts"] {
            all(&self.work.path("store").join(name), &mut files);
        }
        files
    }
}

fn all(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        if entry.file_type().unwrap().is_dir() {
            all(&entry.path(), files);
        }
        files.push(entry.path());
    }
}
