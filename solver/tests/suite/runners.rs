//! Runners that do what a script says, and what is needed to drive them.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiln_cache::{ActionLock, CacheError, CacheKey, LayerRef, MemStore, Record, RecordStore};
use kiln_ir::{ContentHasher, Digest, OpId, Vertex};
use kiln_solver::{
    AfterFailure, Cancel, Event, EventKind, Limits, Narrator, Report, Request, Runner, SolveError,
    solve,
};

use crate::tables::Table;

/// What a scripted step does besides giving its content.
pub(crate) type Act<'a> =
    dyn Fn(&str, &dyn Report, &Cancel) -> Result<(), ScriptedError> + Sync + 'a;

/// A failure that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("exit code 1")]
pub(crate) struct ScriptedError {
    #[source]
    pub(crate) cause: std::io::Error,
    /// Whether it is no matter of a stop.
    pub(crate) own: bool,
}

impl ScriptedError {
    pub(crate) fn new() -> Self {
        Self { cause: std::io::Error::other("as scripted"), own: false }
    }
}

/// Gives each vertex a content made from its own name and what it reads, or a constant.
pub(crate) struct Scripted<'a> {
    pub(crate) act: &'a Act<'a>,
    /// Vertices whose content depends on their name alone.
    pub(crate) constant: BTreeSet<String>,
    /// Contents that went missing.
    pub(crate) lost: BTreeSet<Digest>,
    /// Names in the order in which they ran.
    pub(crate) ran: Mutex<Vec<String>>,
}

impl<'a> Scripted<'a> {
    pub(crate) fn new(act: &'a Act<'a>) -> Self {
        Self { act, constant: BTreeSet::new(), lost: BTreeSet::new(), ran: Mutex::default() }
    }

    /// What ran since the last time this was asked.
    pub(crate) fn take_ran(&self) -> Vec<String> {
        std::mem::take(&mut self.ran.lock().unwrap())
    }

    pub(crate) fn content(&self, vertex: &Vertex, inputs: &[Digest]) -> Digest {
        let mut hasher = ContentHasher::new("content");
        hasher.value(&vertex.op.definition());
        if !self.constant.contains(&vertex.meta.name) {
            hasher.value(inputs);
        }
        hasher.finish()
    }
}

impl Runner for Scripted<'_> {
    type Value = Digest;
    type Error = ScriptedError;

    fn input_digests(&self, _: &Vertex, inputs: &[Digest]) -> Result<Vec<Digest>, ScriptedError> {
        Ok(inputs.to_vec())
    }

    fn restore(
        &self,
        _: &Vertex,
        _: &[Digest],
        record: &Record,
    ) -> Result<Option<Digest>, ScriptedError> {
        Ok(Some(record.layers[0].digest).filter(|digest| !self.lost.contains(digest)))
    }

    fn run(
        &self,
        vertex: &Vertex,
        inputs: &[Digest],
        report: &dyn Report,
        cancel: &Cancel,
    ) -> Result<(Digest, Option<Record>), ScriptedError> {
        self.ran.lock().unwrap().push(vertex.meta.name.clone());
        (self.act)(&vertex.meta.name, report, cancel)?;
        let content = self.content(vertex, inputs);
        Ok((content, Some(record(content, &vertex.meta.name))))
    }

    fn failed_by_itself(&self, error: &ScriptedError) -> bool {
        error.own
    }
}

/// A record of one layer.
pub(crate) fn record(content: Digest, name: &str) -> Record {
    Record {
        layers: vec![LayerRef::new(content)],
        created_ms: 0,
        duration_ms: 0,
        size_bytes: 0,
        name: name.to_owned(),
    }
}

/// A store in which another build finishes the same step while this one waits for the lock.
#[derive(Default)]
pub(crate) struct Overtaken {
    pub(crate) inner: MemStore,
    pub(crate) gets: AtomicUsize,
}

impl RecordStore for Overtaken {
    fn get(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key)
    }

    fn put(&self, key: &CacheKey, record: &Record) -> Result<(), CacheError> {
        self.inner.put(key, record)
    }

    fn lock(&self, key: &CacheKey, cancelled: &dyn Fn() -> bool) -> Result<ActionLock, CacheError> {
        self.inner.put(key, &record(Digest::of(b"theirs"), "theirs"))?;
        self.inner.lock(key, cancelled)
    }
}

/// What a solve answers.
pub(crate) type Solved<R> = Result<Vec<<R as Runner>::Value>, SolveError<<R as Runner>::Error>>;

/// Solves with a clock that stands still, handing each event to `sink` too.
pub(crate) fn drive<R: Runner>(
    (table, targets, jobs): (&Table, &[OpId], usize),
    (runner, records): (&R, &dyn RecordStore),
    cancel: &Cancel,
    sink: &mut dyn FnMut(&Event),
) -> (Solved<R>, Vec<Event>) {
    let mut events = Vec::new();
    let mut keep = |event: Event| {
        sink(&event);
        events.push(event);
    };
    let clock = || Duration::ZERO;
    let mut narrator = Narrator::new(&clock, &mut keep);
    let limits = Limits { jobs: NonZeroUsize::new(jobs).unwrap() };
    let (expected, after_failure) = (&[][..], AfterFailure::StopNeedless);
    let request = Request { graph: &table.graph, targets, limits, expected, after_failure };
    let result = solve(&request, runner, records, cancel, &mut narrator);
    (result, events)
}

/// Events as lines of text, without what every solve begins with.
pub(crate) fn trace(events: &[Event]) -> String {
    let mut names = Vec::new();
    let mut text = String::new();
    for event in events {
        let line = match &event.kind {
            EventKind::Declared { name, .. } => {
                names.push(name.clone());
                continue;
            }
            EventKind::Started => "started".to_owned(),
            EventKind::Cached => "cached".to_owned(),
            EventKind::Output { stream, bytes } => {
                format!("{stream:?} {:?}", String::from_utf8_lossy(bytes))
            }
            EventKind::Progress { current, total, .. } => format!("{current} of {total:?}"),
            EventKind::Warning { message } => format!("warning: {message}"),
            // Which keys there are is not what traces are about.
            EventKind::Keyed { .. } => continue,
            EventKind::Finished { .. } => "finished".to_owned(),
            EventKind::Failed { message } => format!("failed: {message}"),
            EventKind::Cancelled => "cancelled".to_owned(),
        };
        text += &format!("{} {line}\n", names[event.task.0 as usize]);
    }
    text
}
