//! Parser directives: comments of the form `# name=value` that open a file.
//!
//! The first line that is none ends the zone, and so does a directive of an unknown name, which is then a
//! comment like any other. `syntax` and `check` are looked for in the bytes alone, by whoever chooses what
//! reads the file: their lines are not indented, and a first line `#!…` is passed over. `escape` belongs to
//! the reading itself, which takes blanks in front, and for which `#!…` is a comment that ends the zone.
//!
//! `syntax` has two further forms, `// syntax=…` and `{"syntax": "…"}`, for files that are no Dockerfiles.

use crate::error::SyntaxErrorKind;
use crate::instruction::arguments;
use crate::lines::{PhysicalLine, Reader};
use crate::syntax::Directive;
use crate::text::Text;
use crate::word::{Span, Spanned};

const SYNTAX: &str = "syntax";
const ESCAPE: &str = "escape";
const NAMES: [&str; 3] = [SYNTAX, ESCAPE, "check"];

/// Consumes the directives and tells the reader the escape character they choose. Mistakes come back
/// beside them, each with its line.
pub(crate) fn read(reader: &mut Reader<'_>) -> (Vec<Directive>, Vec<(Span, SyntaxErrorKind)>) {
    let mut directives: Vec<Directive> = Vec::new();
    let mut errors = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    let mut is_indented = false;
    if reader.peek().is_some_and(|line| line.content.starts_with("#!")) {
        return (behind_shebang(reader), errors);
    }
    while let Some(line) = reader.peek() {
        let Some(directive) = directive_of(line, "#") else { break };
        reader.consume(line);
        is_indented |= line.content.starts_with(char::is_whitespace);
        let name = directive.name.node.clone();
        if seen.contains(&name) {
            errors.push((directive.span, SyntaxErrorKind::DuplicateDirective { name }));
        } else if name == ESCAPE {
            match directive.value.node.as_str() {
                "\\" => reader.set_escape('\\'),
                "`" => reader.set_escape('`'),
                other => {
                    let value = other.to_owned();
                    errors.push((directive.value.span, SyntaxErrorKind::InvalidEscape { value }));
                }
            }
        }
        seen.push(directive.name.node.clone());
        if !is_indented || directive.name.node == ESCAPE {
            directives.push(directive);
        }
    }
    (directives, errors)
}

/// What chooses the file's reader, behind a line for the system's. The lines stay comments.
fn behind_shebang(reader: &Reader<'_>) -> Vec<Directive> {
    let Some(first) = reader.peek() else { return Vec::new() };
    let mut found = zone(reader, first.next, "#");
    found.retain(|directive| directive.name.node != ESCAPE);
    found
}

/// The directives from an offset on, none indented and each name once; the second of a name ends the zone.
fn zone(reader: &Reader<'_>, mut start: usize, mark: &str) -> Vec<Directive> {
    let mut found: Vec<Directive> = Vec::new();
    while let Some(line) = reader.peek_at(start) {
        let directive = directive_of(line, mark).filter(|_| line.content.starts_with(mark));
        let Some(directive) = directive else { break };
        if found.iter().any(|known| known.name.node == directive.name.node) {
            break;
        }
        found.push(directive);
        start = line.next;
    }
    found
}

/// A `syntax` in a form that no Dockerfile has.
pub(crate) fn foreign(source: &str) -> Option<Directive> {
    let reader = Reader::new(source);
    let first = reader.peek()?;
    let start = if first.content.starts_with("#!") { first.next } else { first.start };
    let slashes = zone(&reader, start, "//");
    slashes.into_iter().find(|directive| directive.name.node == SYNTAX).or_else(|| {
        let mut text = Text::at(start);
        text.push(&source[start..], start);
        let (name, value) = arguments::member(text.whole(), SYNTAX)?;
        let span = Span { start: name.span.start, end: value.span.end };
        Some(Directive { name, value, span })
    })
}

fn directive_of(line: PhysicalLine<'_>, mark: &str) -> Option<Directive> {
    let comment = line.content.trim_start();
    let body = comment.strip_prefix(mark)?;
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

#[cfg(test)]
mod tests;
