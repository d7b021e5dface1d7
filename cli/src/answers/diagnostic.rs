//! One remark as JSON, the same wherever it is shown:
//!
//! | member | what |
//! |---|---|
//! | `level` | `error` or `warning` |
//! | `code` | the remark's name |
//! | `message` | what is wrong |
//! | `page` | its page, from the project's top |
//! | `url` | where the field's documentation of the check is |
//! | `span` | the characters to point at: `start` and, exclusive, `end`, each with `line` and `column` from 1, and the
//! `file` they are in where that is one that the Dockerfile includes |
//! | `within` | the same for the instruction around them, by whose first line other builders name the place |
//! | `labels` | further places: `message` and `span` |
//! | `hints` | what to do about it |
//!
//! What is not there is left out.

use kiln_frontend::{Check, Diagnostic, Location, Severity, SourceText, Span};
use serde::Serialize;

/// A remark.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    level: &'static str,
    code: &'static str,
    message: &'a str,
    page: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span: Option<Range<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<Range<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Label<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hints: &'a [String],
}

#[derive(Debug, Serialize)]
struct Label<'a> {
    message: &'a str,
    span: Range<'a>,
}

#[derive(Debug, Serialize)]
struct Range<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    start: Position,
    end: Position,
}

#[derive(Debug, Serialize)]
struct Position {
    line: usize,
    column: usize,
}

impl<'a> Told<'a> {
    /// A remark on `source`.
    #[must_use]
    pub fn new(diagnostic: &'a Diagnostic, source: &'a SourceText) -> Self {
        let range = |span: Span| Range::of(span, source);
        let label = |label: &'a kiln_frontend::Label| Label {
            message: &label.message,
            span: range(label.span),
        };
        Self {
            level: match diagnostic.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            code: diagnostic.code,
            message: &diagnostic.message,
            page: format!("docs/diagnostics/{}.md", diagnostic.code),
            url: Check::of_code(diagnostic.code).and_then(Check::url),
            span: diagnostic.span.map(range),
            within: diagnostic.within.map(range),
            labels: diagnostic.labels.iter().map(label).collect(),
            hints: &diagnostic.hints,
        }
    }
}

impl<'a> Range<'a> {
    fn of(span: Span, source: &'a SourceText) -> Self {
        let position = |offset: usize| {
            let Location { line, column, .. } = source.locate(offset.min(source.text().len()));
            Position { line, column }
        };
        let file = Some(source.locate(span.start).file).filter(|file| *file != source.file());
        Self { file, start: position(span.start), end: position(span.end) }
    }
}
