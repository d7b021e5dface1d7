//! One vertex on a worker thread: its result is looked up, or made and recorded.

use kiln_cache::{CacheKey, Record, RecordStore, key};
use kiln_ir::{OpId, Vertex};

use crate::{Cancel, Found, Lookup, Report, Runner, StepError};

/// One vertex with all that is needed to do it.
pub(crate) struct Step<'a, R: Runner> {
    pub(crate) id: OpId,
    pub(crate) vertex: &'a Vertex,
    /// The results of the vertex's inputs.
    pub(crate) inputs: Vec<R::Value>,
    pub(crate) cancel: Cancel,
}

/// How a vertex ended.
pub(crate) enum Ending<R: Runner> {
    /// Its work was done.
    Ran(R::Value),
    /// A recorded result was taken.
    Cached(R::Value),
    /// It failed.
    Failed(StepError<R::Error>),
    /// It was told to stop, and came back without a result.
    Stopped,
}

/// A vertex that ended, with what the cache knows it by.
pub(crate) struct Performed<R: Runner> {
    pub(crate) ending: Ending<R>,
    /// Nothing for a vertex that is not recorded, or whose inputs could not be read.
    pub(crate) key: Option<CacheKey>,
    /// The result that was found or made.
    pub(crate) record: Option<Box<Record>>,
}

impl<R: Runner> Performed<R> {
    /// Ended before anything was known of it.
    pub(crate) const fn unknown(ending: Ending<R>) -> Self {
        Self { ending, key: None, record: None }
    }
}

/// A recorded value, if there is one to take, and what the lookup found.
type LookedUp<R> = (Option<<R as Runner>::Value>, Found);

/// What steps work with.
pub(crate) struct Ports<'a, R> {
    pub(crate) runner: &'a R,
    pub(crate) records: &'a dyn RecordStore,
}

impl<R: Runner> Ports<'_, R> {
    /// Brings `step` to its end.
    pub(crate) fn perform(&self, step: &Step<'_, R>, report: &dyn Report) -> Performed<R> {
        let mut performed = Performed::unknown(Ending::Stopped);
        let ended = if step.vertex.op.is_recorded() {
            self.recorded(step, report, &mut performed)
        } else {
            self.run(step, report, &mut performed)
        };
        performed.ending = match ended {
            Ok(ending) => ending,
            Err(error) if step.cancel.is_cancelled() && !self.is_own(&error) => Ending::Stopped,
            Err(error) => Ending::Failed(error),
        };
        performed
    }

    fn is_own(&self, error: &StepError<R::Error>) -> bool {
        match error {
            StepError::Run(error) => self.runner.failed_by_itself(error),
            StepError::Lookup(_) | StepError::Lock(_) | StepError::Record(_) => false,
        }
    }

    fn recorded(
        &self,
        step: &Step<'_, R>,
        report: &dyn Report,
        performed: &mut Performed<R>,
    ) -> Result<Ending<R>, StepError<R::Error>> {
        let digests =
            self.runner.input_digests(step.vertex, &step.inputs).map_err(StepError::Run)?;
        let key = key::derive(&step.vertex.op, &digests);
        performed.key = Some(key);
        let note = |found| {
            let Step { id, vertex, inputs, cancel: _ } = step;
            let lookup = Lookup { id: *id, vertex, inputs, digests: &digests, key, found };
            self.runner.looked_up(&lookup).map_err(StepError::Run)
        };
        if step.vertex.meta.ignore_cache {
            note(Found::PassedOver)?;
            return self.run(step, report, performed);
        }
        if let (Some(value), found) = self.look_up(step, &key, performed)? {
            note(found)?;
            return Ok(Ending::Cached(value));
        }
        let cancelled = || step.cancel.is_cancelled();
        let _held = self.records.lock(&key, &cancelled).map_err(StepError::Lock)?;
        // Whoever held the lock may have done the work meanwhile.
        let (value, found) = self.look_up(step, &key, performed)?;
        note(found)?;
        if let Some(value) = value {
            return Ok(Ending::Cached(value));
        }
        self.run(step, report, performed)
    }

    fn look_up(
        &self,
        step: &Step<'_, R>,
        key: &CacheKey,
        performed: &mut Performed<R>,
    ) -> Result<LookedUp<R>, StepError<R::Error>> {
        let Some(record) = self.records.get(key).map_err(StepError::Lookup)? else {
            return Ok((None, Found::Nothing));
        };
        let restored =
            self.runner.restore(step.vertex, &step.inputs, &record).map_err(StepError::Run)?;
        let found = if restored.is_some() {
            performed.record = Some(Box::new(record));
            Found::Result
        } else {
            Found::Husk
        };
        Ok((restored, found))
    }

    fn run(
        &self,
        step: &Step<'_, R>,
        report: &dyn Report,
        performed: &mut Performed<R>,
    ) -> Result<Ending<R>, StepError<R::Error>> {
        let (value, record) = self
            .runner
            .run(step.vertex, &step.inputs, report, &step.cancel)
            .map_err(StepError::Run)?;
        if let (Some(key), Some(record)) = (&performed.key, record) {
            self.records.put(key, &record).map_err(StepError::Record)?;
            performed.record = Some(Box::new(record));
        }
        Ok(Ending::Ran(value))
    }
}
