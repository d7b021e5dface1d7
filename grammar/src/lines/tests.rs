//! Logical lines out of physical ones.

use super::{MAX_LINE_BYTES, Reader};
use crate::error::SyntaxErrorKind;

/// Each logical line: its text, and the comments above it.
fn logical(source: &str, escape: char) -> Vec<(String, Vec<String>)> {
    let mut reader = Reader::new(source);
    reader.set_escape(escape);
    let mut lines = Vec::new();
    while let Some(line) = reader.next_logical() {
        let comments = line.comments.into_iter().map(|comment| comment.node).collect();
        lines.push((line.text.whole().as_str().to_owned(), comments));
    }
    lines
}

fn texts(source: &str) -> Vec<String> {
    logical(source, '\\').into_iter().map(|(text, _)| text).collect()
}

#[test]
fn continuations() {
    assert_eq!(texts("a \\\n  b\n"), ["a   b"]);
    assert_eq!(texts("a \\  \t\nb"), ["a b"], "blanks behind the escape");
    assert_eq!(texts("a \\\\\nb"), ["a \\\\", "b"], "an escaped escape continues nothing");
    assert_eq!(texts("a \\"), ["a "], "at the end of the source");
    assert_eq!(texts("\\\na"), ["a"], "a line of nothing else");
    assert_eq!(texts("a \\\r\nb\r\n"), ["a b"]);
    assert_eq!(texts("a \\\n\\\nb"), ["a b"]);
}

#[test]
fn the_other_escape_character() {
    let texts: Vec<_> = logical("a `\nb \\\nc", '`').into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["a b \\", "c"]);
}

#[test]
fn comments_vanish_from_continued_lines() {
    assert_eq!(texts("a \\\n# x \\\n  # y\nb"), ["a b"]);
    assert_eq!(texts("a \\\nb # no comment\n"), ["a b # no comment"]);
}

#[test]
fn empty_lines_are_skipped_and_remembered_in_continued_lines() {
    let source = "a \\\n\n \t\nb\n";
    let line = Reader::new(source).next_logical().unwrap();
    assert_eq!(line.text.whole().as_str(), "a b");
    let blanks: Vec<_> = line.blanks.iter().map(|span| &source[span.start..span.end]).collect();
    assert_eq!(blanks, ["", " \t"]);
}

#[test]
fn leading_blanks_go_on_the_first_line_only() {
    assert_eq!(texts("\t a\\\n  b"), ["a  b"]);
}

#[test]
fn comments_directly_above_are_kept() {
    let comments = |source| logical(source, '\\').remove(0).1;
    assert_eq!(comments("# one\n#two \na"), ["one", "two"]);
    assert_eq!(comments("# one\n\n# two\na"), ["two"]);
    assert!(comments("# one\n\na").is_empty());
}

#[test]
fn byte_order_mark_and_positions() {
    let source = "\u{feff}é \\\n  b";
    let line = Reader::new(source).next_logical().unwrap();
    assert_eq!(line.text.whole().as_str(), "é   b");
    let at_b = line.text.whole().part(5..6);
    assert_eq!(&source[at_b.span().start..at_b.span().end], "b");
    let across = line.text.whole().span();
    assert_eq!(&source[across.start..across.end], "é \\\n  b");
    assert_eq!(across, line.span);
}

#[test]
fn bodies_queue_up() {
    let mut reader = Reader::new("x\n\ta\n\tA\nb\r\nB\nrest");
    reader.next_logical().unwrap();
    assert_eq!(reader.next_body("A", true).unwrap().node, "\ta\n");
    assert_eq!(reader.next_body("B", false).unwrap().node, "b\r\n");
    assert_eq!(reader.next_body("C", false), None);
    assert!(reader.next_logical().is_none(), "an unfinished body is the rest");
}

#[test]
fn long_lines() {
    let at_limit = format!("{}\n", "x".repeat(MAX_LINE_BYTES));
    let mut reader = Reader::new(&at_limit);
    reader.next_logical().unwrap();
    assert!(reader.take_errors().is_empty());

    let over = format!("# {}\na", "x".repeat(MAX_LINE_BYTES));
    let mut reader = Reader::new(&over);
    assert_eq!(reader.next_logical().unwrap().text.whole().as_str(), "a");
    let length_bytes = MAX_LINE_BYTES + 2;
    let causes: Vec<_> = reader.take_errors().into_iter().map(|(_, cause)| cause).collect();
    assert_eq!(causes, [SyntaxErrorKind::LineTooLong { length_bytes }]);
}

#[test]
fn the_last_line_is_that_before_the_end() {
    for (source, line) in [("", 1), ("# a", 1), ("# a\n", 1), ("# a\n# b\n\n", 3), ("# a\n ", 2)] {
        let mut reader = Reader::new(source);
        assert!(reader.next_logical().is_none(), "{source:?}");
        assert_eq!(crate::line_column(source, reader.last_line()).0, line, "{source:?}");
    }
}
