//! The entries of a copied directory: in one list for each directory, as they were walked, and the order in which
//! they are copied. Nothing is moved from the list it was made in.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::digest::{Framed, Reads};
use super::walk::Walked;
use super::{LinkId, Selected};
use crate::tree::Node;

/// What is in a copied directory: parents first, siblings in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries {
    lists: Vec<Vec<Selected>>,
    runs: Vec<Run>,
}

/// Neighbours in the order that are neighbours in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    list: usize,
    entries: Range<usize>,
}

impl Entries {
    /// Every entry, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Selected> {
        self.runs.iter().flat_map(|run| &self.lists[run.list][run.entries.clone()])
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

/// The entries of a directory with what their digest is of.
pub(super) struct Ordered {
    pub(super) entries: Entries,
    /// Of each list.
    framed: Vec<Framed>,
}

impl Ordered {
    /// Puts walked directories in order, the first one's content first, without those that nothing came of, and
    /// joins the names of one file.
    pub(super) fn of(mut walked: Vec<Walked>, reads: Reads) -> Self {
        judge(&mut walked);
        let runs = runs(&walked);
        for list in join_links(&mut walked, &runs) {
            walked[list].framed = Framed::of(&walked[list].entries, reads);
        }
        let (lists, framed) = walked.into_iter().map(|list| (list.entries, list.framed)).unzip();
        Self { entries: Entries { lists, runs }, framed }
    }

    /// What the digest is of, in pieces.
    pub(super) fn framed(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.runs.iter().map(|run| self.framed[run.list].of_entries(&run.entries))
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
        let end = subdir.map_or(walked[list].entries.len(), |dir| dir.at + usize::from(dir.taken));
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

/// Makes each further name of a file a link to the first one; the lists that this changed.
fn join_links(walked: &mut [Walked], runs: &[Run]) -> BTreeSet<usize> {
    let links: Vec<Vec<(usize, Box<LinkId>)>> =
        walked.iter_mut().map(|list| std::mem::take(&mut list.links)).collect();
    let mut first: HashMap<&LinkId, (usize, usize)> = HashMap::new();
    let mut changed = BTreeSet::new();
    for Run { list, entries } in runs {
        let before = |end: usize| links[*list].partition_point(|(at, _)| *at < end);
        for (at, link) in &links[*list][before(entries.start)..before(entries.end)] {
            match first.get(link.as_ref()) {
                Some(&(other, place)) => {
                    let to = walked[other].entries[place].dest().to_vec();
                    walked[*list].entries[*at].node = Node::Hardlink { to };
                    changed.insert(*list);
                }
                None => {
                    first.insert(link, (*list, *at));
                }
            }
        }
    }
    changed
}
