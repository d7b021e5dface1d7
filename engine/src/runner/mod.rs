//! Doing what ops say: one file for each kind of op.
//!
//! A value is a snapshot, or a context that is open. What a COPY selects of either is found once and kept
//! for the length of the build, so that the key and the copy rest on the same walk.

mod agent;
mod exec;
mod file;
mod kept;
mod select;
mod source;
mod unpack;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kiln_cache::context::LocalTree;
use kiln_cache::key::reads;
use kiln_cache::{LayerRef, Record, Snapshot};
use kiln_ir::{Digest, Graph, LocalSource, Op, SourceOp, Vertex};
use kiln_solver::{AtOnce, Cancel, Found, Lookup, Report};

pub use exec::Failed;
pub(crate) use exec::Surroundings;
pub(crate) use file::now;
pub(crate) use select::whole;
pub(crate) use unpack::unpack_layer;

use self::exec::Commands;
use self::select::Selections;
use crate::error::Place;
use crate::explain::Ledger;
use crate::remote::Access;
use crate::transfer::Transfer;
use crate::{BuildRequest, Engine, EngineError};

/// What a vertex gives to those that read it.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A root filesystem.
    Snapshot(Arc<Snapshot>),
    /// A directory on this machine.
    Context(Arc<LocalTree>),
}

impl Value {
    /// The root filesystem.
    ///
    /// # Panics
    /// For a context: the frontend gives contexts to COPY alone.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        match self {
            Self::Snapshot(snapshot) => snapshot,
            Self::Context(_) => panic!("a context is read by COPY alone"),
        }
    }

    pub(crate) fn of(snapshot: Snapshot) -> Self {
        Self::Snapshot(Arc::new(snapshot))
    }
}

/// Does the ops of one build.
pub(crate) struct Runner<'e> {
    engine: &'e Engine,
    contexts: BTreeMap<String, Value>,
    request: &'e BuildRequest,
    selections: Selections,
    commands: Commands,
    transfer: Option<&'e Transfer<'e>>,
    ledger: Arc<Ledger>,
    place: &'e PlaceOf<'e>,
}

/// Finds a vertex in the Dockerfile.
type PlaceOf<'e> = dyn Fn(&Vertex) -> Option<Place> + Sync + 'e;

impl<'e> Runner<'e> {
    /// A runner of this graph over the contexts, by their names in [`kiln_ir::LocalSource`].
    pub(crate) fn new(
        engine: &'e Engine,
        graph: &Graph,
        contexts: BTreeMap<String, Value>,
        request: &'e BuildRequest,
        transfer: Option<&'e Transfer<'e>>,
    ) -> Self {
        let commands = Commands::of(graph, engine.sandboxes());
        Self {
            engine,
            contexts,
            request,
            selections: Selections::default(),
            commands,
            transfer,
            ledger: Arc::default(),
            place: &|_| None,
        }
    }

    /// The same with a ledger in which an earlier attempt may have been noted.
    pub(crate) fn noting_in(self, ledger: &Arc<Ledger>) -> Self {
        Self { ledger: Arc::clone(ledger), ..self }
    }

    /// The same, which can say where in the Dockerfile something is.
    pub(crate) fn placing(self, place: &'e PlaceOf<'e>) -> Self {
        Self { place, ..self }
    }

    /// How the lookups of this build ended.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The layer that an op adds on top of its first input.
    fn add_layer(
        &self,
        vertex: &Vertex,
        inputs: &[Value],
        layer: LayerRef,
        started: Instant,
    ) -> Result<(Value, Option<Record>), EngineError> {
        let record = self.record(vertex, vec![layer.clone()], started)?;
        Ok((Value::of(inputs[0].snapshot().with([layer])), Some(record)))
    }

    /// What a source gave.
    fn single_layer(
        &self,
        vertex: &Vertex,
        layer: LayerRef,
        started: Instant,
    ) -> Result<(Value, Option<Record>), EngineError> {
        let record = self.record(vertex, vec![layer.clone()], started)?;
        Ok((Value::of(Snapshot::of([layer])), Some(record)))
    }

    fn access<'a>(
        &'a self,
        vertex: &Vertex,
        report: &'a dyn Report,
        cancel: &'a Cancel,
    ) -> Access<'a> {
        let fresh = vertex.meta.ignore_cache;
        // As in buildx, ssh takes what `--ssh default` gave.
        let agent = self.request.supplies.agents.get("default").cloned();
        Access { secrets: &self.request.supplies.secrets, report, cancel, agent, fresh }
    }

    fn record(
        &self,
        vertex: &Vertex,
        layers: Vec<LayerRef>,
        started: Instant,
    ) -> Result<Record, EngineError> {
        let mut size_bytes = 0_u64;
        for layer in &layers {
            size_bytes += self.engine.layers.manifest(&layer.digest)?.size_bytes();
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Record {
            layers,
            created_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            size_bytes,
            name: vertex.meta.name.clone(),
        })
    }
}

impl kiln_solver::Runner for Runner<'_> {
    type Value = Value;
    type Error = EngineError;

    fn at_once(&self, vertex: &Vertex, inputs: &[Value]) -> Result<AtOnce<Value>, EngineError> {
        // With caches from elsewhere it may take a download to tell.
        if self.transfer.is_some() {
            return Ok(AtOnce::Nothing);
        }
        match &vertex.op {
            Op::Source(SourceOp::Scratch) => return Ok(AtOnce::Value(scratch())),
            Op::Source(SourceOp::Local(local)) => return Ok(AtOnce::Value(self.context(local)?)),
            Op::Merge => return Ok(AtOnce::Value(merged(inputs))),
            Op::Source(_) if !vertex.op.is_recorded() => return Ok(AtOnce::Nothing),
            Op::Source(_) | Op::Exec(_) | Op::File(_) | Op::Diff => {}
        }
        let reads = reads(vertex, &|id| self.request.parameters.counted_secrets.contains(id));
        let digests = reads.iter().map(|read| self.peek_digest(read, inputs));
        let digests = digests.collect::<Result<Option<_>, _>>()?;
        Ok(digests.map_or(AtOnce::Nothing, AtOnce::Digests))
    }

    fn input_digests(&self, vertex: &Vertex, inputs: &[Value]) -> Result<Vec<Digest>, EngineError> {
        let reads = reads(vertex, &|id| self.request.parameters.counted_secrets.contains(id));
        reads.iter().map(|read| self.read_digest(vertex, read, inputs)).collect()
    }

    fn restore(
        &self,
        vertex: &Vertex,
        inputs: &[Value],
        record: &Record,
    ) -> Result<Option<Value>, EngineError> {
        if !self.is_whole(vertex, record)? {
            return Ok(None);
        }
        if let Some(transfer) = self.transfer {
            transfer.offer(vertex, &record.layers);
        }
        if let Op::Exec(_) = vertex.op {
            self.commands.one_less();
        }
        let layers = record.layers.iter().cloned();
        Ok(Some(Value::of(match vertex.op {
            Op::Exec(_) | Op::File(_) => inputs[0].snapshot().with(layers),
            Op::Source(_) | Op::Merge | Op::Diff => Snapshot::of(layers),
        })))
    }

    fn looked_up(&self, lookup: &Lookup<'_, Value>) -> Result<(), EngineError> {
        self.ledger.note(lookup);
        // What comes from no instruction, such as an archive for a context, is no step of the Dockerfile's.
        let is_step = lookup.vertex.meta.origin.is_some();
        let runs = is_step && matches!(lookup.vertex.op, Op::Exec(_) | Op::File(_));
        if self.request.conduct.require_cached && runs && lookup.found != Found::Result {
            return Err(EngineError::NotCached);
        }
        Ok(())
    }

    fn run(
        &self,
        vertex: &Vertex,
        inputs: &[Value],
        report: &dyn Report,
        cancel: &Cancel,
    ) -> Result<(Value, Option<Record>), EngineError> {
        if let Some(transfer) = self.transfer {
            transfer.bring_inputs(vertex, inputs, report, cancel)?;
        }
        let (value, record) = self.perform(vertex, inputs, report, cancel)?;
        if let (Some(transfer), Some(record)) = (self.transfer, &record) {
            transfer.offer(vertex, &record.layers);
        }
        Ok((value, record))
    }

    fn failed_by_itself(&self, error: &EngineError) -> bool {
        matches!(error, EngineError::Command { .. })
    }
}

impl Runner<'_> {
    fn context(&self, local: &LocalSource) -> Result<Value, EngineError> {
        self.contexts.get(&local.name).cloned().ok_or_else(|| EngineError::NamedContext {
            name: local.name.clone(),
            reason: "the build was not given it".to_owned(),
        })
    }

    /// Whether the layers of a record are here, or can be fetched when something reads them.
    fn is_whole(&self, vertex: &Vertex, record: &Record) -> Result<bool, EngineError> {
        if let Some(transfer) = self.transfer {
            let Op::Source(SourceOp::Image(image)) = &vertex.op else {
                return transfer.can_have(record, None);
            };
            return transfer.can_have(record, Some(&image.locator));
        }
        for LayerRef { digest, blob: _ } in &record.layers {
            if !self.engine.layers.contains(digest)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn perform(
        &self,
        vertex: &Vertex,
        inputs: &[Value],
        report: &dyn Report,
        cancel: &Cancel,
    ) -> Result<(Value, Option<Record>), EngineError> {
        let started = Instant::now();
        match &vertex.op {
            Op::Source(SourceOp::Scratch) => Ok((scratch(), None)),
            Op::Source(SourceOp::Local(local)) => Ok((self.context(local)?, None)),
            Op::Merge => Ok((merged(inputs), None)),
            Op::Source(SourceOp::Image(image)) => {
                let layers = self.fetch_image(image, report, cancel)?;
                let record = self.record(vertex, layers.clone(), started)?;
                Ok((Value::of(Snapshot::of(layers)), Some(record)))
            }
            Op::Source(SourceOp::Http(http)) => {
                let access = self.access(vertex, report, cancel);
                self.single_layer(vertex, self.engine.fetch_http(http, &access)?, started)
            }
            Op::Source(SourceOp::Git(git)) => {
                let access = self.access(vertex, report, cancel);
                self.single_layer(vertex, self.engine.fetch_git(git, &access)?.layer, started)
            }
            Op::Exec(exec) => {
                let layer = self.execute((vertex, exec), inputs, report, cancel)?;
                self.add_layer(vertex, inputs, layer, started)
            }
            Op::File(file) => {
                let layer = self.change_files((vertex, file), inputs)?;
                self.add_layer(vertex, inputs, layer, started)
            }
            Op::Diff => Err(EngineError::Unsupported { what: "the op `Diff`".to_owned() }),
        }
    }
}

fn scratch() -> Value {
    Value::of(Snapshot::default())
}

fn merged(inputs: &[Value]) -> Value {
    let stacked = inputs.iter().flat_map(|value| value.snapshot().layers().iter().cloned());
    Value::of(Snapshot::of(stacked))
}
