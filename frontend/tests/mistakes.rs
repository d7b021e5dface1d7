//! All mistakes of a file are told at once, and nothing that only follows from one of them.
//!
//! Real Dockerfiles that are right are spoilt in one place: all errors must then lie there. The corpus is kept
//! beside the project; where it is missing the tests say so.

#![expect(clippy::unwrap_used, reason = "a corpus of another shape fails the test")]

use kiln_frontend::{BuildOptions, Diagnostic, Extent, Facts, Severity, check, plan};
use kiln_grammar::{Instruction, Span, parse};
use kiln_image::Platform;
use serde_json::Value;

/// How many instructions of a file are spoilt in turn.
const SPOILT: usize = 4;

fn options() -> BuildOptions {
    BuildOptions::new(Platform::new("linux", "amd64", ""))
}

/// All errors, while nothing is known of any base.
fn errors(source: &str, extent: Extent) -> Vec<Diagnostic> {
    let mut remarks = check(&parse(source), source, &options(), &Facts::new(), extent).remarks;
    remarks.retain(|remark| remark.severity == Severity::Error);
    remarks
}

/// The Dockerfiles of the corpus that the reference takes.
fn right_files() -> Option<Vec<(String, String)>> {
    let text = kiln_testkit::corpus("visible.jsonl")?;
    let cases = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let right = cases.filter(|case| case["expect"]["error"].is_null());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some(right.map(|case| (text(&case["id"]), text(&case["dockerfile"]))).collect())
}

/// Ways to make an instruction one that cannot be understood, with how many bytes that adds.
fn spoil(source: &str, instruction: &Instruction) -> Vec<(String, usize)> {
    let keyword = instruction.keyword.span;
    let put =
        |at: usize, text: &str| (format!("{}{text}{}", &source[..at], &source[at..]), text.len());
    let mut spoilt = vec![put(keyword.end, " --nonsense")];
    // What opens a here document for no instruction that is known opens none.
    if instruction.heredocs.is_empty() {
        spoilt.push(put(keyword.start, "ZZQX"));
    }
    spoilt
}

fn lies_in(error: &Diagnostic, place: Span) -> bool {
    error.line_span().is_some_and(|at| place.start <= at.start && at.end <= place.end)
}

#[test]
fn what_follows_from_a_mistake_is_not_told() {
    let Some(files) = right_files() else { return };
    let mut count = 0;
    for (id, source) in files {
        // Stages that are not built may be wrong.
        if !errors(&source, Extent::AllStages).is_empty() {
            continue;
        }
        let parsed = parse(&source);
        let instructions = &parsed.dockerfile.instructions;
        for instruction in instructions.iter().step_by(instructions.len().div_ceil(SPOILT)) {
            for (spoilt, more) in spoil(&source, instruction) {
                let Span { start, end } = instruction.span;
                let place = Span { start, end: end + more };
                for extent in [Extent::AllStages, Extent::Target] {
                    let told = errors(&spoilt, extent);
                    assert!(!told.is_empty(), "{id}: nothing is told of\n{spoilt}");
                    let follows = told.iter().find(|error| !lies_in(error, place));
                    assert!(follows.is_none(), "{id}: {follows:#?}\n{spoilt}");
                }
                count += 1;
            }
        }
    }
    assert!(count > 4_000, "{count} files were spoilt");
}

#[test]
fn a_mistake_hides_no_other() {
    const OTHER: &str = "\nEXPOSE none\n";
    let Some(files) = right_files() else { return };
    let mut count = 0;
    for (id, source) in files {
        let source = source + OTHER;
        let is_other = |error: &Diagnostic| error.message.starts_with("`none` is not a port");
        let alone = errors(&source, Extent::AllStages);
        // The end of some files is inside an instruction.
        if !matches!(alone.as_slice(), [one] if is_other(one)) {
            continue;
        }
        let parsed = parse(&source);
        let instructions = &parsed.dockerfile.instructions;
        let instructions = &instructions[..instructions.len() - 1];
        for instruction in instructions.iter().step_by(instructions.len().div_ceil(SPOILT)) {
            for (spoilt, _) in spoil(&source, instruction) {
                let told = errors(&spoilt, Extent::AllStages);
                assert!(
                    told.len() >= 2 && is_other(told.last().unwrap()),
                    "{id}: {told:#?}\n{spoilt}"
                );
                count += 1;
            }
        }
    }
    assert!(count > 4_000, "{count} files were spoilt");
}

#[test]
fn what_ends_a_plan_is_told() {
    let Some(text) = kiln_testkit::corpus("visible.jsonl") else { return };
    let mut count = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let source = case["dockerfile"].as_str().unwrap();
        let parsed = parse(source);
        let planned = plan(&parsed.dockerfile, source, &options(), &Facts::new());
        let (true, Err(ends)) = (parsed.errors.is_empty(), planned) else { continue };
        let told = errors(source, Extent::Target);
        let is_told = |one: &Diagnostic| {
            told.iter().any(|other| (other.code, other.span) == (one.code, one.span))
        };
        assert!(is_told(&ends[0]), "{}: {:#?} is not in {told:#?}", case["id"], ends[0]);
        count += 1;
    }
    assert!(count > 20, "{count} files were refused");
}
