//! Parser directives: comments of the form `# name=value` that open a file.
//!
//! The first line that is none ends the zone, and so does a directive of an unknown name, which is then a
//! comment like any other.

use crate::error::SyntaxErrorKind;
use crate::lines::{PhysicalLine, Reader};
use crate::syntax::Directive;
use crate::word::{Span, Spanned};

const NAMES: [&str; 3] = ["syntax", "escape", "check"];

/// Consumes the directives and tells the reader the escape character they choose. Mistakes come back
/// beside them, each with its line.
pub(crate) fn read(reader: &mut Reader<'_>) -> (Vec<Directive>, Vec<(Span, SyntaxErrorKind)>) {
    let mut directives: Vec<Directive> = Vec::new();
    let mut errors = Vec::new();
    while let Some(line) = reader.peek() {
        let Some(directive) = directive_of(line) else { break };
        reader.consume(line);
        if directives.iter().any(|earlier| earlier.name.node == directive.name.node) {
            let name = directive.name.node.clone();
            errors.push((directive.span, SyntaxErrorKind::DuplicateDirective { name }));
        } else if directive.name.node == "escape" {
            match directive.value.node.as_str() {
                "\\" => reader.set_escape('\\'),
                "`" => reader.set_escape('`'),
                other => {
                    let value = other.to_owned();
                    errors.push((directive.value.span, SyntaxErrorKind::InvalidEscape { value }));
                }
            }
        }
        directives.push(directive);
    }
    (directives, errors)
}

fn directive_of(line: PhysicalLine<'_>) -> Option<Directive> {
    let comment = line.content.trim_start();
    let body = comment.strip_prefix('#')?;
    let (left, right) = body.split_once('=')?;
    let (name, value) = (left.trim(), right.trim());
    let known = NAMES.iter().find(|known| known.eq_ignore_ascii_case(name))?;
    if value.is_empty() {
        return None;
    }
    let end = line.span().end;
    let body_start = end - body.len();
    let name_start = body_start + (left.len() - left.trim_start().len());
    let value_start = end - right.trim_start().len();
    Some(Directive {
        name: Spanned {
            node: (*known).to_owned(),
            span: Span { start: name_start, end: name_start + name.len() },
        },
        value: Spanned {
            node: value.to_owned(),
            span: Span { start: value_start, end: value_start + value.len() },
        },
        span: Span { start: end - comment.len(), end },
    })
}
