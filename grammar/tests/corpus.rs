//! The grammar against the corpus: what the reference refuses for its syntax is refused at the same line,
//! and nothing else is.

use kiln_grammar::{Parsed, line_column, parse};
use serde_json::Value;

/// How the messages begin (after the reference's own `dockerfile parse error on line N: `) whose cause
/// needs more than the text: images, values of variables, other stages, other flags. They are the
/// frontend's.
const FRONTEND: [&str; 16] = [
    "SOURCE_DATE_EPOCH stage does not meet",
    "base name (",
    "checksum requires HTTP(S) or Git sources",
    "circular dependency detected",
    "device feature is only supported",
    "failed to parse stage name",
    "failed to process \"${FOO:?\\\"custom error\\\"}\": FOO: custom error",
    "invalid SOURCE_DATE_EPOCH",
    "invalid chmod parameter",
    "invalid containerPort",
    "invalid field 'tmpcopyup'",
    "invalid field 'z'",
    "unexpected key 'typ'",
    "unsupported mount type",
    "variable expansion is not supported for --from",
    "VOLUME specified can not be an empty string",
];

fn is_frontends(message: &str) -> bool {
    FRONTEND.iter().any(|start| message.starts_with(start))
}

fn lines(parsed: &Parsed, source: &str) -> Vec<usize> {
    parsed.errors.iter().map(|error| line_column(source, error.within.start).0).collect()
}

/// What is wrong with one case, if anything.
fn mismatch(source: &str, error: Option<&Value>) -> Option<String> {
    let parsed = parse(source);
    let found = lines(&parsed, source);
    match error {
        None => (!found.is_empty()).then(|| format!("refused: {:?}", parsed.errors)),
        Some(error) => {
            let message = error["message"].as_str().unwrap_or_default();
            let line = error["line"].as_u64().and_then(|line| usize::try_from(line).ok());
            if is_frontends(message) {
                return (!found.is_empty()).then(|| format!("`{message}`: {:?}", parsed.errors));
            }
            let refused_there = match line {
                // The reference puts a file without instructions at its last line.
                Some(_) if message == "file with no instructions" => !found.is_empty(),
                Some(line) => found.contains(&line),
                None => !found.is_empty(),
            };
            (!refused_there).then(|| format!("`{message}` at {line:?}, ours at {found:?}"))
        }
    }
}

#[test]
fn refuses_what_the_reference_refuses() {
    let Some(corpus) = kiln_testkit::corpus("visible.jsonl") else { return };
    let mut failures = Vec::new();
    let mut count = 0;
    for line in corpus.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let source = case["dockerfile"].as_str().unwrap();
        if let Some(mismatch) = mismatch(source, case["expect"].get("error")) {
            failures.push(format!("{}: {mismatch}", case["id"]));
        }
        count += 1;
    }
    assert!(count > 1_000, "only {count} cases");
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}
