//! `COPY` and `ADD` of what the ignore file leaves out.

use kiln_grammar::{FileSource, Files, InstructionKind};
use kiln_ir::PatternSet;

use super::Check;
use super::report::{Remark, Report};
use super::walk::Step;
use crate::expand::expand;

/// Checks every source in the main context. Where a pattern may take something back in below a source, it
/// is not clear that nothing is left of it, and nothing is said.
pub(super) fn check(step: &Step<'_>, report: &mut Report) {
    let patterns = &step.scope.options.ignore;
    let Some((keyword, files)) = files_of_context(step.kind()) else { return };
    if patterns.is_empty() {
        return;
    }
    let Ok(set) = PatternSet::parse(patterns.iter().map(String::as_str)) else { return };
    for source in &files.sources {
        let FileSource::Path(word) = source else { continue };
        let Ok(text) = expand(word, &step.scope.state.environment) else { return };
        if text.contains("://") || text.starts_with("git@") {
            continue;
        }
        let path = clean(&text);
        let is_root = path.is_empty();
        if is_root && !patterns.iter().any(|one| ["*", "**", "**/*"].contains(&one.as_str())) {
            continue;
        }
        if patterns.iter().any(|pattern| may_reinclude(pattern, &path)) {
            continue;
        }
        if is_root || set.excluded(&path) {
            let message = format!("the ignore file leaves `{text}` out of the context");
            let remark = Remark::new(Check::CopyIgnoredFile, word.span, message)
                .hint(format!("take it back in with `!{path}`, or do not {keyword} it"));
            report.say(&step.site, remark);
        }
    }
}

fn files_of_context(kind: &InstructionKind) -> Option<(&'static str, &Files)> {
    if let InstructionKind::Copy(copy) = kind {
        return copy.from.is_none().then_some(("copy", &copy.files));
    }
    let InstructionKind::Add(add) = kind else { return None };
    Some(("add", &add.files))
}

/// A path without `.`, `..` and slashes at its ends; empty for the context itself.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether a pattern takes something back in at a path or below it, as far as one can tell without files.
fn may_reinclude(pattern: &str, path: &str) -> bool {
    let Some(pattern) = pattern.strip_prefix('!') else { return false };
    let parts: Vec<&str> = pattern.trim_matches('/').split('/').collect();
    let literal = parts.iter().take_while(|part| !part.contains(['*', '?', '[']));
    let prefix = literal.copied().collect::<Vec<_>>().join("/");
    let has_wildcard = pattern.contains(['*', '?', '[']);
    at_or_below(&prefix, path) || (has_wildcard && at_or_below(path, &prefix))
}

fn at_or_below(path: &str, base: &str) -> bool {
    base.is_empty()
        || path == base
        || path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{clean, may_reinclude};

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean("./a//b/../c/"), "a/c");
        assert_eq!(clean("."), "");
        assert_eq!(clean("../.."), "");
    }

    #[test]
    fn a_pattern_may_take_back_in_below_a_directory() {
        assert!(may_reinclude("!sub/keep", "sub"));
        assert!(may_reinclude("!*/keep", "sub"));
        assert!(!may_reinclude("!other/keep", "sub"));
        assert!(!may_reinclude("sub/keep", "sub"));
        assert!(may_reinclude("!sub/*.txt", "sub/deep"));
    }
}
