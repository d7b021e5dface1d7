//! Remarks as plain text, in the manner of rustc.

use kiln_grammar::Span;

use crate::{Diagnostic, Location, Severity, SourceText, visible};

/// One remark with the lines it points at. No colour, and nothing that steers a terminal; ends with a newline.
#[must_use]
pub fn render(diagnostic: &Diagnostic, source: &SourceText) -> String {
    let severity = match diagnostic.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut out = format!("{severity}[{}]: {}\n", diagnostic.code, visible(&diagnostic.message));
    let mut places: Vec<(Span, &str)> = Vec::new();
    places.extend(diagnostic.span.map(|span| (span, "")));
    places.extend(diagnostic.labels.iter().map(|label| (label.span, label.message.as_str())));
    let lines = places.iter().map(|(span, _)| source.locate(span.start).line);
    let gutter = lines.max().unwrap_or(1).to_string().len();
    for (index, (span, message)) in places.iter().enumerate() {
        let Location { file, line, column } = source.locate(span.start);
        let arrow = if index == 0 { "-->" } else { ":::" };
        let file = visible(file);
        out.push_str(&format!("{:gutter$}{arrow} {file}:{line}:{column}\n", ""));
        out.push_str(&excerpt(source, *span, message, gutter));
    }
    for hint in &diagnostic.hints {
        out.push_str(&format!("{:gutter$} = help: {}\n", "", visible(hint)));
    }
    out
}

/// The first line of a span, underlined.
fn excerpt(source: &SourceText, span: Span, message: &str, gutter: usize) -> String {
    let (line, before) = source.line_around(span.start);
    let number = source.locate(span.start).line;
    let marked = source.text().get(span.start..span.end).unwrap_or_default();
    let marked = marked.lines().next().unwrap_or_default();
    // Tabs keep their width under the line, so that the marks stand below what they mark.
    let indent: String =
        visible(before).chars().map(|ch| if ch == '\t' { '\t' } else { ' ' }).collect();
    let marks = "^".repeat(visible(marked).chars().count().max(1));
    let marks = format!("{indent}{marks} {}", visible(message));
    let blank = format!("{:gutter$} |", "");
    format!("{blank}\n{number:gutter$} | {}\n{blank} {}\n", visible(line), marks.trim_end())
}
