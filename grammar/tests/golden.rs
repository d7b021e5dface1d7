//! Whole trees and whole lists of mistakes, as files.
//!
//! Every case's properties are checked as well: spans lie in the source, and a case in `ok` has no
//! mistakes while one in `err` has some.

mod spans;

use kiln_grammar::{Parsed, line_column, parse};
use kiln_testkit::{cases, check};

#[test]
fn trees() {
    for case in cases("grammar/ok", "dockerfile") {
        let parsed = parse(&case.input);
        assert_eq!(parsed.errors, [], "{}", case.name);
        spans::check(&case.input, &parsed);
        check(&case.golden("tree"), &format!("{:#?}\n", parsed.dockerfile));
    }
}

#[test]
fn mistakes() {
    for case in cases("grammar/err", "dockerfile") {
        let parsed = parse(&case.input);
        assert!(!parsed.errors.is_empty(), "{}", case.name);
        spans::check(&case.input, &parsed);
        check(&case.golden("errors"), &report(&case.input, &parsed));
    }
}

/// Each mistake with the text it points at, and the keywords of what was understood all the same.
fn report(source: &str, parsed: &Parsed) -> String {
    let mut report = String::new();
    for error in &parsed.errors {
        let (line, column) = line_column(source, error.span.start);
        let at = &source[error.span.start..error.span.end];
        let code = error.code();
        let short: String = at.chars().take(40).collect();
        report.push_str(&format!("{line}:{column}: {code}: {error}\n  at {short:?}\n"));
        let first = line_column(source, error.within.start).0;
        if first != line {
            report.push_str(&format!("  in the instruction of line {first}\n"));
        }
        if let Some(hint) = error.hint() {
            report.push_str(&format!("  hint: {hint}\n"));
        }
    }
    let understood = parsed.dockerfile.instructions.iter();
    let understood: Vec<_> =
        understood.map(|instruction| instruction.keyword.node.as_str()).collect();
    report.push_str(&format!("understood: {}\n", understood.join(" ")));
    report
}
