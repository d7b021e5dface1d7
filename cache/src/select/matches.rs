//! Which paths of a tree a source means: wildcards, symbolic links, and what is missing.

use kiln_ir::{CopyOp, PatternSet, Verdict};

use super::wildcard::{BadWildcard, Wildcard, has_wildcard};
use super::{End, Kind, Peek, SelectError, SourceTree, nearest_names, resolve, shown};
use crate::tree::{LastLink, paths};

/// One path that a source means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    /// As written, wildcards replaced by names.
    written: Vec<u8>,
    /// Without symbolic links.
    pub(super) path: Vec<u8>,
    pub(super) is_dir: bool,
    /// What the ignore patterns say of `path`.
    pub(super) verdict: Verdict,
}

impl Match {
    pub(super) fn written_name(&self) -> &[u8] {
        paths::split(&self.written).1
    }

    pub(super) fn is_ignored(&self) -> bool {
        self.verdict.is_excluded()
    }
}

/// Whether the source has wildcards that count.
pub(super) fn is_pattern(copy: &CopyOp) -> bool {
    copy.wildcard && copy.source.split('/').any(has_wildcard)
}

/// All matches, in byte order of their paths as written, component by component.
pub(super) fn find<T: SourceTree>(
    tree: &T,
    copy: &CopyOp,
    ignore: &PatternSet,
) -> Result<Vec<Match>, SelectError> {
    let visible = Visible { tree, ignore };
    let source = copy.source.trim_matches('/');
    if is_pattern(copy) {
        let written = visible.expand(source, copy)?;
        if written.is_empty() && copy.required {
            return Err(visible.missing(copy, source.as_bytes()));
        }
        return written.into_iter().map(|written| visible.follow(written, copy)).collect();
    }
    Ok(vec![visible.follow(source.as_bytes().to_vec(), copy)?])
}

/// Looks for what the include patterns ask for, after they selected nothing.
///
/// # Errors
/// When it is missing, left out by the ignore file, or lies behind a symbolic link, which patterns do not
/// follow. That `--exclude` leaves all of it out is no error.
pub(super) fn find_included<T: SourceTree>(
    tree: &T,
    copy: &CopyOp,
    ignore: &PatternSet,
) -> Result<(), SelectError> {
    for include in &copy.include {
        let path = format!("{}/{include}", copy.source.trim_end_matches('/'));
        let whole = CopyOp { source: path.clone(), ..copy.clone() };
        let visible = Visible { tree, ignore };
        let written = path.trim_matches('/').as_bytes();
        visible.follow(written.to_vec(), &whole)?;
        if copy.exclude.is_empty() {
            return Err(visible.missing(&whole, written));
        }
    }
    Ok(())
}

/// The verdict on `path`, reached component by component.
pub(super) fn judge(patterns: &PatternSet, path: &[u8]) -> Verdict {
    let mut verdict = Verdict::default();
    if patterns.is_empty() || path.is_empty() {
        return verdict;
    }
    for part in paths::ancestors(path).chain([path]) {
        verdict = patterns.below(&verdict, &String::from_utf8_lossy(part));
    }
    verdict
}

/// A tree without what the ignore patterns leave out for good.
struct Visible<'a, T> {
    tree: &'a T,
    ignore: &'a PatternSet,
}

impl<T: SourceTree> Visible<'_, T> {
    fn peek(&self, path: &[u8]) -> Result<Option<Peek>, SelectError> {
        let found = self.tree.peek(path)?;
        let hidden = match &found {
            None => false,
            Some(Peek::Dir) => self.is_hidden(path, Kind::Dir),
            Some(Peek::Symlink(_) | Peek::Other) => self.is_hidden(path, Kind::Other),
        };
        Ok(found.filter(|_| !hidden))
    }

    fn is_hidden(&self, path: &[u8], kind: Kind) -> bool {
        judge(self.ignore, path).is_excluded()
            && (kind != Kind::Dir
                || !self.ignore.may_reinclude_below(&String::from_utf8_lossy(path)))
    }

    /// The paths that a source with wildcards matches. Links are followed before the first wildcard only.
    fn expand(&self, source: &str, copy: &CopyOp) -> Result<Vec<Vec<u8>>, SelectError> {
        let components: Vec<&str> = source.split('/').collect();
        let plain = components.iter().take_while(|component| !has_wildcard(component)).count();
        let patterns = components[plain..].iter().map(|component| Wildcard::parse(component));
        let patterns: Vec<Wildcard> = patterns
            .collect::<Result<_, BadWildcard>>()
            .map_err(|BadWildcard| SelectError::Wildcard { pattern: copy.source.clone() })?;
        let written = components[..plain].join("/").into_bytes();
        let start = resolve(&written, LastLink::Follow, |path| self.peek(path))?;
        if start.end != End::Dir {
            return Ok(Vec::new());
        }
        let mut matches = vec![(written, start.path)];
        for (depth, pattern) in patterns.iter().enumerate() {
            let last = depth + 1 == patterns.len();
            let mut next = Vec::new();
            for (written, path) in &matches {
                self.names(path, |name, kind| {
                    if (last || kind == Kind::Dir) && pattern.matches(name) {
                        next.push((paths::join(written, name), paths::join(path, name)));
                    }
                })?;
            }
            matches = next;
        }
        Ok(matches.into_iter().map(|(written, _)| written).collect())
    }

    /// Calls `each` for every visible name in `dir`; nothing else of them is touched.
    fn names(&self, dir: &[u8], mut each: impl FnMut(&[u8], Kind)) -> Result<(), SelectError> {
        self.tree.list(dir, &mut |name, kind| {
            if !self.is_hidden(&paths::join(dir, name), kind) {
                each(name, kind);
            }
            false
        })?;
        Ok(())
    }

    fn follow(&self, written: Vec<u8>, copy: &CopyOp) -> Result<Match, SelectError> {
        let resolved = resolve(&written, LastLink::Follow, |path| self.peek(path))?;
        match resolved.end {
            End::Dir | End::Other => Ok(Match {
                written,
                verdict: judge(self.ignore, &resolved.path),
                path: resolved.path,
                is_dir: resolved.end == End::Dir,
            }),
            End::Missing | End::NotADirectory => Err(self.missing(copy, &written)),
        }
    }

    /// Why there is nothing at `written`.
    fn missing(&self, copy: &CopyOp, written: &[u8]) -> SelectError {
        let unfiltered = resolve(written, LastLink::Follow, |path| self.tree.peek(path));
        if matches!(&unfiltered, Ok(there) if matches!(there.end, End::Dir | End::Other)) {
            return SelectError::Ignored { source_path: copy.source.clone() };
        }
        let nearest = self.nearest(written).unwrap_or_default();
        SelectError::Missing { source_path: copy.source.clone(), nearest }
    }

    /// Names like the first component that does not exist, in the directory where it was looked for.
    fn nearest(&self, written: &[u8]) -> Result<Vec<String>, SelectError> {
        let mut dir = Vec::new();
        for part in paths::ancestors(written).chain([written]) {
            let there = resolve(part, LastLink::Follow, |path| self.peek(path))?;
            if there.end == End::Dir {
                dir = there.path;
                continue;
            }
            let mut names = Vec::new();
            self.names(&dir, |name, _| names.push(String::from_utf8_lossy(name).into_owned()))?;
            let wanted = String::from_utf8_lossy(paths::split(part).1).into_owned();
            let near = nearest_names(&wanted, names.into_iter());
            let whole = |name: String| shown(&paths::join(paths::split(part).0, name.as_bytes()));
            return Ok(near.into_iter().map(whole).collect());
        }
        Ok(Vec::new())
    }
}
