//! The lines of a build's file: their form in JSON, and nothing about files.
//!
//! The form is versioned by `v` of the first line: within a version, members and kinds of lines are only added,
//! and a reader passes over those that it does not know. Times are microseconds since the build began. In their
//! order there are:
//!
//! 1. one [`Begin`] (`"line":"begin"`): when, by which Kiln, and what was asked for;
//! 2. any number of [`Origin`]s (`"line":"origin"`): what a vertex of the graph is and where it comes from;
//! 3. any number of [`Happened`] (`"line":"event"`): the solver's events. Those of one task come in the order that
//!    [`kiln_solver::EventKind`] promises;
//! 4. one [`End`] (`"line":"end"`), unless the build was killed: how it ended.
//!
//! Output is `text` where its bytes are text, else `base64`. There is no value of a secret in any of it, but what
//! the build's own commands write of one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_cache::{CacheKey, LayerRef, Record};
use kiln_ir::{Digest, OpId};
use kiln_solver::{Event, EventKind, Stream, TaskId, Unit};
use serde::{Deserialize, Serialize};

use super::recipe::Recipe;

/// The version of the form.
pub(super) const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "lowercase")]
pub(super) enum Line {
    Begin(Begin),
    Origin(Origin),
    Event(Happened),
    End(End),
    /// A later Kiln's.
    #[serde(other)]
    Unknown,
}

/// How a build began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) v: u32,
    /// The version of Kiln.
    pub(super) kiln: String,
    /// In milliseconds since 1970.
    pub(super) created_ms: i64,
    /// What people call the build.
    pub(super) name: String,
    pub(super) asked: Asked,
}

/// What was asked of a build. Of secrets and agents there are the ids alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The main context: a directory, an address without credentials, or `-`.
    pub context: String,
    /// The Dockerfile, as it was named.
    pub dockerfile: String,
    /// The stage; nothing for the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The platforms of the image.
    pub platforms: Vec<String>,
    /// Values for `ARG`s; nothing in place of one whose name says that it is secret.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub build_args: BTreeMap<String, Option<String>>,
    /// Labels that were added to the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Other contexts by name, without credentials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, String>,
    /// Names for the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Forms in which the result was written besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Ids of secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Ids of ssh agents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// How the steps were to run.
    pub how: How,
}

/// How the steps of a build were to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct How {
    /// Whether all recorded results were passed over.
    pub no_cache: bool,
    /// Stages whose recorded results were passed over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_cache_filter: Vec<String>,
    /// Whether names of images were resolved at the registry in any case.
    pub pull: bool,
    /// How many steps ran at the same time.
    pub jobs: usize,
    /// Whether no step was to run.
    pub require_cached: bool,
}

/// What a vertex of the graph is, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The vertex's index in the graph.
    pub vertex: usize,
    /// `image`, `local`, `http`, `git`, `scratch`, `exec`, `file`, `merge` or `diff`.
    pub op: String,
    /// The Dockerfile's name, as people should see it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line of the instruction, from 1; 0 where there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at: usize,
    /// The instruction on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// How the command is run, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Box<Recipe>>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When, since its beginning.
    #[serde(rename = "at_us", with = "micros")]
    pub at: Duration,
    /// `completed`, `error` or `canceled`.
    pub status: String,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<RecordedImage>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RecordedError>,
    /// Remarks on the Dockerfile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<RecordedFault>,
    /// Bytes of output that were not recorded, since there were too many.
    #[serde(default)]
    pub left_out_bytes: u64,
}

/// The image that a build made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedImage {
    /// `sha256:…` of the manifest or index.
    pub manifest: String,
    /// `sha256:…` of the config; nothing for an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedError {
    /// The whole in one line.
    pub message: String,
    /// What of it has a place in the Dockerfile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<RecordedFault>,
}

/// Something to say of a place in a Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedFault {
    /// The diagnostic's code; empty for a step that failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The Dockerfile's name, as people should see it; empty where there is no place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line, from 1; 0 where there is no place.
    pub at: usize,
    /// The instruction as it is written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The last lines that the step wrote, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Happened {
    seq: u64,
    #[serde(rename = "at_us", with = "micros")]
    at: Duration,
    task: u32,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Kind {
    Declared {
        name: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inputs: Vec<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vertex: Option<u32>,
    },
    Started,
    Cached,
    Output {
        stream: StreamName,
        #[serde(flatten)]
        data: Data,
    },
    Progress {
        current: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        unit: UnitName,
    },
    Warning {
        message: String,
    },
    Keyed {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Gave>,
    },
    Finished {
        #[serde(rename = "duration_us", with = "micros")]
        duration: Duration,
    },
    Failed {
        message: String,
    },
    Cancelled,
    #[serde(other)]
    Unknown,
}

/// Bytes that a command wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Data {
    Text(String),
    Base64(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StreamName {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnitName {
    Bytes,
    Items,
}

/// What a step gave, as its record has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Gave {
    layers: Vec<String>,
    size_bytes: u64,
    created_ms: i64,
    duration_ms: u64,
}

impl Happened {
    /// To which task.
    pub(super) const fn task(&self) -> usize {
        self.task as usize
    }

    /// An event in this form.
    pub(super) fn of(event: &Event) -> Self {
        Self { seq: event.seq, at: event.at, task: event.task.0, kind: Kind::of(&event.kind) }
    }

    /// The event; nothing for one that this Kiln does not know, or that makes no sense. `name` is the task's.
    pub(super) fn event(self, name: &str) -> Option<Event> {
        let kind = self.kind.event(name)?;
        Some(Event { seq: self.seq, at: self.at, task: TaskId(self.task), kind })
    }
}

impl Kind {
    fn of(kind: &EventKind) -> Self {
        match kind {
            EventKind::Declared { name, inputs, op } => Self::Declared {
                name: name.clone(),
                inputs: inputs.iter().map(|task| task.0).collect(),
                vertex: op.and_then(|op| u32::try_from(op.index()).ok()),
            },
            EventKind::Started => Self::Started,
            EventKind::Cached => Self::Cached,
            EventKind::Output { stream, bytes } => {
                let stream = match stream {
                    Stream::Stdout => StreamName::Stdout,
                    Stream::Stderr => StreamName::Stderr,
                };
                Self::Output { stream, data: Data::of(bytes) }
            }
            EventKind::Progress { current, total, unit } => {
                let unit = match unit {
                    Unit::Bytes => UnitName::Bytes,
                    Unit::Items => UnitName::Items,
                };
                Self::Progress { current: *current, total: *total, unit }
            }
            EventKind::Warning { message } => Self::Warning { message: message.clone() },
            EventKind::Keyed { key, record } => {
                Self::Keyed { key: key.to_string(), result: record.as_deref().map(Gave::of) }
            }
            EventKind::Finished { duration } => Self::Finished { duration: *duration },
            EventKind::Failed { message } => Self::Failed { message: message.clone() },
            EventKind::Cancelled => Self::Cancelled,
        }
    }

    fn event(self, name: &str) -> Option<EventKind> {
        Some(match self {
            Self::Declared { name, inputs, vertex } => EventKind::Declared {
                name,
                inputs: inputs.into_iter().map(TaskId).collect(),
                op: vertex.map(OpId::from_index),
            },
            Self::Started => EventKind::Started,
            Self::Cached => EventKind::Cached,
            Self::Output { stream, data } => {
                let stream = match stream {
                    StreamName::Stdout => Stream::Stdout,
                    StreamName::Stderr => Stream::Stderr,
                };
                EventKind::Output { stream, bytes: data.bytes()? }
            }
            Self::Progress { current, total, unit } => {
                let unit = match unit {
                    UnitName::Bytes => Unit::Bytes,
                    UnitName::Items => Unit::Items,
                };
                EventKind::Progress { current, total, unit }
            }
            Self::Warning { message } => EventKind::Warning { message },
            Self::Keyed { key, result } => EventKind::Keyed {
                key: key.parse::<CacheKey>().ok()?,
                record: match result {
                    Some(gave) => Some(Arc::new(gave.record(name)?)),
                    None => None,
                },
            },
            Self::Finished { duration } => EventKind::Finished { duration },
            Self::Failed { message } => EventKind::Failed { message },
            Self::Cancelled => EventKind::Cancelled,
            Self::Unknown => return None,
        })
    }
}

impl Data {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }

    fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            Self::Base64(text) => STANDARD.decode(text).ok(),
        }
    }
}

impl Gave {
    fn of(record: &Record) -> Self {
        Self {
            layers: record.layers.iter().map(|layer| layer.digest.to_string()).collect(),
            size_bytes: record.size_bytes,
            created_ms: record.created_ms,
            duration_ms: record.duration_ms,
        }
    }

    fn record(self, name: &str) -> Option<Record> {
        let layers = self.layers.iter().map(|text| text.parse::<Digest>().map(LayerRef::new));
        Some(Record {
            layers: layers.collect::<Result<_, _>>().ok()?,
            created_ms: self.created_ms,
            duration_ms: self.duration_ms,
            size_bytes: self.size_bytes,
            name: name.to_owned(),
        })
    }
}

/// Durations as whole microseconds.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}
