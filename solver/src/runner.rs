//! What the solver asks of whoever knows how ops are done.

use std::error::Error;

use kiln_cache::Record;
use kiln_ir::{Digest, Vertex};

use crate::{Cancel, Report};

/// Does what ops say. Called from several threads at once.
///
/// `inputs` are always the results of the vertex's inputs, in its order.
pub trait Runner: Sync {
    /// A vertex's result; cloned for each vertex that reads it, so it should be cheap to clone.
    type Value: Clone + Send + Sync;
    /// Why something could not be done.
    type Error: Error + Send + 'static;

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
}
