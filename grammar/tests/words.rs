//! Words against the reference's table: what it cannot take apart, neither can the grammar, and nothing
//! else. What the words amount to is the frontend's to compare.

use kiln_grammar::parse;
use serde_json::Value;

/// The endings of the reference's messages that come from a word's shape, not from its variables.
const SHAPE: [&str; 6] = [
    "unexpected end of statement while looking for matching single-quote",
    "unexpected end of statement while looking for matching double-quote",
    "syntax error: missing '}'",
    "syntax error: missing '/' in ${}",
    "syntax error: bad substitution",
    "in substitution",
];

/// Wraps a word so that it is read as one, whatever blanks are in it.
fn is_well_formed(word: &str, escape: &str) -> bool {
    parse(&format!("# escape={escape}\nFROM a\nWORKDIR x{word}\n")).errors.is_empty()
}

#[test]
fn refuses_the_words_that_the_reference_refuses() {
    let Some(table) = kiln_testkit::corpus("words.json") else { return };
    let table: Value = serde_json::from_str(&table).unwrap();
    let mut failures = Vec::new();
    let mut count = 0;
    for case in table["cases"].as_array().unwrap() {
        let (input, escape) = (case["input"].as_str().unwrap(), case["escape"].as_str().unwrap());
        // A line cannot hold these: they end or continue it.
        if input.contains(['\n', '\r']) || input.trim_end().ends_with(escape) {
            continue;
        }
        count += 1;
        let fine = is_well_formed(input, escape);
        let expected = match case["error"].as_str() {
            None => true,
            Some(message) if SHAPE.iter().any(|shape| message.ends_with(shape)) => false,
            // The reference stops at a variable's error before it sees the rest.
            Some(_) => continue,
        };
        if fine != expected {
            failures.push(format!("{case}"));
        }
    }
    assert!(count > 500, "only {count} cases");
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}
