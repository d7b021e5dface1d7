//! Where in the Dockerfile a failure is, and images that cannot be had.

use kiln_grammar::{InstructionKind, Span, nearest};

use super::definition::Text;
use crate::EngineError;
use crate::error::{MissingImage, Place};

/// The image that `span` names. A name without a host may be a misspelt stage's.
pub(super) fn missing_image(text: &Text, span: Span, error: EngineError) -> MissingImage {
    let written = text.source.text().get(span.start..span.end).unwrap_or_default();
    let stages: Vec<&str> = (text.parsed.dockerfile.instructions.iter())
        .filter_map(|instruction| {
            let InstructionKind::From(from) = &instruction.kind else { return None };
            from.stage.as_ref()
        })
        .map(|stage| stage.name.node.as_str())
        .collect();
    let stage = nearest(written, &stages);
    let hints = stage.map(|name| format!("did you mean the stage `{name}`?"));
    MissingImage { place: Some(place(text, span)), hints: hints.into_iter().collect(), error }
}

/// The instruction around a span.
pub(super) fn place(text: &Text, span: Span) -> Place {
    let around = |candidate: &Span| candidate.start <= span.start && span.end <= candidate.end;
    let mut instructions =
        text.parsed.dockerfile.instructions.iter().map(|instruction| instruction.span);
    let whole = instructions.find(around).unwrap_or(span);
    let place = text.source.locate(whole.start);
    Place {
        file: place.file.to_owned(),
        line: place.line,
        source: text.source.text().get(whole.start..whole.end).unwrap_or_default().to_owned(),
    }
}
