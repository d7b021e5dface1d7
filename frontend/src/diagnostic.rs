//! What is said to the author of a Dockerfile: data, rendered elsewhere.

use kiln_grammar::{Span, SyntaxError};

use crate::{Rule, syntax_codes};

/// One remark on a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable name of the kind of remark, with a page of its own.
    pub code: &'static str,
    /// Whether the build can go on.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop, code in backticks.
    pub message: String,
    /// The bytes to point at; nothing when the cause is outside of the file.
    pub span: Option<Span>,
    /// The instruction or line that the cause is in, where that is more than what to point at. Its first
    /// line is the one that other builders name.
    pub within: Option<Span>,
    /// Further places that matter, in any order.
    pub labels: Vec<Label>,
    /// What to do about it, one sentence each.
    pub hints: Vec<String>,
}

/// How bad a remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// There is no build.
    Error,
}

/// A further place with what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The bytes to point at.
    pub span: Span,
    /// What they have to do with it.
    pub message: String,
}

impl Diagnostic {
    /// An error at a place.
    pub(crate) fn error(rule: Rule, span: Span, message: impl Into<String>) -> Self {
        Self {
            code: rule.code(),
            severity: Severity::Error,
            message: message.into(),
            span: Some(span),
            within: None,
            labels: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The place by which other builders name the line.
    #[must_use]
    pub fn line_span(&self) -> Option<Span> {
        self.within.or(self.span)
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same with a hint that names the candidate nearest to `name`, when one is near.
    pub(crate) fn suggest(self, name: &str, candidates: &[&str]) -> Self {
        match kiln_grammar::nearest(name, candidates) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// The same with another place.
    pub(crate) fn label(mut self, span: Span, message: impl Into<String>) -> Self {
        self.labels.push(Label { span, message: message.into() });
        self
    }
}

/// The parser's mistakes as remarks, in the same order.
#[must_use]
pub fn syntax_diagnostics(errors: &[SyntaxError]) -> Vec<Diagnostic> {
    let convert = |error: &SyntaxError| Diagnostic {
        code: syntax_codes::of(&error.cause),
        severity: Severity::Error,
        message: error.cause.to_string(),
        span: Some(error.span),
        within: Some(error.within),
        labels: Vec::new(),
        hints: error.hint().into_iter().collect(),
    };
    errors.iter().map(convert).collect()
}
