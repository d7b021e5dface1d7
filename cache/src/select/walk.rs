//! Reading everything below a matched directory, level by level, in parallel across directories.
//!
//! Level by level rather than by recursion: a tree as deep as paths allow must not exhaust a thread's
//! stack. Directories that patterns leave out whole are not opened.

use kiln_ir::{PatternSet, Verdict};
use rayon::prelude::*;

use super::entries::{Entries, List};
use super::matches::Match;
use super::{Kind, LinkId, SelectError, Single, SourceTree};
use crate::tree::paths;

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

/// What a walked directory gave.
#[derive(Default)]
pub(super) struct Walked {
    /// What is taken, and directories that may be.
    pub(super) list: List,
    pub(super) subdirs: Vec<Subdir>,
    /// Of the files that may have further names: which they are in the list.
    pub(super) links: Vec<(usize, Box<LinkId>)>,
}

/// A directory in a walked one.
pub(super) struct Subdir {
    /// Its index in the list.
    pub(super) at: usize,
    /// Whether it is selected, or needed for what is.
    pub(super) taken: bool,
    /// Its index among the walked ones.
    pub(super) walked_as: usize,
    /// What to walk it with.
    place: Place,
}

/// What a match gave.
pub(super) enum Body {
    Directory(Entries),
    Single(Single),
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

impl Subdir {
    fn name(&self) -> &[u8] {
        paths::split(&self.place.path).1
    }
}

impl Walked {
    pub(super) fn is_any_taken(&self) -> bool {
        // All but directories are there because they are taken.
        self.list.children.len() > self.subdirs.len() || self.subdirs.iter().any(|dir| dir.taken)
    }

    /// Finds out which children the directories are that were asked for, in their order, and which files may have
    /// further names.
    fn join(&mut self, asked: Vec<Subdir>) -> Result<(), SelectError> {
        let mut asked = asked.into_iter().peekable();
        let mut at = 0;
        for (name, child) in self.list.children.iter_mut() {
            // What comes before has vanished.
            while asked.next_if(|dir| dir.name() < name).is_some() {}
            let subdir = asked.next_if(|dir| dir.name() == name);
            if child.is_dir() != subdir.is_some() {
                let path = paths::join(&self.list.dir, name);
                return Err(SelectError::Changed { path: super::shown(&path) });
            }
            self.subdirs.extend(subdir.map(|subdir| Subdir { at, ..subdir }));
            self.links.extend(child.take_link().map(|link| (at, link)));
            at += usize::from(!child.is_socket());
        }
        self.list.children.drop_sockets();
        Ok(())
    }
}

impl<T: SourceTree> Walk<'_, T> {
    /// What a match gives; nothing when patterns leave all of it out.
    pub(super) fn root(&self, matched: &Match) -> Result<Option<Body>, SelectError> {
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
        Ok((!left_out || !entries.is_empty()).then_some(Body::Directory(entries)))
    }

    fn single(&self, place: Place, matched: &Match) -> Result<Option<Body>, SelectError> {
        let name = String::from_utf8_lossy(matched.written_name());
        let asked = self.include.is_empty() || self.include.excluded(&name);
        if place.is_left_out() || !asked || self.exclude.excluded(&name) {
            return Ok(None);
        }
        let gone = || SelectError::Changed { path: super::shown(&matched.path) };
        let found = self.tree.entry(&matched.path)?.ok_or_else(gone)?;
        Ok(Some(Body::Single(Single { path: place.path, found })))
    }

    fn directory(&self, root: Place) -> Result<Entries, SelectError> {
        let mut walked = vec![self.list(root)?];
        let mut level = 0..1;
        while !level.is_empty() {
            let mut below = Vec::new();
            let mut next = walked.len();
            for subdir in walked[level].iter_mut().flat_map(|list| &mut list.subdirs) {
                subdir.walked_as = next;
                below.push(std::mem::take(&mut subdir.place));
                next += 1;
            }
            level = walked.len()..next;
            if below.len() > 1 {
                let lists: Result<Vec<Walked>, SelectError> =
                    below.into_par_iter().map(|place| self.list(place)).collect();
                walked.append(&mut lists?);
            } else {
                // No threads are woken, or started, for a chain of directories.
                for place in below {
                    walked.push(self.list(place)?);
                }
            }
        }
        Ok(Entries::of(walked))
    }

    fn list(&self, dir: Place) -> Result<Walked, SelectError> {
        let mut subdirs = Vec::new();
        let children = self.tree.list(&dir.path, &mut |name, kind| {
            if kind != Kind::Dir && !self.has_patterns() {
                return true;
            }
            let place = self.child(&dir, name);
            let wants = self.wants(&place, kind);
            if wants && kind == Kind::Dir {
                subdirs.push(Subdir { at: 0, taken: self.takes(&place), walked_as: 0, place });
            }
            wants
        })?;
        let list = List::new(dir.path, dir.root_bytes, children);
        let mut walked = Walked { list, ..Walked::default() };
        walked.join(subdirs)?;
        Ok(walked)
    }

    fn has_patterns(&self) -> bool {
        !(self.ignore.is_empty() && self.include.is_empty() && self.exclude.is_empty())
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
