//! Secrets whose values count, and those whose values do not.

use std::fs;
use std::path::Path;

use super::{Bed, assert_says};

const DOCKERFILE: &str = "\
FROM base
RUN echo before
RUN --mount=type=secret,id=token sha256sum /run/secrets/token | head -c 8 > /print
RUN --mount=type=secret,id=other,required=false echo after
";

/// Values that are nowhere else on the machine.
const ONE: &str = "first-5d1f0a-value-of-the-secret";
const OTHER: &str = "other-c83e77-value-of-the-secret";

fn bed() -> Option<Bed> {
    let bed = Bed::new(DOCKERFILE)?;
    bed.work.write("token", ONE);
    Some(bed)
}

#[test]
fn another_value_makes_a_step_run_again_where_it_counts() {
    let Some(bed) = bed() else { return };
    let counts = bed.secret(",cache=hmac");
    bed.explained(&[&counts]);
    assert_eq!(bed.explained(&[&counts]), "\nall 4 steps were cached\n");

    bed.work.write("token", OTHER);
    let said = bed.explained(&[&counts]);
    // The step that read it gave another result.
    let changed =
        ["2 of 4 steps ran, because of `[3/4] RUN", "the value of the secret `token` changed"];
    assert_says(&said, &changed);
    assert!(!said.contains(ONE) && !said.contains(OTHER), "{said}");
    assert_says(&bed.asked(&[]), &changed);

    // Both values have their results now.
    bed.work.write("token", ONE);
    assert_eq!(bed.explained(&[&counts]), "\nall 4 steps were cached\n");
    bed.work.assert_no_mounts();
}

#[test]
fn another_value_makes_no_step_run_again_where_it_does_not_count() {
    let Some(bed) = bed() else { return };
    bed.explained(&[&bed.secret("")]);
    bed.work.write("token", OTHER);
    for fields in ["", ",cache=none"] {
        assert_eq!(bed.explained(&[&bed.secret(fields)]), "\nall 4 steps were cached\n");
    }
    // From here on it does.
    let said = bed.explained(&[&bed.secret(",cache=hmac")]);
    assert_says(&said, &["the value of the secret `token` counts from now on (`cache=hmac`)"]);
    bed.work.assert_no_mounts();
}

#[test]
fn that_a_value_counts_no_more_is_said() {
    let Some(bed) = bed() else { return };
    bed.explained(&[&bed.secret(",cache=hmac")]);
    let said = bed.explained(&[&bed.secret("")]);
    assert_says(&said, &["the value of the secret `token` counts no more (no `cache=hmac`)"]);
}

#[test]
fn a_value_that_counts_is_nowhere_in_the_store_and_each_store_has_keys_of_its_own() {
    let Some(bed) = bed() else { return };
    let counts = bed.secret(",cache=hmac");
    let elsewhere = bed.elsewhere();
    for kiln in [&bed.kiln, &elsewhere] {
        assert_eq!(bed.build_on(kiln, &[&counts]).code, Some(0));
    }
    let keys = |kiln: &super::Kiln| {
        let lines = kiln.print(&["explain", "--format", "json"]);
        let of = |line: &str| {
            let step: serde_json::Value = serde_json::from_str(line).unwrap();
            step["key"].as_str().map(str::to_owned)
        };
        lines.lines().filter_map(of).collect::<Vec<String>>()
    };
    let (here, there) = (keys(&bed.kiln), keys(&elsewhere));
    assert_eq!((here.len(), there.len()), (4, 4));
    let same: Vec<bool> = here.iter().zip(&there).map(|(a, b)| a == b).collect();
    // What follows reads a result that is the same.
    assert_eq!(same, [true, true, false, true]);

    bed.work.write("token", OTHER);
    assert_eq!(bed.build(&[&counts, "--explain"]).code, Some(0));
    assert_eq!(holders(&bed.work.path("store"), &[ONE, OTHER]), Vec::<String>::new());
    // The test can find what is there.
    assert_ne!(holders(&bed.work.path("store"), &["head -c 8 > /print"]), Vec::<String>::new());
    bed.work.assert_no_mounts();
}

/// The files in a directory that hold one of these texts.
fn holders(dir: &Path, texts: &[&str]) -> Vec<String> {
    let mut holders = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        if kind.is_dir() {
            holders.extend(self::holders(&path, texts));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            let holds = |text: &&str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
            if texts.iter().any(holds) {
                holders.push(path.display().to_string());
            }
        }
    }
    holders
}
