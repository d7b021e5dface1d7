//! Writing down what happens in a build while it happens.
//!
//! Events are kept in memory as they are. A thread makes lines of them and writes those, once a second and whenever
//! there are many, so that the build goes on meanwhile; what is left is written at the end. Recording never fails a
//! build: when the disk refuses, it is said in Kiln's own log, and the build is not in the history.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_cache::{BuildFile, BuildRow, BuildStatus, CacheError, DiskStore};
use kiln_solver::{Event, EventKind, TaskId};

use super::line::{Begin, End, Happened, Line, Origin, VERSION};
use super::told::{asked, build_name, ending};
use crate::{BuildRequest, Built, Engine, EngineError};

/// How long an event may be in memory alone.
const INTERVAL: Duration = Duration::from_secs(1);
/// What of the output of all steps is kept, in bytes.
const MAX_OUTPUT_BYTES: u64 = 32 << 20;
/// So many notes are written at once.
const MANY: usize = 256;
/// Output of this size together is written at once.
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
    queue: Mutex<Queue>,
    /// Gone when the build has ended or the disk refused. Whoever takes notes out of the queue has it locked until
    /// they are written, and so they are written in order.
    file: Mutex<Option<BuildFile>>,
    wake: Condvar,
}

/// Something to write down.
#[derive(Debug)]
enum Note {
    Event(Event),
    /// Boxed, for most notes are events, and there may be very many.
    Line(Box<Line>),
}

#[derive(Debug)]
struct Queue {
    /// Whether there is a file.
    is_open: bool,
    notes: Vec<Note>,
    /// How much output is in the notes.
    pending_bytes: usize,
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
                recorder.shared = Some(Shared::start(file, INTERVAL));
                recorder.line(Line::Begin(Begin {
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
            origins.for_each(|origin| self.line(Line::Origin(origin)));
        }
    }

    /// Takes note of an event.
    pub(crate) fn event(&self, event: &Event) {
        let Some(shared) = &self.shared else { return };
        let mut queue = shared.queue();
        if queue.wants(event) {
            shared.push(&mut queue, Note::Event(event.clone()));
        }
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

    fn line(&self, line: Line) {
        if let Some(shared) = &self.shared {
            shared.push(&mut shared.queue(), Note::Line(Box::new(line)));
        }
    }
}

impl Drop for Recorder {
    /// The build panicked: its file stays as that of a build that was killed.
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.close(&mut shared.file());
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
    /// With a thread that writes at the latest every `interval`.
    fn start(file: BuildFile, interval: Duration) -> Arc<Self> {
        let queue = Queue {
            is_open: true,
            notes: Vec::new(),
            pending_bytes: 0,
            output_left: MAX_OUTPUT_BYTES,
            left_out_bytes: 0,
            progress: BTreeMap::new(),
            counts: Counts::default(),
        };
        let (queue, file) = (Mutex::new(queue), Mutex::new(Some(file)));
        let shared = Arc::new(Self { queue, file, wake: Condvar::new() });
        let writer = Arc::clone(&shared);
        // Without a thread everything is written at the end.
        let thread = thread::Builder::new().name("kiln-record".to_owned());
        drop(thread.spawn(move || writer.write_on(interval)));
        shared
    }

    /// Writes what there is from time to time, until there is no file any more.
    fn write_on(&self, interval: Duration) {
        loop {
            let is_idle = |queue: &mut Queue| queue.is_open && !queue.has_many();
            let waited = self.wake.wait_timeout_while(self.queue(), interval, is_idle);
            let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if !queue.is_open {
                return;
            }
            drop(queue);
            let mut file = self.file();
            let notes = self.queue().take();
            if let Err(error) = write(file.as_mut(), notes) {
                self.close(&mut file);
                tracing::warn!(%error, "the build is not recorded any further");
            }
        }
    }

    /// Adds a note, and wakes the thread when there are many of them now.
    fn push(&self, queue: &mut Queue, note: Note) {
        if !queue.is_open {
            return;
        }
        let had_many = queue.has_many();
        if let Note::Event(Event { kind: EventKind::Output { bytes, .. }, .. }) = &note {
            queue.pending_bytes += bytes.len();
        }
        queue.notes.push(note);
        if queue.has_many() && !had_many {
            self.wake.notify_all();
        }
    }

    /// Writes the last lines; answers nothing when the disk refused earlier.
    fn finish(&self, mut end: End) -> Result<Option<Written>, CacheError> {
        let mut file = self.file();
        let mut queue = self.queue();
        end.left_out_bytes = queue.left_out_bytes;
        self.push(&mut queue, Note::Line(Box::new(Line::End(end))));
        let (notes, counts) = (queue.take(), queue.counts);
        drop(queue);
        let written = write(file.as_mut(), notes);
        let file = self.close(&mut file);
        written?;
        Ok(file.map(|file| Written { file, counts }))
    }

    /// Takes the file out, and nothing more in.
    fn close(&self, file: &mut Option<BuildFile>) -> Option<BuildFile> {
        self.queue().is_open = false;
        self.wake.notify_all();
        file.take()
    }

    /// Is locked before the queue by whoever takes both.
    fn file(&self) -> MutexGuard<'_, Option<BuildFile>> {
        // Lines that a panic cut short are a build that was killed.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change under the lock is a note more or a number: there is no half of it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends notes as lines.
fn write(file: Option<&mut BuildFile>, notes: Vec<Note>) -> Result<(), CacheError> {
    let Some(file) = file else { return Ok(()) };
    let mut bytes = Vec::new();
    for note in notes {
        let line = match note {
            Note::Event(event) => Line::Event(Happened::of(&event)),
            Note::Line(line) => *line,
        };
        let before = bytes.len();
        match serde_json::to_writer(&mut bytes, &line) {
            Ok(()) => bytes.push(b'\n'),
            Err(error) => {
                bytes.truncate(before);
                tracing::warn!(%error, "a line of the build's record is left out");
            }
        }
    }
    if bytes.is_empty() { Ok(()) } else { file.append(&bytes) }
}

impl Queue {
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

    fn take(&mut self) -> Vec<Note> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.notes)
    }

    fn has_many(&self) -> bool {
        self.notes.len() >= MANY || self.pending_bytes > MAX_PENDING_BYTES
    }
}

#[cfg(test)]
mod tests {
    use kiln_cache::Store;
    use kiln_solver::TaskId;

    use super::*;

    /// Longer than any test.
    const NEVER: Duration = Duration::from_secs(3600);

    fn event(seq: u64) -> Event {
        let kind = EventKind::Warning { message: format!("number {seq}") };
        Event { seq, at: Duration::ZERO, task: TaskId(0), kind }
    }

    fn origin(vertex: usize) -> Origin {
        let (op, file, text) = ("file".to_owned(), String::new(), String::new());
        Origin { vertex, op, file, at: 0, text, run: None }
    }

    /// The numbers of what `tell` tells, as they were written.
    fn written(interval: Duration, tell: impl Fn(&Recorder)) -> Vec<u64> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let file = store.new_build(0).unwrap();
        let path = dir.path().join("builds").join(file.id()).join("events");
        let shared = Shared::start(file, interval);
        let name = String::new();
        let recorder = Recorder { shared: Some(Arc::clone(&shared)), name, created_ms: 0 };
        tell(&recorder);
        let end = ending(&Err(EngineError::Cancelled), Duration::ZERO);
        let written = shared.finish(end).unwrap().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(written.file.size_bytes(), text.len() as u64);
        let mut lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.pop().unwrap()["line"], "end", "it is the last");
        let number = |line: &serde_json::Value| line["seq"].as_u64().or(line["vertex"].as_u64());
        lines.iter().map(|line| number(line).unwrap()).collect()
    }

    #[test]
    fn what_is_told_is_written_once_and_in_order() {
        let count = 100 * MANY as u64 + 1;
        let tell = |recorder: &Recorder| (0..count).for_each(|seq| recorder.event(&event(seq)));
        for interval in [Duration::ZERO, NEVER] {
            assert!(written(interval, tell).into_iter().eq(0..count));
        }
    }

    /// Waits until nothing is left to write.
    fn settle(recorder: &Recorder) {
        let shared = recorder.shared.as_ref().unwrap();
        let begun = std::time::Instant::now();
        while !shared.queue().notes.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody was woken");
            thread::yield_now();
        }
        drop(shared.file());
    }

    #[test]
    fn many_notes_of_either_kind_are_written_before_the_end() {
        let kinds: [&dyn Fn(&Recorder); 2] = [
            &|recorder| (0..MANY as u64).for_each(|seq| recorder.event(&event(seq))),
            &|recorder| recorder.origins((0..MANY).map(origin)),
        ];
        // Often, since the thread may just be awake.
        let rounds = 50;
        for tell in kinds {
            let numbers = written(NEVER, |recorder| {
                for _ in 0..rounds {
                    tell(recorder);
                    settle(recorder);
                }
            });
            assert_eq!(numbers.len(), rounds * MANY);
        }
    }
}
