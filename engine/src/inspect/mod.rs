//! Looking into steps of builds that are over, and into commands that fail.
//!
//! A build's record says which layers each step gave; the filesystem before and after any step is put together of
//! them. It is there as long as the store has the layers. Absent: building anything that is missing.

mod attendant;
mod changes;
mod shell;

pub use attendant::{Attendant, FailedCommand, FailedSandbox};
pub use changes::{ChangeKind, FileChange, FileState};
pub use shell::{ShellRequest, Visit};

use kiln_cache::{LayerRef, Snapshot};

use crate::history::{PastBuild, PastTask};
use crate::{Engine, EngineError};

/// The most steps that a filesystem is put together of.
const MAX_VISITS: usize = 100_000;
/// How deep layers that are stacked may lie in others.
const MAX_DEPTH: usize = 64;

/// A side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// What the step found.
    Before,
    /// What the step left.
    After,
}

impl Moment {
    const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

impl Engine {
    /// The filesystem at one side of a step, by the index of its task. What it is made of is not collected as long
    /// as the store is open.
    ///
    /// # Errors
    /// [`EngineError::NoState`] when there is none, or the store has it no more.
    pub(crate) fn state_of(
        &self,
        build: &PastBuild,
        index: usize,
        moment: Moment,
    ) -> Result<Snapshot, EngineError> {
        let absent = |reason: &str| EngineError::NoState {
            when: moment.word(),
            step: build.tasks[index].name.clone(),
            reason: reason.to_owned(),
        };
        let layers = match moment {
            Moment::Before => before(build, index),
            Moment::After => after(build, index),
        };
        let layers = layers.map_err(|reason| absent(&reason))?;
        for LayerRef { digest, .. } in &layers {
            if !self.layers.contains(digest)? {
                return Err(absent("it was collected since; build again"));
            }
        }
        Ok(Snapshot::of(layers))
    }
}

/// What a kind of op reads first, and whether it adds to that.
enum Kind {
    /// It brings a filesystem of its own.
    Source,
    /// Its layers lie on its first input's.
    Adds,
    /// It is made of its inputs, one on the other.
    Stacks,
    /// It is no filesystem.
    Context,
    Unknown,
}

fn kind(task: &PastTask) -> Kind {
    match task.origin.as_ref().map(|origin| origin.op.as_str()) {
        Some("image" | "http" | "git" | "scratch") => Kind::Source,
        Some("exec" | "file") => Kind::Adds,
        Some("merge") => Kind::Stacks,
        Some("local") => Kind::Context,
        _ => Kind::Unknown,
    }
}

fn before(build: &PastBuild, index: usize) -> Result<Vec<LayerRef>, String> {
    let task = &build.tasks[index];
    match (kind(task), task.inputs.first()) {
        (Kind::Adds | Kind::Stacks, Some(&root)) => after(build, root),
        (Kind::Source | Kind::Stacks, _) => Ok(Vec::new()),
        (Kind::Context, _) => Err("a context is no part of it".to_owned()),
        (Kind::Adds | Kind::Unknown, _) => Err("it is no step on a filesystem".to_owned()),
    }
}

fn after(build: &PastBuild, index: usize) -> Result<Vec<LayerRef>, String> {
    Walk { build, left: MAX_VISITS }.after(index, MAX_DEPTH)
}

/// A walk down from a step. The record may be a stranger's: the way must end.
struct Walk<'a> {
    build: &'a PastBuild,
    left: usize,
}

impl Walk<'_> {
    /// The layers after a step. What it lies on is followed one step at a time: that may be a long way.
    fn after(&mut self, index: usize, depth: usize) -> Result<Vec<LayerRef>, String> {
        let (mut at, mut added) = (Some(index), Vec::new());
        while let Some(index) = at {
            let task = &self.build.tasks[index];
            self.left = self.left.checked_sub(1).ok_or("it is made of too many steps")?;
            at = task.inputs.first().copied();
            match kind(task) {
                Kind::Adds if at.is_some() => added.push(given(task)?),
                Kind::Source => {
                    added.push(if is_scratch(task) { Vec::new() } else { given(task)? });
                    at = None;
                }
                Kind::Stacks => {
                    let depth = depth.checked_sub(1).ok_or("its layers are nested too deeply")?;
                    for &input in task.inputs.iter().skip(1).rev() {
                        added.push(self.after(input, depth)?);
                    }
                }
                Kind::Context => return Err("a context is no filesystem of a step".to_owned()),
                Kind::Adds | Kind::Unknown => {
                    return Err(format!("`{}` is no step on a filesystem", task.name));
                }
            }
        }
        added.reverse();
        Ok(added.concat())
    }
}

fn is_scratch(task: &PastTask) -> bool {
    task.origin.as_ref().is_some_and(|origin| origin.op == "scratch")
}

fn given(task: &PastTask) -> Result<Vec<LayerRef>, String> {
    let none = || format!("`{}` did not end well in that build", task.name);
    task.record.as_ref().map(|record| record.layers.clone()).ok_or_else(none)
}

#[cfg(test)]
mod tests;
