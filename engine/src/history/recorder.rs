//! Writing down what happens in a build while it happens.
//!
//! Lines are kept in memory and written by a thread once a second, and at the end; a build that is over within a
//! second is one write. Recording never fails a build: when the disk refuses, it is said in Kiln's own log, and
//! the build is not in the history.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_cache::{BuildFile, BuildRow, BuildStatus, CacheError, DiskStore};
use kiln_solver::{Event, EventKind, TaskId};

use super::line::{Begin, End, Happened, Line, Origin, VERSION};
use super::told::{asked, build_name, ending};
use crate::{BuildRequest, Built, Engine, EngineError};

/// How long a line may be in memory alone.
const INTERVAL: Duration = Duration::from_secs(1);
/// What of the output of all steps is kept, in bytes.
const MAX_OUTPUT_BYTES: u64 = 32 << 20;
/// Lines of this size together are written at once.
const MAX_PENDING_BYTES: usize = 1 << 20;
/// Notes of progress that come faster are left out.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Writes one build down, or none where nothing is kept.
#[derive(Debug)]
pub(crate) struct Recorder {
    shared: Option<Arc<Shared>>,
    name: String,
    created_ms: i64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    /// Gone when the build has ended or the disk refused.
    file: Option<BuildFile>,
    pending: Vec<u8>,
    /// Output that may still be kept, in bytes.
    output_left: u64,
    left_out_bytes: u64,
    /// When each task's progress was last kept.
    progress: BTreeMap<TaskId, Duration>,
    counts: Counts,
}

/// Steps of a build.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    all: u32,
    cached: u32,
}

/// A record that is whole, and still locked.
struct Written {
    file: BuildFile,
    counts: Counts,
}

impl Recorder {
    /// Begins a record.
    pub(crate) fn begin(engine: &Engine, request: &BuildRequest) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let name = build_name(request);
        let mut recorder = Self { shared: None, name, created_ms };
        if !engine.settings.history.is_kept() {
            return recorder;
        }
        match engine.store.new_build(created_ms) {
            Ok(file) => {
                recorder.shared = Some(Shared::start(file));
                recorder.line(&Line::Begin(Begin {
                    v: VERSION,
                    kiln: env!("CARGO_PKG_VERSION").to_owned(),
                    created_ms,
                    name: recorder.name.clone(),
                    asked: asked(request),
                }));
            }
            Err(error) => tracing::warn!(%error, "the build is not recorded"),
        }
        recorder
    }

    /// Takes note of where the vertices of the graph come from.
    pub(crate) fn origins(&self, origins: impl Iterator<Item = Origin>) {
        if self.shared.is_some() {
            origins.for_each(|origin| self.line(&Line::Origin(origin)));
        }
    }

    /// Takes note of an event.
    pub(crate) fn event(&self, event: &Event) {
        let Some(shared) = &self.shared else { return };
        let mut state = shared.state();
        if state.wants(event) {
            state.push(&Line::Event(Happened::of(event)));
        }
        shared.hurry(&state);
    }

    /// Ends the record; answers the build's id. What the build found in the cache is noted in any case.
    pub(crate) fn end(
        mut self,
        engine: &Engine,
        records: &DiskStore,
        result: &Result<Built, EngineError>,
        at: Duration,
    ) -> Option<String> {
        let recorded = self.shared.take().and_then(|shared| {
            let written = shared.finish(ending(result, at));
            written.unwrap_or_else(|error| {
                tracing::warn!(%error, "the build is not recorded");
                None
            })
        });
        let limits = engine.build_limits();
        let row =
            recorded.as_ref().map(|written| (written.file.id(), self.row(written, result, at)));
        let noted = limits.and_then(|limits| {
            let row = row.as_ref().map(|(id, row)| (*id, row));
            Ok(engine.store.note_build(records, row, &limits)?)
        });
        if let Err(error) = noted {
            // The record is there, and what was taken from the cache looks less used than it is.
            tracing::warn!(%error, "the build is not noted");
        }
        // The file is locked until here, so that the build runs until it has ended.
        recorded.map(|written| written.file.id().to_owned())
    }

    fn row(
        &self,
        written: &Written,
        result: &Result<Built, EngineError>,
        at: Duration,
    ) -> BuildRow {
        let Written { file, counts } = written;
        let image = result.as_ref().ok().and_then(|built| built.image.as_ref());
        BuildRow {
            name: self.name.clone(),
            status: status(result),
            created_ms: self.created_ms,
            duration_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            steps: counts.all,
            cached_steps: counts.cached,
            image: image.map(|image| image.manifest.digest.to_string()),
            size_bytes: file.size_bytes(),
        }
    }

    fn line(&self, line: &Line) {
        if let Some(shared) = &self.shared {
            shared.state().push(line);
        }
    }
}

impl Drop for Recorder {
    /// The build panicked: its file stays as that of a build that was killed.
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.state().file = None;
            shared.wake.notify_all();
        }
    }
}

/// How a build ended, as its row has it.
pub(super) fn status(result: &Result<Built, EngineError>) -> BuildStatus {
    match result {
        Ok(_) => BuildStatus::Completed,
        Err(error) if error.kind() == crate::ErrorKind::Interrupted => BuildStatus::Cancelled,
        Err(_) => BuildStatus::Failed,
    }
}

impl Shared {
    fn start(file: BuildFile) -> Arc<Self> {
        let state = State {
            file: Some(file),
            pending: Vec::new(),
            output_left: MAX_OUTPUT_BYTES,
            left_out_bytes: 0,
            progress: BTreeMap::new(),
            counts: Counts::default(),
        };
        let shared = Arc::new(Self { state: Mutex::new(state), wake: Condvar::new() });
        let writer = Arc::clone(&shared);
        // Without a thread everything is written at the end.
        drop(
            thread::Builder::new().name("kiln-record".to_owned()).spawn(move || writer.write_on()),
        );
        shared
    }

    /// Writes what there is from time to time, until there is no file any more.
    fn write_on(&self) {
        let mut state = self.state();
        while state.file.is_some() {
            let waited = self.wake.wait_timeout(state, INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if let Err(error) = state.write() {
                state.file = None;
                tracing::warn!(%error, "the build is not recorded any further");
            }
        }
    }

    fn hurry(&self, state: &State) {
        if state.pending.len() > MAX_PENDING_BYTES {
            self.wake.notify_all();
        }
    }

    /// Writes the last lines; answers nothing when the disk refused earlier.
    fn finish(&self, mut end: End) -> Result<Option<Written>, CacheError> {
        let mut state = self.state();
        end.left_out_bytes = state.left_out_bytes;
        state.push(&Line::End(end));
        let written = state.write();
        let file = state.file.take();
        self.wake.notify_all();
        written?;
        Ok(file.map(|file| Written { file, counts: state.counts }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a line more or a number: there is no half of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the event; says whether it is kept.
    fn wants(&mut self, event: &Event) -> bool {
        match &event.kind {
            EventKind::Declared { name, op, .. } => {
                self.counts.all += u32::from(op.is_some() && !name.is_empty());
                true
            }
            EventKind::Cached => {
                self.counts.cached += 1;
                true
            }
            EventKind::Output { bytes, .. } => {
                let length = bytes.len() as u64;
                if length > self.output_left {
                    self.output_left = 0;
                    self.left_out_bytes += length;
                    return false;
                }
                self.output_left -= length;
                true
            }
            EventKind::Progress { .. } => {
                let last = self.progress.get(&event.task);
                let due = last.is_none_or(|last| event.at >= *last + PROGRESS_INTERVAL);
                if due {
                    self.progress.insert(event.task, event.at);
                }
                due
            }
            EventKind::Started
            | EventKind::Warning { .. }
            | EventKind::Keyed { .. }
            | EventKind::Finished { .. }
            | EventKind::Failed { .. }
            | EventKind::Cancelled => true,
        }
    }

    fn push(&mut self, line: &Line) {
        if self.file.is_none() {
            return;
        }
        match serde_json::to_writer(&mut self.pending, line) {
            Ok(()) => self.pending.push(b'\n'),
            Err(error) => tracing::warn!(%error, "a line of the build's record is left out"),
        }
    }

    fn write(&mut self) -> Result<(), CacheError> {
        if let Some(file) = &mut self.file
            && !self.pending.is_empty()
        {
            file.append(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}
