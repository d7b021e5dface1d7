//! What is kept of builds, and what can be asked of it.
//!
//! Each build leaves one file in the store, in the form of the module `line`; the store knows where it is
//! ([`kiln_cache::BuildFile`]). It is written by the recorder while the build runs, and everything that is shown of a
//! past build is a fold over it. Absent: rendering, and anything that a build depends on.

mod archive;
mod check;
mod contents;
mod critical;
mod line;
mod otlp;
mod past;
mod reader;
mod recipe;
mod recorder;
mod step;
mod told;

#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader};

use kiln_frontend::Location;
use kiln_grammar::nearest;
use kiln_ir::{Op, Vertex};
use kiln_solver::Event;

pub(crate) use check::check_builds;
pub use contents::{LayerContents, LayerFile};
pub use kiln_cache::{BuildLimits, BuildRow, BuildState, BuildStatus, ListedBuild};
pub use line::{Asked, End, How, Origin, RecordedError, RecordedFault, RecordedImage};
pub use otlp::otlp;
pub use past::{PastBuild, PastTask, TaskState};
pub use reader::Extent;
pub use recipe::Recipe;
pub(crate) use recorder::Recorder;
pub(crate) use step::{Names, find};
pub(crate) use told::build_name;

use self::past::Fold;
use crate::{Engine, EngineError};

/// Ids that are named where one is ambiguous.
const MAX_NAMED: usize = 5;

impl Origin {
    /// What a vertex is.
    pub(crate) fn of(index: usize, vertex: &Vertex) -> Self {
        let run = match &vertex.op {
            Op::Exec(exec) => Some(Box::new(Recipe::of(exec))),
            Op::Source(_) | Op::File(_) | Op::Merge | Op::Diff => None,
        };
        Self { op: told::op_name(&vertex.op).to_owned(), run, ..Self::unknown(index) }
    }

    /// The same with a place in a Dockerfile, and the instruction that is there.
    pub(crate) fn at(self, place: Location<'_>, text: &str) -> Self {
        let Location { file, line, column: _ } = place;
        Self { file: file.to_owned(), at: line, text: told::cut(text), ..self }
    }

    fn unknown(vertex: usize) -> Self {
        Self {
            vertex,
            op: String::new(),
            file: String::new(),
            at: 0,
            text: String::new(),
            run: None,
        }
    }
}

impl Engine {
    /// All builds that something is kept of, the latest first. One that ended and was lost from the list is listed
    /// again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn builds(&self) -> Result<Vec<ListedBuild>, EngineError> {
        let mut builds = self.store.builds()?;
        check::list_ended(&self.store, &mut builds);
        Ok(builds)
    }

    /// The build that is meant by an id, by the beginning of one, or by `^N`, which counts back from the latest,
    /// `^0`; the latest where nothing is said.
    ///
    /// # Errors
    /// When there is no such build, or more than one, or the store cannot be read.
    pub fn find_build(&self, reference: Option<&str>) -> Result<ListedBuild, EngineError> {
        let builds = self.builds()?;
        let reference = reference.unwrap_or("^0");
        let absent = |hint: Option<String>| EngineError::NoBuild {
            reference: reference.to_owned(),
            hints: hint.into_iter().collect(),
        };
        if let Some(back) = reference.strip_prefix('^') {
            let back: Option<usize> = if back.is_empty() { Some(1) } else { back.parse().ok() };
            let found = back.and_then(|back| builds.get(back).cloned());
            let count = builds.len();
            let recorded = match count {
                0 => "no build is recorded yet".to_owned(),
                1 => "one build is recorded: `^0`".to_owned(),
                _ => format!("{count} builds are recorded: `^0` is the latest"),
            };
            return found.ok_or_else(|| absent(Some(recorded)));
        }
        let mut meant = builds.iter().filter(|build| build.id.starts_with(reference));
        match (meant.next(), meant.next()) {
            (Some(one), None) if !reference.is_empty() => Ok(one.clone()),
            (Some(_), _) => {
                let ids = builds.iter().map(|build| build.id.as_str());
                let meant = ids.filter(|id| id.starts_with(reference)).take(MAX_NAMED);
                Err(EngineError::AmbiguousBuild {
                    reference: reference.to_owned(),
                    ids: meant.map(str::to_owned).collect(),
                })
            }
            (None, _) => {
                let ids: Vec<&str> = builds.iter().map(|build| build.id.as_str()).collect();
                let close = nearest(reference, &ids).map(|id| format!("did you mean `{id}`?"));
                Err(absent(close))
            }
        }
    }

    /// What is known of a build, by its whole id.
    ///
    /// # Errors
    /// When its record cannot be read at all.
    pub fn past_build(&self, id: &str) -> Result<PastBuild, EngineError> {
        self.replay_build(id, &mut |_| {})
    }

    /// As [`Self::past_build`]; tells `sink` all that happened, in order.
    ///
    /// # Errors
    /// When its record cannot be read at all.
    pub fn replay_build(
        &self,
        id: &str,
        sink: &mut dyn FnMut(Event),
    ) -> Result<PastBuild, EngineError> {
        read_build(BufReader::new(self.store.open_build(id)?), id, sink)
    }

    /// Removes what is kept of a build, unless it runs; says whether it did.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn remove_build(&self, id: &str) -> Result<bool, EngineError> {
        Ok(self.store.remove_build(id)?)
    }

    /// How much is kept of builds, as the configuration has it.
    ///
    /// # Errors
    /// When the filesystem cannot be looked at.
    pub fn build_limits(&self) -> Result<BuildLimits, EngineError> {
        let history = self.settings.history;
        Ok(BuildLimits {
            count: history.max_entries,
            age: history.max_age.duration(),
            size_bytes: self.bytes(history.max_size)?,
        })
    }
}

/// Reads the record of a build, wherever it is from; `sink` is told all that happened, in order.
///
/// # Errors
/// When it is no record, or one of a later Kiln, or cannot be read at all.
pub fn read_build(
    file: impl BufRead,
    id: &str,
    sink: &mut dyn FnMut(Event),
) -> Result<PastBuild, EngineError> {
    let mut fold = Fold::default();
    let read = reader::read(file, &mut |line| {
        if let Some(event) = fold.line(line)? {
            sink(event);
        }
        Ok(())
    });
    let (begin, extent) = read.map_err(|error| EngineError::BuildRecord {
        id: id.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(fold.finish(id.to_owned(), begin.unwrap_or_default(), extent))
}
