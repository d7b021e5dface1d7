//! Every line of `testdata/remarks.md` names tests, and all that it names are there.

#![expect(
    clippy::disallowed_methods,
    reason = "the crate reads no files, this test of a list of files does"
)]

use std::fs;
use std::path::Path;

use kiln_testkit::documents;

#[test]
fn every_remark_has_a_test() {
    let lists = documents("testdata", "md");
    let list = lists.iter().find(|document| document.name == "remarks").unwrap();
    let workspace = list.path.ancestors().nth(2).unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && !line.ends_with("| tests |");
    let rows: Vec<_> = list.input.lines().filter(is_row).collect();
    assert!(rows.len() >= 150, "{} lines", rows.len());
    let mistakes: Vec<_> = rows.iter().filter_map(|row| mistake(workspace, row)).collect();
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

/// What is wrong with a line.
fn mistake(workspace: &Path, row: &str) -> Option<String> {
    let cells: Vec<_> = row.trim_matches('|').rsplitn(2, " | ").collect();
    let [tests, remark] = cells.as_slice() else { return Some(format!("{row}: no two columns")) };
    let names: Vec<_> = tests.split_whitespace().map(|name| name.trim_matches('`')).collect();
    if names.is_empty() {
        return Some(format!("{remark}: names no test"));
    }
    let missing: Vec<_> = names.into_iter().filter(|name| !exists(workspace, name)).collect();
    (!missing.is_empty()).then(|| format!("{remark}: there is no {}", missing.join(", ")))
}

fn exists(workspace: &Path, name: &str) -> bool {
    if let Some(case) = name.strip_prefix("e2e/") {
        return workspace.join("testdata/e2e").join(case).join("expect.json").is_file();
    }
    if let Some(page) = name.strip_prefix("diagnostics/") {
        return workspace.join("docs/diagnostics").join(format!("{page}.md")).is_file();
    }
    let Some((file, test)) = name.rsplit_once("::") else { return false };
    let Some((folder, module)) = file.split_once("::") else { return false };
    let module = module.replace("::", "/");
    let beginning = if module.starts_with("tests/") { "" } else { "src/" };
    [".rs", "/mod.rs"].iter().any(|end| {
        let file = workspace.join(folder).join(format!("{beginning}{module}{end}"));
        fs::read_to_string(file).is_ok_and(|source| holds(&source, test))
    })
}

/// Whether a source has a test of this name; between its mark and its name stand other attributes at most.
fn holds(source: &str, test: &str) -> bool {
    source.split("#[test]").skip(1).any(|after| {
        let lines = after.lines().map(str::trim);
        let mut lines = lines.skip_while(|line| line.is_empty() || line.starts_with("#["));
        lines.next().is_some_and(|line| line.starts_with(&format!("fn {test}(")))
    })
}

#[test]
fn a_name_that_is_nowhere_is_missed() {
    let lists = documents("testdata", "md");
    let workspace = lists[0].path.ancestors().nth(2).unwrap();
    for (row, wrong) in [
        ("| a | `e2e/copy-link` |", false),
        ("| a | `e2e/none` |", true),
        ("| a | `diagnostics/none` |", true),
        ("| a | `frontend::tests::remarks::every_remark_has_a_test` |", false),
        ("| a | `frontend::tests::remarks::mistake` |", true),
        ("| a | `frontend::tests::none::mistake` |", true),
        ("| a |  |", true),
    ] {
        assert_eq!(mistake(workspace, row).is_some(), wrong, "{row}");
    }
}
