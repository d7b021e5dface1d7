//! Patterns of files to leave out, in the syntax of `.dockerignore`.
//!
//! The last pattern that matches a path, or one of the directories above it, decides; `!` takes a path
//! back in. A walk carries the verdict on a directory down to its children ([`PatternSet::below`]), so
//! that a path costs one comparison for each pattern. Reading the ignore file itself from disk is
//! elsewhere; this module sees texts only.

mod glob;

use glob::{Glob, GlobSyntaxError};

/// A list of patterns that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Brackets that do not close, a backslash with nothing behind it and the like.
    #[error("`{pattern}` is not a pattern: {reason}")]
    Syntax {
        /// The pattern, cleaned.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An exclamation mark alone.
    #[error("`!` takes nothing back in: a pattern must follow it")]
    EmptyInclusion,
}

/// An ordered list of patterns.
#[derive(Debug, Clone, Default)]
pub struct PatternSet {
    patterns: Vec<Pattern>,
    reincludes: bool,
}

#[derive(Debug, Clone)]
struct Pattern {
    glob: Glob,
    reincludes: bool,
}

/// What is known of a directory, for judging its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// One for each pattern: whether it matched here or further up. Empty at the root of a walk.
    matched: Vec<bool>,
    excluded: bool,
}

impl Verdict {
    /// Whether the path is left out.
    #[must_use]
    pub fn is_excluded(&self) -> bool {
        self.excluded
    }
}

impl PatternSet {
    /// Reads patterns, one a line, cleaned as [`read_ignore_file`] leaves them. Blank ones count for nothing.
    ///
    /// # Errors
    /// The first pattern that is not one.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let mut set = Self::default();
        for line in lines {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let cleaned = clean(line);
            let (reincludes, text) = match cleaned.strip_prefix('!') {
                Some("") => return Err(PatternError::EmptyInclusion),
                Some(rest) => (true, rest),
                None => (false, cleaned.as_str()),
            };
            let glob = Glob::parse(text).map_err(|GlobSyntaxError(reason)| {
                PatternError::Syntax { pattern: text.to_owned(), reason }
            })?;
            set.reincludes |= reincludes;
            set.patterns.push(Pattern { glob, reincludes });
        }
        Ok(set)
    }

    /// Whether there are no patterns, so that nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether `path` (relative, cleaned, slashes between components) is left out.
    #[must_use]
    pub fn excluded(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.fold(Verdict::default(), |above, end| self.below(&above, &path[..end])).excluded
    }

    /// Judges `path`, given the verdict on its parent directory; `Verdict::default()` at the root.
    #[must_use]
    pub fn below(&self, parent: &Verdict, path: &str) -> Verdict {
        let matched: Vec<bool> = (self.patterns.iter().enumerate())
            .map(|(index, pattern)| {
                parent.matched.get(index) == Some(&true) || pattern.glob.matches(path)
            })
            .collect();
        let last = matched.iter().rposition(|matched| *matched);
        let excluded = last.is_some_and(|index| !self.patterns[index].reincludes);
        Verdict { matched, excluded }
    }

    /// Whether a pattern that takes nothing back in could match below the directory `dir`. When not, a walk
    /// in search of matches may pass the whole directory over.
    #[must_use]
    pub fn may_match_below(&self, dir: &str) -> bool {
        let excluding = |pattern: &&Pattern| !pattern.reincludes;
        self.patterns.iter().filter(excluding).any(|pattern| pattern.glob.may_match_below(dir))
    }

    /// Whether anything below the excluded directory `dir` could be taken back in. When not, a walk
    /// may pass the whole directory over.
    #[must_use]
    pub fn may_reinclude_below(&self, dir: &str) -> bool {
        self.reincludes
            && self
                .patterns
                .iter()
                .any(|pattern| pattern.reincludes && pattern.glob.may_match_below(dir))
    }
}

/// The patterns of an ignore file's text: comments and blank lines dropped, the rest cleaned and made
/// relative.
#[must_use]
pub fn read_ignore_file(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().filter(|line| !line.starts_with('#')).filter_map(read_line).collect()
}

fn read_line(line: &str) -> Option<String> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let (mark, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if pattern.is_empty() {
        return Some(mark.to_owned());
    }
    let cleaned = clean(pattern);
    let relative = match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest,
        _ => &cleaned,
    };
    Some(format!("{mark}{relative}"))
}

/// The shortest path of the same lexical meaning: no `.`, no empty component, `..` only in front.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            name => parts.push(name),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests;
