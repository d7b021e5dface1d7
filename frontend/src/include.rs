//! `INCLUDE`: files put together before they are parsed.
//!
//! Kiln's dialect of the language has this one instruction more. A file opts in with `# syntax=kiln`, which no
//! other builder takes for its own. What a file includes is asked for ([`Expansion::Need`]) and put, line by
//! line, in the place of the instruction; the result remembers which file each line is from. Nothing is
//! evaluated: a path is taken as it stands, from the top of the build's context.

use std::collections::{BTreeMap, BTreeSet};

use kiln_grammar::{Include, Span, includes, line_column, parse};
use kiln_ir::GuestPath;

use crate::{Diagnostic, Rule};

/// The value of the `syntax` directive, up to a tag, that makes a file one of Kiln's dialect.
const DIALECT: &str = "kiln";
/// How many files may include each other in a row.
const MAX_DEPTH: usize = 10;
/// The most bytes that may come of it.
const MAX_BYTES: usize = 16 << 20;

/// A Dockerfile's text, of one file or of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    text: String,
    files: Vec<String>,
    /// For each line its file and its number there; empty for a single file.
    lines: Vec<(usize, usize)>,
    /// Where lines begin, so that the place of each of many remarks is found without reading it all.
    starts: Vec<usize>,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location<'t> {
    /// The file's name.
    pub file: &'t str,
    /// The line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
}

/// How far putting files together came.
#[derive(Debug)]
pub enum Expansion {
    /// These files of the context are missing, each named once: paths from its top, without a slash in front.
    Need(Vec<String>),
    /// All of it.
    Done(SourceText),
}

impl SourceText {
    /// The text of one file.
    #[must_use]
    pub fn of_file(file: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let starts = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let starts = [0].into_iter().chain(starts).collect();
        Self { text, files: vec![file.into()], lines: Vec::new(), starts }
    }

    /// What is parsed; the text that spans are of.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the file that includes the others.
    #[must_use]
    pub fn file(&self) -> &str {
        self.files.first().map_or("", String::as_str)
    }

    /// The line and column of a byte of the whole text, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).map_or(0, |index| self.starts[index]);
        (line, self.text[start..offset].chars().count() + 1)
    }

    /// The line that a byte of the whole text is in, without its ending, and what of it stands before the byte.
    pub(crate) fn line_around(&self, offset: usize) -> (&str, &str) {
        let offset = self.text.floor_char_boundary(offset);
        let next = self.starts.partition_point(|start| *start <= offset);
        let start = next.checked_sub(1).map_or(0, |index| self.starts[index]);
        let end = self.starts.get(next).copied().unwrap_or(self.text.len());
        let line = &self.text[start..end];
        let line = line.strip_suffix('\n').unwrap_or(line);
        (line.strip_suffix('\r').unwrap_or(line), &self.text[start..offset])
    }

    /// Where a byte of the text is from.
    #[must_use]
    pub fn locate(&self, offset: usize) -> Location<'_> {
        let (line, column) = self.position(offset);
        match self.lines.get(line - 1) {
            Some(&(file, line)) => Location { file: &self.files[file], line, column },
            None => Location { file: self.file(), line, column },
        }
    }
}

/// Puts the files together that `source` includes. `fragments` are those that are known, by the paths that
/// [`Expansion::Need`] gave.
///
/// # Errors
/// What is wrong with the instructions, with the text that their spans are of.
pub fn expand(
    source: SourceText,
    fragments: &BTreeMap<String, String>,
) -> Result<Expansion, (SourceText, Vec<Diagnostic>)> {
    if !is_dialect(&source.text) {
        return Ok(Expansion::Done(source));
    }
    let mut expanded = source;
    for depth in 0.. {
        let found = includes(&expanded.text);
        if found.is_empty() {
            break;
        }
        let paths = match paths(&found, depth) {
            Ok(paths) => paths,
            Err(errors) => return Err((expanded, errors)),
        };
        let missing: BTreeSet<_> =
            paths.iter().filter(|path| !fragments.contains_key(*path)).cloned().collect();
        if !missing.is_empty() {
            return Ok(Expansion::Need(missing.into_iter().collect()));
        }
        let errors: Vec<_> = (found.iter().zip(&paths))
            .filter_map(|(include, path)| unfinished(include, path, &fragments[path]))
            .collect();
        if !errors.is_empty() {
            return Err((expanded, errors));
        }
        let size = paths.iter().map(|path| fragments[path].len()).sum::<usize>();
        if expanded.text.len().saturating_add(size) > MAX_BYTES {
            let message = format!("the files included come to more than {MAX_BYTES} bytes");
            let error = Diagnostic::error(Rule::InvalidInclude, found[0].span, message);
            return Err((expanded, vec![error]));
        }
        expanded = put_together(&expanded, &found, &paths, fragments);
    }
    Ok(Expansion::Done(expanded))
}

fn is_dialect(source: &str) -> bool {
    // The directives are above everything else: the rest need not be read for them.
    let top: String = source
        .split_inclusive('\n')
        .take_while(|line| line.starts_with(['#', '\u{feff}']))
        .collect();
    parse(&top).dockerfile.directives.iter().any(|directive| {
        directive.name.node == "syntax"
            && directive.value.node.split(':').next().is_some_and(|name| name == DIALECT)
    })
}

/// The paths of the files to include, from the context's top.
fn paths(found: &[Include], depth: usize) -> Result<Vec<String>, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut paths = Vec::new();
    for include in found {
        let (span, written) = (include.path.span, include.path.node.as_str());
        if depth == MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} files include each other");
            let error = Diagnostic::error(Rule::InvalidInclude, include.span, message);
            errors.push(error.hint("does a file include itself?"));
            continue;
        }
        match GuestPath::new(&format!("/{written}")) {
            Ok(path) if path != GuestPath::root() => {
                paths.push(path.as_str().trim_start_matches('/').to_owned());
            }
            _ => {
                let span = if written.is_empty() { include.span } else { span };
                let error = Diagnostic::error(
                    Rule::InvalidInclude,
                    span,
                    "`INCLUDE` takes the path of a file",
                );
                errors.push(error.hint("paths start at the top of the build context"));
            }
        }
    }
    if errors.is_empty() { Ok(paths) } else { Err(errors) }
}

/// A fragment must end where an instruction does, or it would change what the including file says.
fn unfinished(include: &Include, path: &str, fragment: &str) -> Option<Diagnostic> {
    use kiln_grammar::SyntaxErrorKind::UnterminatedHeredoc;
    let last = fragment.trim_end().lines().last().unwrap_or_default();
    let continues = last.ends_with(['\\', '`']) && !last.trim_start().starts_with('#');
    let open = parse(fragment)
        .errors
        .iter()
        .any(|error| matches!(error.cause, UnterminatedHeredoc { .. }));
    (continues || open).then(|| {
        let message = format!("`{path}` ends in the middle of an instruction");
        Diagnostic::error(Rule::InvalidInclude, include.path.span, message)
    })
}

/// Replaces the lines of each instruction by those of its file.
fn put_together(
    source: &SourceText,
    found: &[Include],
    paths: &[String],
    fragments: &BTreeMap<String, String>,
) -> SourceText {
    let mut out = SourceText::of_file("", "");
    out.files.clone_from(&source.files);
    let lines: Vec<_> = source.text.split_inclusive('\n').collect();
    let mut next = 0;
    for (Include { span, .. }, path) in found.iter().zip(paths) {
        let (first, last) = lines_of(&source.text, *span);
        for (number, line) in lines.iter().enumerate().take(first).skip(next) {
            out.push(line, source.line(number));
        }
        let file = out.file_number(path);
        for (number, line) in fragments[path].split_inclusive('\n').enumerate() {
            out.push(line, (file, number + 1));
        }
        next = last + 1;
    }
    for (number, line) in lines.iter().enumerate().skip(next) {
        out.push(line, source.line(number));
    }
    out
}

/// The first and the last line of a span, from 0.
fn lines_of(text: &str, span: Span) -> (usize, usize) {
    let first = line_column(text, span.start).0 - 1;
    (first, first + text[span.start..span.end].matches('\n').count())
}

impl SourceText {
    /// Where a line, from 0, is from.
    fn line(&self, number: usize) -> (usize, usize) {
        self.lines.get(number).copied().unwrap_or((0, number + 1))
    }

    fn push(&mut self, line: &str, from: (usize, usize)) {
        self.text.push_str(line);
        if !line.ends_with('\n') {
            self.text.push('\n');
        }
        self.lines.push(from);
        self.starts.push(self.text.len());
    }

    fn file_number(&mut self, path: &str) -> usize {
        if let Some(known) = self.files.iter().skip(1).position(|file| file == path) {
            return known + 1;
        }
        self.files.push(path.to_owned());
        self.files.len() - 1
    }
}

#[cfg(test)]
mod tests;
