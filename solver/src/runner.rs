//! What the solver asks of whoever knows how ops are done.

use std::error::Error;

use kiln_cache::{CacheKey, Record};
use kiln_ir::{Digest, OpId, Vertex};

use crate::{Cancel, Report};

/// What came of looking a vertex's result up.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a, V> {
    /// Which vertex it is.
    pub id: OpId,
    /// What it does.
    pub vertex: &'a Vertex,
    /// The results of the vertex's inputs.
    pub inputs: &'a [V],
    /// What the vertex reads of them, as [`kiln_cache::key::derive`] takes it.
    pub digests: &'a [Digest],
    /// The key that was looked up.
    pub key: CacheKey,
    /// What was found.
    pub found: Found,
}

/// What a lookup found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A result, which is taken.
    Result,
    /// No record.
    Nothing,
    /// A record whose content is gone.
    Husk,
    /// Nothing was looked up: the vertex is to run in any case.
    PassedOver,
}

/// What can be told of a vertex without a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtOnce<V> {
    /// Its result, of an op that is not recorded.
    Value(V),
    /// What it reads, as [`Runner::input_digests`] has it.
    Digests(Vec<Digest>),
    /// Nothing: that takes time.
    Nothing,
}

/// Does what ops say. Called from several threads at once.
///
/// `inputs` are always the results of the vertex's inputs, in its order.
pub trait Runner: Sync {
    /// A vertex's result; cloned for each vertex that reads it, so it should be cheap to clone.
    type Value: Clone + Send + Sync;
    /// Why something could not be done.
    type Error: Error + Send + 'static;

    /// What is known of a vertex, or found within microseconds and without waiting for anybody. Asked before all
    /// else, on the thread that narrates, which hears nobody meanwhile. The same holds for [`Runner::restore`]
    /// and [`Runner::looked_up`] if digests were the answer.
    ///
    /// # Errors
    /// When the vertex has failed.
    fn at_once(
        &self,
        vertex: &Vertex,
        inputs: &[Self::Value],
    ) -> Result<AtOnce<Self::Value>, Self::Error> {
        let _ = (vertex, inputs);
        Ok(AtOnce::Nothing)
    }

    /// The content digest of what the op reads of each input, in the order that
    /// [`kiln_cache::key::derive`] takes. Asked only of ops whose result is recorded.
    ///
    /// # Errors
    /// When the inputs cannot be read, or do not hold what the op wants of them.
    fn input_digests(
        &self,
        vertex: &Vertex,
        inputs: &[Self::Value],
    ) -> Result<Vec<Digest>, Self::Error>;

    /// The result that `record` tells of; nothing when its content is gone, which makes the lookup a
    /// miss.
    ///
    /// # Errors
    /// When it cannot be told whether the content is there.
    fn restore(
        &self,
        vertex: &Vertex,
        inputs: &[Self::Value],
        record: &Record,
    ) -> Result<Option<Self::Value>, Self::Error>;

    /// Takes note of what a lookup came to. Called once for each vertex whose result is recorded, before it is
    /// run if it is to run.
    ///
    /// # Errors
    /// When the vertex must not run; it counts as failed.
    fn looked_up(&self, lookup: &Lookup<'_, Self::Value>) -> Result<(), Self::Error> {
        let _ = lookup;
        Ok(())
    }

    /// Does the work: the result, and what to record of it (nothing for ops that are not recorded).
    /// Comes back soon after `cancel` fires, with whatever error.
    ///
    /// # Errors
    /// When the work failed or was stopped.
    fn run(
        &self,
        vertex: &Vertex,
        inputs: &[Self::Value],
        report: &dyn Report,
        cancel: &Cancel,
    ) -> Result<(Self::Value, Option<Record>), Self::Error>;

    /// Whether [`Runner::run`] failed for a reason of the vertex's own, as it would have without a stop. Of a vertex
    /// that was told to stop any other error only says that it did.
    fn failed_by_itself(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}
