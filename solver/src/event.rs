//! What happens in a build, as data.
//!
//! A consumer folds over the events of one [`Narrator`](crate::Narrator); they come with rising
//! sequence numbers from one thread. For each task, `Declared` comes first, then `Started`, then any
//! number of outputs, progress notes and warnings, then at most one of `Cached`, `Finished`, `Failed`
//! and `Cancelled`. `Keyed` comes right before that end. A task that another's failure made needless may
//! never start.

use std::sync::Arc;
use std::time::Duration;

use kiln_cache::{CacheKey, Record};
use kiln_ir::OpId;

/// One task of a narration: a vertex of the graph, or something that the engine does itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u32);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Counts up by one from 0 in each narration.
    pub seq: u64,
    /// When, since the narration's start.
    pub at: Duration,
    /// To what.
    pub task: TaskId,
    /// What.
    pub kind: EventKind,
}

/// What happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// There is such a task.
    Declared {
        /// For people, such as `[build 2/5] RUN make`; empty for a task they need not see.
        name: String,
        /// The tasks that come before it; all were declared earlier.
        inputs: Vec<TaskId>,
        /// The vertex that it is; nothing for the engine's own tasks.
        op: Option<OpId>,
    },
    /// Work on it began, if only to find out that its result is recorded.
    Started,
    /// A recorded result was taken.
    Cached,
    /// The task's program wrote something. Chunks break anywhere, even inside a character.
    Output {
        /// Where to.
        stream: Stream,
        /// What; any bytes at all.
        bytes: Vec<u8>,
    },
    /// How far it is. Notes may be left out when they come too fast.
    Progress {
        /// What is done.
        current: u64,
        /// What there is to do, where that is known.
        total: Option<u64>,
        /// What both count.
        unit: Unit,
    },
    /// Something to tell that does not stop it.
    Warning {
        /// One sentence.
        message: String,
    },
    /// What the cache knows it by. Only for vertices whose results are recorded, and whose inputs could be
    /// read.
    Keyed {
        /// Its key.
        key: CacheKey,
        /// The result that was found or made; nothing when it failed or was stopped.
        record: Option<Arc<Record>>,
    },
    /// It ended well.
    Finished {
        /// Since `Started`.
        duration: Duration,
    },
    /// It ended badly.
    Failed {
        /// The error with its causes, on one line.
        message: String,
    },
    /// It was told to stop and did.
    Cancelled,
}

/// An output of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// What a progress note counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things: files, layers.
    Items,
}
