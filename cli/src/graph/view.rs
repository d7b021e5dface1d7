//! What there is to show of a graph, whatever it came from.

use std::time::Duration;

use kiln_engine::PlannedBuild;
use kiln_engine::history::{Origin, PastBuild, PastTask, TaskState};

use crate::render::one_line;

/// Characters of a name that a line or a box shows.
const LABEL_MAX: usize = 72;

/// A graph to be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// What it is the graph of.
    pub title: String,
    /// What is known of the whole, as names with values.
    pub facts: Vec<(&'static str, String)>,
    /// The steps, inputs first.
    pub nodes: Vec<Node>,
    /// The steps that took longest in a chain, the first one first.
    pub critical_path: Vec<usize>,
    /// How long all of it took; nothing when it was only planned.
    pub duration: Option<Duration>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// On one line.
    pub name: String,
    /// The steps that it reads, by their places in [`View::nodes`].
    pub inputs: Vec<usize>,
    /// The kind of work: `exec`, `file`, `image` …; nothing for what the engine did around the graph, which is no
    /// part of the picture.
    pub op: Option<String>,
    /// `Dockerfile:7`; empty where there is no place.
    pub place: String,
    /// How it stands; nothing when it was only planned.
    pub state: Option<TaskState>,
    /// When it started, since the build began.
    pub started: Option<Duration>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// A row of the time line, such that no two steps overlap in it.
    pub slot: Option<usize>,
    /// The content of its layers.
    pub size_bytes: Option<u64>,
    /// Its cache key.
    pub key: Option<String>,
    /// Its layers by digest, lowest first.
    pub layers: Vec<String>,
    /// Why it failed.
    pub error: Option<String>,
}

impl View {
    /// The graph of a build that is over, runs, or was killed. With its tasks' own places, so that node `i` is task
    /// `i`.
    #[must_use]
    pub fn of_past(past: &PastBuild) -> Self {
        let slots = past.slots();
        let nodes = past.tasks.iter().zip(slots).map(|(task, slot)| Node::of_past(task, slot));
        let (steps, completed, cached) = past.counts();
        let image = past.end.as_ref().and_then(|end| end.image.as_ref());
        let facts = [
            ("Build", past.id.clone()),
            ("Steps", format!("{completed}/{steps}, {cached} cached")),
            ("Duration", format!("{:.2}s", past.duration().as_secs_f64())),
            ("Context", one_line(&past.asked.context)),
            ("Dockerfile", one_line(&past.asked.dockerfile)),
            ("Target", one_line(past.asked.target.as_deref().unwrap_or_default())),
            ("Platforms", past.asked.platforms.join(", ")),
            ("Image", image.map(|image| image.manifest.clone()).unwrap_or_default()),
        ];
        Self {
            title: one_line(&past.name),
            facts: facts.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            nodes: nodes.collect(),
            critical_path: past.critical_path(),
            duration: Some(past.duration()),
        }
    }

    /// The graph of a build that was planned.
    #[must_use]
    pub fn of_plan(plan: &PlannedBuild) -> Self {
        let node = |task: &kiln_engine::PlannedStep| Node {
            name: named(&task.name, &task.origin),
            inputs: task.inputs.clone(),
            op: Some(task.origin.op.clone()),
            place: place(&task.origin),
            ..Node::default()
        };
        Self {
            title: one_line(&plan.name),
            facts: vec![("Steps", plan.steps.len().to_string())],
            nodes: plan.steps.iter().map(node).collect(),
            critical_path: Vec::new(),
            duration: None,
        }
    }

    /// The steps of the graph, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.op.is_some())
    }

    /// The steps that no other reads, in order.
    pub(super) fn ends(&self) -> Vec<usize> {
        let mut read = vec![false; self.nodes.len()];
        for &input in self.nodes.iter().flat_map(|node| &node.inputs) {
            read[input] = true;
        }
        self.steps().map(|(index, _)| index).filter(|&index| !read[index]).collect()
    }
}

impl Node {
    fn of_past(task: &PastTask, slot: Option<usize>) -> Self {
        let record = task.record.as_ref();
        let layers = record.map(|record| record.layers.as_slice()).unwrap_or_default();
        let origin = task.origin.as_ref();
        Self {
            name: origin.map_or_else(|| one_line(&task.name), |origin| named(&task.name, origin)),
            inputs: task.inputs.clone(),
            op: origin.map(|origin| one_line(&origin.op)),
            place: origin.map(place).unwrap_or_default(),
            state: Some(task.state),
            started: task.started,
            duration: task.duration(),
            slot,
            size_bytes: record.map(|record| record.size_bytes),
            key: task.key.map(|key| key.to_string()),
            layers: layers.iter().map(|layer| layer.digest.to_string()).collect(),
            error: task.error.as_deref().map(one_line),
        }
    }

    /// The name, cut to what a line has room for.
    pub(super) fn label(&self) -> String {
        if self.name.chars().count() <= LABEL_MAX {
            return self.name.clone();
        }
        self.name.chars().take(LABEL_MAX - 1).chain(['…']).collect()
    }

    /// What is known of it in a few words: `cached`, `1.2s, 4.5MB`; empty when it was only planned.
    pub(super) fn summary(&self) -> String {
        let state = match self.state {
            None => return String::new(),
            Some(TaskState::Cached) => Some("cached"),
            Some(TaskState::Failed) => Some("failed"),
            Some(TaskState::Cancelled) => Some("canceled"),
            Some(TaskState::Waiting) => Some("never started"),
            Some(TaskState::Running) => Some("never ended"),
            Some(TaskState::Done) => None,
        };
        let took = self.duration.filter(|_| self.state != Some(TaskState::Cached)).map(seconds);
        let size = self.size_bytes.map(bytes);
        let parts = [state.map(str::to_owned), took, size];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A name to show, also for a vertex that has none of its own.
fn named(name: &str, origin: &Origin) -> String {
    let name = one_line(name);
    if name.is_empty() { format!("({})", one_line(&origin.op)) } else { name }
}

fn place(origin: &Origin) -> String {
    if origin.at == 0 { String::new() } else { format!("{}:{}", one_line(&origin.file), origin.at) }
}

/// `0.35s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.2}s", duration.as_secs_f64())
}

/// Bytes in decimal units, three digits: `999B`, `1.50MB`.
pub(super) fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if scaled < 1000.0 {
            return if unit == "B" {
                format!("{value}B")
            } else {
                format!("{scaled:.3}")[..4].trim_end_matches('.').to_owned() + unit
            };
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.1}TB")
}
