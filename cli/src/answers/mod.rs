//! Answers to questions about a Dockerfile, as text for people and as JSON for programs.
//!
//! The JSON has the members of buildx's, under the same names; Kiln adds members and changes none.

mod diagnostic;
mod json;
mod text;

#[cfg(test)]
mod tests;

use kiln_engine::{Answer, Faulty};
use kiln_frontend::{Check, Severity};

use crate::args::CallFormat;

pub use diagnostic::Told;
pub use text::diagnostics;

/// Renders an answer; ends with a newline.
#[must_use]
pub fn render(answer: &Answer, format: CallFormat) -> String {
    match format {
        CallFormat::Text => text::render(answer),
        CallFormat::Json => json::render(answer),
    }
}

/// Whether an answer is that all is well.
#[must_use]
pub fn is_good(answer: &Answer) -> bool {
    match answer {
        Answer::Checked { remarks, .. } => remarks.diagnostics.is_empty(),
        Answer::Outline(..) | Answer::Targets(..) => true,
    }
}

/// The remarks of checks, and the number of errors that are none's.
fn count(remarks: &Faulty) -> (usize, usize) {
    let checks = remarks.diagnostics.iter().filter(|one| Check::of_code(one.code).is_some());
    let errors = remarks
        .diagnostics
        .iter()
        .filter(|one| Check::of_code(one.code).is_none() && one.severity == Severity::Error);
    (checks.count(), errors.count())
}

/// Remarks as the end of a build shows them: their number, then each with its lines. Nothing without any.
#[must_use]
pub fn remarks(remarks: &Faulty) -> String {
    let number = remarks.diagnostics.len();
    if number == 0 {
        return String::new();
    }
    let noun = if number == 1 { "warning" } else { "warnings" };
    format!("{number} {noun} found:\n\n{}", text::diagnostics(remarks))
}
