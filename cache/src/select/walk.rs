//! Reading everything below a matched directory, level by level, in parallel across directories.
//!
//! Level by level rather than by recursion: a tree as deep as paths allow must not exhaust a thread's
//! stack. Directories that patterns leave out whole are not opened.

use std::collections::HashMap;

use kiln_ir::{PatternSet, Verdict};
use rayon::prelude::*;

use super::matches::Match;
use super::{Found, Kind, LinkId, RootContent, SelectError, Selected, SourceTree};
use crate::tree::{Node, paths};

/// What is walked, and what is left out of it.
pub(super) struct Walk<'a, T> {
    pub(super) tree: &'a T,
    /// Of paths in the tree.
    pub(super) ignore: &'a PatternSet,
    /// What alone is taken, if there are any: of paths below the copied directory.
    pub(super) include: &'a PatternSet,
    /// Of paths below the copied directory.
    pub(super) exclude: &'a PatternSet,
}

/// A path with what the patterns say of it.
#[derive(Debug, Default)]
struct Place {
    /// In the tree.
    path: Vec<u8>,
    /// How many bytes of it lead to the copied directory.
    root_bytes: usize,
    ignore: Verdict,
    /// A pattern's match "excludes": here it takes in.
    include: Verdict,
    exclude: Verdict,
}

/// A child of a walked directory that is looked at.
struct Wanted {
    path: Vec<u8>,
    /// Whether it is selected for its own sake.
    taken: bool,
    /// For a directory: what to walk it with.
    place: Option<Box<Place>>,
}

/// One child of a walked directory.
struct Child {
    selected: Selected,
    link: Option<Box<LinkId>>,
    /// For a directory: what to walk it with.
    place: Option<Box<Place>>,
    /// For a directory: its index among the walked ones.
    walked_as: Option<usize>,
    /// Whether it is selected, or needed for what is.
    taken: bool,
}

impl Place {
    fn is_left_out(&self) -> bool {
        self.ignore.is_excluded() || self.exclude.is_excluded()
    }

    /// The path below the copied directory; empty for itself.
    fn dest(&self) -> &[u8] {
        self.path.get(self.root_bytes..).unwrap_or_default()
    }
}

impl Child {
    fn new(wanted: Wanted, found: Found, root_bytes: usize) -> Self {
        let Wanted { path, taken, place } = wanted;
        let Found { node, meta, mtime, link, settled, ahead } = found;
        let selected = Selected { path, root_bytes, node, meta, mtime, settled, ahead };
        Self { selected, link, place, walked_as: None, taken }
    }
}

impl<T: SourceTree> Walk<'_, T> {
    /// What a match gives; nothing when patterns leave all of it out.
    pub(super) fn root(&self, matched: &Match) -> Result<Option<RootContent>, SelectError> {
        let path = matched.path.clone();
        // A slash lies between, but where the copied directory is the tree's root.
        let root_bytes = path.len() + usize::from(!path.is_empty());
        let ignore = matched.verdict.clone();
        let place = Place { path, root_bytes, ignore, ..Place::default() };
        if !matched.is_dir {
            return self.single(place, matched);
        }
        let left_out = place.is_left_out();
        let entries = self.directory(place)?;
        Ok((!left_out || !entries.is_empty()).then_some(RootContent::Directory(entries)))
    }

    fn single(&self, place: Place, matched: &Match) -> Result<Option<RootContent>, SelectError> {
        let name = String::from_utf8_lossy(matched.written_name());
        let asked = self.include.is_empty() || self.include.excluded(&name);
        if place.is_left_out() || !asked || self.exclude.excluded(&name) {
            return Ok(None);
        }
        let gone = || SelectError::Changed { path: super::shown(&matched.path) };
        let found = self.tree.entry(&matched.path)?.ok_or_else(gone)?;
        let wanted = Wanted { path: place.path, taken: true, place: None };
        Ok(Some(RootContent::Single(Child::new(wanted, found, place.root_bytes).selected)))
    }

    fn directory(&self, root: Place) -> Result<Vec<Selected>, SelectError> {
        let mut walked: Vec<Vec<Child>> = vec![self.list(&root)?];
        let mut level = 0..1;
        while !level.is_empty() {
            let mut below = Vec::new();
            let mut next = walked.len();
            for child in walked[level.clone()].iter_mut().flatten() {
                if let Some(place) = child.place.take() {
                    child.walked_as = Some(next);
                    below.push(place);
                    next += 1;
                }
            }
            level = walked.len()..next;
            if below.len() > 1 {
                let lists: Result<Vec<Vec<Child>>, SelectError> =
                    below.into_par_iter().map(|place| self.list(&place)).collect();
                walked.append(&mut lists?);
            } else {
                // No threads are woken, or started, for a chain of directories.
                for place in below {
                    walked.push(self.list(&place)?);
                }
            }
        }
        Ok(in_order(walked))
    }

    fn list(&self, dir: &Place) -> Result<Vec<Child>, SelectError> {
        let found = self.tree.list(&dir.path, &mut |name, kind| {
            let place = self.child(dir, name);
            self.wants(&place, kind).then(|| self.wanted(place, kind))
        })?;
        let mut children = Vec::with_capacity(found.len());
        for (wanted, found) in found {
            if matches!(found.node, Node::Dir { .. }) != wanted.place.is_some() {
                return Err(SelectError::Changed { path: super::shown(&wanted.path) });
            }
            if found.node != Node::Socket {
                children.push(Child::new(wanted, found, dir.root_bytes));
            }
        }
        Ok(children)
    }

    fn wanted(&self, place: Place, kind: Kind) -> Wanted {
        let taken = self.takes(&place);
        if kind == Kind::Dir {
            Wanted { path: place.path.clone(), taken, place: Some(Box::new(place)) }
        } else {
            Wanted { path: place.path, taken, place: None }
        }
    }

    fn child(&self, dir: &Place, name: &[u8]) -> Place {
        let below = |patterns: &PatternSet, parent: &Verdict, path: &[u8]| {
            if patterns.is_empty() {
                return Verdict::default();
            }
            patterns.below(parent, &String::from_utf8_lossy(path))
        };
        let path = paths::join(&dir.path, name);
        let dest = &path[dir.root_bytes..];
        let ignore = below(self.ignore, &dir.ignore, &path);
        let include = below(self.include, &dir.include, dest);
        let exclude = below(self.exclude, &dir.exclude, dest);
        Place { root_bytes: dir.root_bytes, ignore, include, exclude, path }
    }

    /// Whether a child is selected for its own sake.
    fn takes(&self, place: &Place) -> bool {
        let asked = self.include.is_empty() || place.include.is_excluded();
        asked && !place.is_left_out()
    }

    /// Whether to look at a child at all: it is selected, or something below it may be.
    fn wants(&self, place: &Place, kind: Kind) -> bool {
        let may_hold = |patterns: &PatternSet, verdict: &Verdict, path: &[u8]| {
            !verdict.is_excluded() || patterns.may_reinclude_below(&String::from_utf8_lossy(path))
        };
        if kind != Kind::Dir {
            return self.takes(place);
        }
        let asked = self.include.is_empty()
            || place.include.is_excluded()
            || self.include.may_match_below(&String::from_utf8_lossy(place.dest()));
        asked
            && may_hold(self.ignore, &place.ignore, &place.path)
            && may_hold(self.exclude, &place.exclude, place.dest())
    }
}

/// Puts the lists together depth first, without the directories that nothing came of, and joins the names
/// of one file.
fn in_order(mut walked: Vec<Vec<Child>>) -> Vec<Selected> {
    // Children have higher indices than their parents: from the end, each list is judged before the one
    // that its directory is in.
    for index in (0..walked.len()).rev() {
        let (above, below) = walked.split_at_mut(index + 1);
        for child in &mut above[index] {
            if let Some(list) = child.walked_as.filter(|_| !child.taken) {
                child.taken = below[list - index - 1].iter().any(|below| below.taken);
            }
        }
    }
    let mut ordered = Vec::with_capacity(walked.iter().map(Vec::len).sum());
    let mut files: HashMap<Box<LinkId>, Vec<u8>> = HashMap::new();
    let mut lists: Vec<std::vec::IntoIter<Child>> = Vec::new();
    lists.extend(walked.first_mut().map(|first| std::mem::take(first).into_iter()));
    while let Some(list) = lists.last_mut() {
        let Some(child) = list.next() else {
            lists.pop();
            continue;
        };
        if !child.taken {
            continue;
        }
        lists.extend(child.walked_as.map(|index| std::mem::take(&mut walked[index]).into_iter()));
        let Child { mut selected, link, .. } = child;
        if let Some(to) = link.and_then(|link| other_name(&mut files, link, selected.dest())) {
            selected.node = Node::Hardlink { to };
        }
        ordered.push(selected);
    }
    ordered
}

/// The first name of a file seen before under another.
fn other_name(
    files: &mut HashMap<Box<LinkId>, Vec<u8>>,
    link: Box<LinkId>,
    dest: &[u8],
) -> Option<Vec<u8>> {
    match files.get(&link) {
        Some(first) => Some(first.clone()),
        None => {
            files.insert(link, dest.to_vec());
            None
        }
    }
}
