//! The entries of a copied directory: in one list for each directory, as they were walked, and the order in which
//! they are copied. Nothing is moved from the list it was made in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::walk::Walked;
use super::{Found, LinkId, Listed, Selected};
use crate::tree::{Node, paths};

/// What is in a copied directory: parents first, siblings in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries {
    lists: Vec<List>,
    runs: Vec<Run>,
}

/// What is taken of one directory, and directories that may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct List {
    /// The directory's path in the source tree.
    pub(super) dir: Vec<u8>,
    /// How many bytes of a child's path lead to the destination.
    root_bytes: usize,
    pub(super) children: Listed,
}

/// Neighbours in the order that are neighbours in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    list: usize,
    entries: Range<usize>,
}

impl Entries {
    /// Every entry, in order.
    pub fn iter(&self) -> impl Iterator<Item = Selected<'_>> {
        self.in_lists().map(|(list, name, found)| {
            Selected::new(paths::join(&list.dir, name), list.root_bytes, found)
        })
    }

    /// Every entry, in order: its list, its name there, and what it is.
    pub(super) fn in_lists(&self) -> impl Iterator<Item = (&List, &[u8], Cow<'_, Found>)> {
        self.runs.iter().flat_map(|run| {
            let list = &self.lists[run.list];
            list.children.range(run.entries.clone()).map(move |(name, found)| (list, name, found))
        })
    }

    /// Puts walked directories in order, the first one's content first, without those that nothing came of, and
    /// joins the names of one file.
    pub(super) fn of(mut walked: Vec<Walked>) -> Self {
        judge(&mut walked);
        let runs = runs(&walked);
        join_links(&mut walked, &runs);
        Self { lists: walked.into_iter().map(|walked| walked.list).collect(), runs }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.iter().map(|run| run.entries.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

impl List {
    pub(super) fn new(dir: Vec<u8>, root_bytes: usize, children: Listed) -> Self {
        Self { dir, root_bytes, children }
    }

    /// The directory's path below the destination; empty for the copied one.
    pub(super) fn dest(&self) -> &[u8] {
        self.dir.get(self.root_bytes..).unwrap_or_default()
    }

    fn path(&self, index: usize) -> Vec<u8> {
        paths::join(&self.dir, self.children.name(index))
    }
}

/// Takes the directories that something below is taken of.
fn judge(walked: &mut [Walked]) {
    // Children have higher indices than their parents: from the end, each list is judged before the one
    // that its directory is in.
    for index in (0..walked.len()).rev() {
        let (above, below) = walked.split_at_mut(index + 1);
        for subdir in &mut above[index].subdirs {
            subdir.taken = subdir.taken || below[subdir.walked_as - index - 1].is_any_taken();
        }
    }
}

/// The order of what is taken, depth first.
fn runs(walked: &[Walked]) -> Vec<Run> {
    let mut runs = Vec::new();
    // The lists that are not through: how far their entries are, and their subdirectories.
    let mut open: Vec<(usize, usize, usize)> = Vec::new();
    open.extend((!walked.is_empty()).then_some((0, 0, 0)));
    while let Some((list, start, passed)) = open.pop() {
        let subdir = walked[list].subdirs.get(passed);
        let end =
            subdir.map_or(walked[list].list.children.len(), |dir| dir.at + usize::from(dir.taken));
        if start < end {
            runs.push(Run { list, entries: start..end });
        }
        if let Some(subdir) = subdir {
            open.push((list, subdir.at + 1, passed + 1));
            open.extend(subdir.taken.then_some((subdir.walked_as, 0, 0)));
        }
    }
    runs
}

/// Makes each further name of a file a link to the first one.
fn join_links(walked: &mut [Walked], runs: &[Run]) {
    let links: Vec<Vec<(usize, Box<LinkId>)>> =
        walked.iter_mut().map(|list| std::mem::take(&mut list.links)).collect();
    let mut first: HashMap<&LinkId, (usize, usize)> = HashMap::new();
    for Run { list, entries } in runs {
        let before = |end: usize| links[*list].partition_point(|(at, _)| *at < end);
        for (at, link) in &links[*list][before(entries.start)..before(entries.end)] {
            match first.get(link.as_ref()) {
                Some(&(other, place)) => {
                    let List { root_bytes, .. } = walked[other].list;
                    let to = walked[other].list.path(place).split_off(root_bytes);
                    walked[*list].list.children.set_node(*at, Node::Hardlink { to });
                }
                None => {
                    first.insert(link, (*list, *at));
                }
            }
        }
    }
}
