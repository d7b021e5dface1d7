//! One vertex: its result is looked up, or made and recorded.
//!
//! The coordinator first asks what can be told at once. What a worker then does is whole by itself: whatever the
//! coordinator did not find is looked up again under the lock of the action, before it is run.

use std::borrow::Cow;
use std::sync::Arc;

use kiln_cache::{CacheKey, Record, RecordStore, key};
use kiln_ir::{Digest, OpId, Vertex};

use crate::{AtOnce, Cancel, Found, Lookup, Report, Runner, StepError};

/// One vertex with all that is needed to do it.
pub(crate) struct Step<'a, R: Runner> {
    pub(crate) id: OpId,
    pub(crate) vertex: &'a Vertex,
    /// The results of the vertex's inputs.
    pub(crate) inputs: Vec<R::Value>,
    /// What the vertex reads, if that is known and no record of it was seen.
    pub(crate) digests: Option<Vec<Digest>>,
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
    pub(crate) record: Option<Arc<Record>>,
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
    /// Brings `step` to its end if that can be done at once; nothing if it takes a worker.
    pub(crate) fn at_once(&self, step: &mut Step<'_, R>) -> Option<Performed<R>> {
        let mut performed = Performed::unknown(Ending::Stopped);
        let ended = self.recorded_at_once(step, &mut performed).transpose()?;
        performed.ending = self.ending(step, ended);
        Some(performed)
    }

    fn recorded_at_once(
        &self,
        step: &mut Step<'_, R>,
        performed: &mut Performed<R>,
    ) -> Result<Option<Ending<R>>, StepError<R::Error>> {
        let told = self.runner.at_once(step.vertex, &step.inputs).map_err(StepError::Run)?;
        let digests = match told {
            AtOnce::Value(value) => return Ok(Some(Ending::Ran(value))),
            AtOnce::Digests(digests) => digests,
            AtOnce::Nothing => return Ok(None),
        };
        if !step.vertex.meta.ignore_cache {
            let key = key::derive(&step.vertex.op, &digests);
            let record = self.records.peek(&key).map_err(StepError::Lookup)?;
            if let (Some(value), found) = self.restored(step, record, performed)? {
                performed.key = Some(key);
                self.note(step, &digests, key, found)?;
                return Ok(Some(Ending::Cached(value)));
            }
        }
        step.digests = Some(digests);
        Ok(None)
    }

    /// Brings `step` to its end.
    pub(crate) fn perform(&self, step: &Step<'_, R>, report: &dyn Report) -> Performed<R> {
        let mut performed = Performed::unknown(Ending::Stopped);
        let ended = if step.vertex.op.is_recorded() {
            self.recorded(step, report, &mut performed)
        } else {
            self.run(step, report, &mut performed)
        };
        performed.ending = self.ending(step, ended);
        performed
    }

    fn ending(
        &self,
        step: &Step<'_, R>,
        ended: Result<Ending<R>, StepError<R::Error>>,
    ) -> Ending<R> {
        match ended {
            Ok(ending) => ending,
            Err(error) if step.cancel.is_cancelled() && !self.is_own(&error) => Ending::Stopped,
            Err(error) => Ending::Failed(error),
        }
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
        let digests = match &step.digests {
            Some(known) => Cow::Borrowed(known.as_slice()),
            None => {
                let read = self.runner.input_digests(step.vertex, &step.inputs);
                Cow::Owned(read.map_err(StepError::Run)?)
            }
        };
        let key = key::derive(&step.vertex.op, &digests);
        performed.key = Some(key);
        if step.vertex.meta.ignore_cache {
            self.note(step, &digests, key, Found::PassedOver)?;
            return self.run(step, report, performed);
        }
        // What the coordinator looked for in vain needs no second look without the lock.
        if step.digests.is_none()
            && let (Some(value), found) = self.look_up(step, &key, performed)?
        {
            self.note(step, &digests, key, found)?;
            return Ok(Ending::Cached(value));
        }
        let cancelled = || step.cancel.is_cancelled();
        let _held = self.records.lock(&key, &cancelled).map_err(StepError::Lock)?;
        // Whoever held the lock may have done the work meanwhile.
        let (value, found) = self.look_up(step, &key, performed)?;
        self.note(step, &digests, key, found)?;
        if let Some(value) = value {
            return Ok(Ending::Cached(value));
        }
        self.run(step, report, performed)
    }

    /// Tells the runner what a lookup came to.
    fn note(
        &self,
        step: &Step<'_, R>,
        digests: &[Digest],
        key: CacheKey,
        found: Found,
    ) -> Result<(), StepError<R::Error>> {
        let Step { id, vertex, inputs, .. } = step;
        let lookup = Lookup { id: *id, vertex, inputs, digests, key, found };
        self.runner.looked_up(&lookup).map_err(StepError::Run)
    }

    fn look_up(
        &self,
        step: &Step<'_, R>,
        key: &CacheKey,
        performed: &mut Performed<R>,
    ) -> Result<LookedUp<R>, StepError<R::Error>> {
        let record = self.records.get(key).map_err(StepError::Lookup)?;
        self.restored(step, record, performed)
    }

    fn restored(
        &self,
        step: &Step<'_, R>,
        record: Option<Record>,
        performed: &mut Performed<R>,
    ) -> Result<LookedUp<R>, StepError<R::Error>> {
        let Some(record) = record else { return Ok((None, Found::Nothing)) };
        let restored =
            self.runner.restore(step.vertex, &step.inputs, &record).map_err(StepError::Run)?;
        let found = if restored.is_some() {
            performed.record = Some(Arc::new(record));
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
            performed.record = Some(Arc::new(record));
        }
        Ok(Ending::Ran(value))
    }
}
