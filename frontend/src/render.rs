//! Remarks as plain text, in the manner of rustc.

use kiln_grammar::{Span, line_column};

use crate::{Diagnostic, Location, Severity, SourceText};

/// One remark with the lines it points at. No colour; ends with a newline.
#[must_use]
pub fn render(diagnostic: &Diagnostic, source: &SourceText) -> String {
    let severity = match diagnostic.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut out = format!("{severity}[{}]: {}\n", diagnostic.code, diagnostic.message);
    let mut places: Vec<(Span, &str)> = Vec::new();
    places.extend(diagnostic.span.map(|span| (span, "")));
    places.extend(diagnostic.labels.iter().map(|label| (label.span, label.message.as_str())));
    let lines = places.iter().map(|(span, _)| source.locate(span.start).line);
    let gutter = lines.max().unwrap_or(1).to_string().len();
    for (index, (span, message)) in places.iter().enumerate() {
        let Location { file, line, column } = source.locate(span.start);
        let arrow = if index == 0 { "-->" } else { ":::" };
        out.push_str(&format!("{:gutter$}{arrow} {file}:{line}:{column}\n", ""));
        out.push_str(&excerpt(source, *span, message, gutter));
    }
    for hint in &diagnostic.hints {
        out.push_str(&format!("{:gutter$} = help: {hint}\n", ""));
    }
    out
}

/// The first line of a span, underlined.
fn excerpt(source: &SourceText, span: Span, message: &str, gutter: usize) -> String {
    let (nth, column) = line_column(source.text(), span.start);
    let line = source.text().lines().nth(nth - 1).unwrap_or_default();
    let number = source.locate(span.start).line;
    let length = source
        .text()
        .get(span.start..span.end)
        .map_or(1, |text| text.lines().next().unwrap_or_default().chars().count().max(1));
    // Tabs keep their width under the line, so that the marks stand below what they mark.
    let indent: String =
        (line.chars().take(column - 1)).map(|ch| if ch == '\t' { '\t' } else { ' ' }).collect();
    let marks = format!("{indent}{} {message}", "^".repeat(length));
    let blank = format!("{:gutter$} |", "");
    format!("{blank}\n{number:gutter$} | {line}\n{blank} {}\n", marks.trim_end())
}
