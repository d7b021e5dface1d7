//! Answers as they are shown.

use kiln_engine::{Answer, Faulty};
use kiln_frontend::{BuildOptions, Extent, Facts, SourceText, check, outline, targets};
use kiln_grammar::parse;
use kiln_image::Platform;
use serde_json::{Value, json};

use super::*;

const SOURCE: &str = "\
# check=skip=JSONArgsRecommended
# base compiles
FROM scratch as base
# MODE is debug or release
ARG MODE=debug
RUN --mount=type=secret,id=token,required=true make
FROM base
ENV GREETING \\
    hello
";

fn file(source: &str) -> Faulty {
    Faulty { source: SourceText::of_file("Dockerfile", source), diagnostics: Vec::new() }
}

fn checked(source: &str) -> Answer {
    let parsed = parse(source);
    let options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    let checked = check(&parsed, source, &options, &Facts::new(), Extent::AllStages);
    assert!(checked.missing.is_empty());
    let remarks = Faulty { diagnostics: checked.remarks, ..file(source) };
    Answer::Checked { remarks, unseen: Vec::new() }
}

fn parsed(answer: &Answer) -> Value {
    serde_json::from_str(&render(answer, CallFormat::Json)).unwrap()
}

#[test]
fn a_check_has_the_members_that_buildx_prints() {
    let answer = checked(SOURCE);
    assert!(!is_good(&answer));
    let shown = parsed(&answer);
    let [casing, legacy] = shown["warnings"].as_array().unwrap().as_slice() else {
        panic!("{shown}")
    };
    assert_eq!(casing["ruleName"], "FromAsCasing");
    assert_eq!(casing["url"], "https://docs.docker.com/go/dockerfile/rule/from-as-casing/");
    assert_eq!(casing["detail"], "`as` is not in the case of `FROM`");
    assert_eq!(legacy["ruleName"], "LegacyKeyValueFormat");
    let lines = json!({"ranges": [{"start": {"line": 8}, "end": {"line": 9}}]});
    assert_eq!(legacy["location"], lines);
    assert_eq!(shown["sources"][0]["filename"], "Dockerfile");
    assert_eq!(shown["sources"][0]["language"], "Dockerfile");
    assert_eq!(shown["buildError"], Value::Null);
}

#[test]
fn a_remark_has_its_characters_and_the_way_out() {
    let shown = parsed(&checked(SOURCE));
    assert_eq!(
        shown["warnings"][0]["diagnostic"],
        json!({
            "level": "warning",
            "code": "FromAsCasing",
            "message": "`as` is not in the case of `FROM`",
            "page": "docs/diagnostics/FromAsCasing.md",
            "url": "https://docs.docker.com/go/dockerfile/rule/from-as-casing/",
            "span": {"start": {"line": 3, "column": 14}, "end": {"line": 3, "column": 16}},
            "within": {"start": {"line": 3, "column": 1}, "end": {"line": 3, "column": 21}},
            "hints": ["write `AS`"],
        })
    );
}

#[test]
fn a_refused_file_has_its_first_error_and_all_of_them() {
    let shown =
        parsed(&checked("FROM scratch as x\nRUN --mont=type=cache \\\n  true\nCOPPY a b\n"));
    assert_eq!(shown["warnings"][0]["ruleName"], "FromAsCasing");
    assert_eq!(shown["buildError"]["message"], "`RUN` has no flag `--mont`");
    let lines = json!({"ranges": [{"start": {"line": 2}, "end": {"line": 3}}]});
    assert_eq!(shown["buildError"]["location"], lines);
    let codes: Vec<_> =
        shown["errors"].as_array().unwrap().iter().map(|error| error["code"].clone()).collect();
    assert_eq!(codes, ["unknown-flag", "unknown-instruction"]);
}

#[test]
fn a_check_in_text_counts_and_shows_lines() {
    let text = render(&checked(SOURCE), CallFormat::Text);
    assert!(text.starts_with("Check complete, 2 warnings have been found!\n"), "{text}");
    assert!(text.contains("warning[FromAsCasing]: `as` is not in the case of `FROM`"), "{text}");
    assert!(text.contains(" --> Dockerfile:3:14\n"), "{text}");
    let good = checked("FROM scratch\n");
    assert_eq!(render(&good, CallFormat::Text), "Check complete, no warnings found.\n");
    assert!(is_good(&good));
}

#[test]
fn an_outline_is_a_table_or_an_object() {
    let options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    let shown = outline(&parse(SOURCE).dockerfile, &options, &Facts::new()).unwrap();
    let answer = Answer::Outline(file(SOURCE), shown);
    assert_eq!(
        render(&answer, CallFormat::Text),
        "\
BUILD ARG   VALUE   DESCRIPTION
MODE        debug   is debug or release

SECRET   REQUIRED
token    true
"
    );
    let shown = parsed(&answer);
    assert_eq!(shown["args"][0]["description"], "is debug or release");
    assert_eq!(shown["args"][0]["value"], "debug");
    assert_eq!(shown["secrets"][0]["required"], true);
    let lines = json!({"ranges": [{"start": {"line": 6}, "end": {"line": 6}}]});
    assert_eq!(shown["secrets"][0]["location"], lines);
    assert_eq!(shown["ssh"], Value::Null);
}

#[test]
fn targets_are_a_table_or_a_list() {
    let answer = Answer::Targets(file(SOURCE), targets(&parse(SOURCE).dockerfile));
    assert_eq!(
        render(&answer, CallFormat::Text),
        "\
TARGET        BASE      DESCRIPTION
base          scratch   compiles
1 (default)   base
"
    );
    let shown = parsed(&answer);
    assert_eq!(shown["targets"][0]["name"], "base");
    assert_eq!(shown["targets"][1]["default"], true);
    assert_eq!(shown["targets"][1]["base"], "base");
}

#[test]
fn the_end_of_a_build_counts_its_remarks() {
    let Answer::Checked { remarks: found, .. } = checked(SOURCE) else { panic!("a check") };
    assert!(remarks(&found).starts_with("2 warnings found:\n\nwarning["));
    assert_eq!(remarks(&file(SOURCE)), "");
}
