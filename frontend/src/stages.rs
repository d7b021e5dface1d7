//! The stages of a file, found by index and by name.

use std::collections::HashMap;
use std::ops::Deref;

use crate::link::{Command, Stage};

/// Stages in the order of the file. Names do not change once a stage is in; what looks one up by name does not
/// look at all of them.
#[derive(Debug, Default)]
pub(crate) struct Stages<'a> {
    list: Vec<Stage<'a>>,
    /// The stages of each name, in the order of the file; never an empty list.
    named: HashMap<String, Vec<usize>>,
}

impl<'a> Stages<'a> {
    /// Adds a stage behind the others.
    pub(crate) fn push(&mut self, stage: Stage<'a>) {
        if let Some(name) = &stage.name {
            self.named.entry(name.clone()).or_default().push(self.list.len());
        }
        self.list.push(stage);
    }

    /// The instructions of a stage.
    ///
    /// # Panics
    /// When there is no such stage.
    pub(crate) fn commands_mut(&mut self, index: usize) -> &mut Vec<Command<'a>> {
        &mut self.list[index].commands
    }

    /// The first stage of a name.
    pub(crate) fn first_named(&self, name: &str) -> Option<usize> {
        self.named.get(name)?.first().copied()
    }

    /// The last stage of a name.
    pub(crate) fn last_named(&self, name: &str) -> Option<usize> {
        self.named.get(name)?.last().copied()
    }

    /// The last stage of a name above another.
    pub(crate) fn last_named_before(&self, name: &str, index: usize) -> Option<usize> {
        let all = self.named.get(name)?;
        let above = all.partition_point(|candidate| *candidate < index);
        all[..above].last().copied()
    }
}

impl<'a> Deref for Stages<'a> {
    type Target = [Stage<'a>];

    fn deref(&self) -> &Self::Target {
        &self.list
    }
}
