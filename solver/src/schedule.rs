//! Which vertex may run next: a state machine without threads, clocks or effects.
//!
//! Only vertices that a target needs take part. A vertex is ready when all its inputs are done; of the
//! ready ones, that with the longest way to a target goes first, since that way bounds the build's
//! length: the longest in time, as far as it is known how long the vertices take, and in vertices where that
//! decides nothing. When a vertex fails, all that follows from it is skipped; and, unless the others are to
//! go on, so is whatever no surviving target needs any more.
//!
//! Every change of a state goes through [`Schedule::set`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use kiln_ir::{Graph, OpId};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, Reversed};

/// Where a vertex stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpState {
    /// Some input is not done yet.
    Waiting,
    /// It may run now.
    Ready,
    /// It was handed out by [`Schedule::next_ready`].
    Running,
    /// It has a result.
    Done,
    /// It has none, by its own fault.
    Failed,
    /// It will not run, or was stopped: something it needs failed, or nothing needs it any more.
    Skipped,
}

/// How a running vertex ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// With a result, new or recorded.
    Done,
    /// With an error.
    Failed,
    /// Because it was told to stop.
    Stopped,
}

/// What becomes of the others when a vertex fails. What follows from it is skipped in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterFailure {
    /// What no surviving target needs is stopped.
    #[default]
    StopNeedless,
    /// They go on.
    KeepGoing,
}

/// The longest way from a vertex to a target, itself included; the longer goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Way {
    time: Duration,
    vertices: u32,
}

/// The states of all vertices of one build.
#[derive(Debug)]
pub struct Schedule {
    /// An edge from each input to the vertex that reads it, once for each time it is read. Node `i` is
    /// the vertex of index `i`.
    edges: DiGraph<OpId, (), u32>,
    /// By index; nothing for a vertex that no target needs.
    states: Vec<Option<OpState>>,
    /// Inputs that are not done yet, by index.
    missing: Vec<u32>,
    /// Readers that are not done, failed or skipped yet, and targets, that want this vertex, by index.
    wanted_by: Vec<u32>,
    /// By index.
    ways: Vec<Way>,
    ready: BinaryHeap<(Way, Reverse<OpId>)>,
    running: usize,
    after_failure: AfterFailure,
}

impl Schedule {
    /// The schedule that makes `targets`. `expected` says how long each vertex is likely to take, by index; one
    /// that is not there is taken to need no time.
    #[must_use]
    pub fn new(
        graph: &Graph,
        targets: &[OpId],
        expected: &[Duration],
        after_failure: AfterFailure,
    ) -> Self {
        let edges = follower_edges(graph);
        let mut schedule = Self {
            states: wanted_states(&edges, targets),
            missing: vec![0; graph.len()],
            wanted_by: vec![0; graph.len()],
            ways: vec![Way::default(); graph.len()],
            ready: BinaryHeap::new(),
            running: 0,
            after_failure,
            edges,
        };
        for target in targets {
            schedule.wanted_by[target.index()] += 1;
        }
        // Followers come after their inputs, so that walking backwards meets each way complete.
        let ids: Vec<_> = graph.ids().filter(|&id| schedule.state(id).is_some()).collect();
        for &id in ids.iter().rev() {
            let way = &mut schedule.ways[id.index()];
            let expected = expected.get(id.index()).copied().unwrap_or_default();
            way.time = way.time.saturating_add(expected);
            way.vertices += 1;
            let way = *way;
            for &input in &graph.vertex(id).inputs {
                let known = &mut schedule.ways[input.index()];
                *known = way.max(*known);
                schedule.wanted_by[input.index()] += 1;
                schedule.missing[id.index()] += 1;
            }
        }
        for id in ids {
            if schedule.missing[id.index()] == 0 {
                schedule.set(id, OpState::Ready);
            }
        }
        schedule
    }

    /// Where `id` stands; nothing when no target needs it.
    #[must_use]
    pub fn state(&self, id: OpId) -> Option<OpState> {
        self.states[id.index()]
    }

    /// How many vertices are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// Hands out the most urgent ready vertex, which is running from now on.
    pub fn next_ready(&mut self) -> Option<OpId> {
        while let Some((_, Reverse(id))) = self.ready.pop() {
            // A vertex that was skipped while it was ready is still in the heap.
            if self.state(id) == Some(OpState::Ready) {
                self.set(id, OpState::Running);
                return Some(id);
            }
        }
        None
    }

    /// Takes note that a running vertex ended. Answers which running ones nobody needs any more, in
    /// topological order; they should be stopped.
    ///
    /// # Panics
    /// When `id` is not running.
    pub fn finished(&mut self, id: OpId, outcome: Outcome) -> Vec<OpId> {
        assert_eq!(self.state(id), Some(OpState::Running), "vertex {} is not running", id.index());
        match outcome {
            Outcome::Done => {
                self.set(id, OpState::Done);
                for follower in self.followers(id) {
                    self.missing[follower.index()] -= 1;
                    if self.missing[follower.index()] == 0
                        && self.state(follower) == Some(OpState::Waiting)
                    {
                        self.set(follower, OpState::Ready);
                    }
                }
                Vec::new()
            }
            Outcome::Failed => self.give_up(id, OpState::Failed),
            Outcome::Stopped => self.give_up(id, OpState::Skipped),
        }
    }

    /// Starts nothing any more: all that waits or is ready is skipped.
    pub fn stop(&mut self) {
        for index in 0..self.states.len() {
            if matches!(self.states[index], Some(OpState::Waiting | OpState::Ready)) {
                self.states[index] = Some(OpState::Skipped);
            }
        }
    }

    /// Ends `id` without a result, skips what follows from it and, unless the others go on, what only that needed.
    fn give_up(&mut self, id: OpId, state: OpState) -> Vec<OpId> {
        self.set(id, state);
        let mut ended = vec![id];
        let mut needless = Vec::new();
        while let Some(id) = ended.pop() {
            for follower in self.followers(id) {
                if self.state(follower) == Some(OpState::Waiting) {
                    self.set(follower, OpState::Skipped);
                    ended.push(follower);
                }
            }
            if self.after_failure == AfterFailure::KeepGoing {
                continue;
            }
            for input in self.inputs(id) {
                self.wanted_by[input.index()] -= 1;
                if self.wanted_by[input.index()] > 0 {
                    continue;
                }
                match self.state(input) {
                    Some(OpState::Waiting | OpState::Ready) => {
                        self.set(input, OpState::Skipped);
                        ended.push(input);
                    }
                    Some(OpState::Running) => needless.push(input),
                    Some(OpState::Done | OpState::Failed | OpState::Skipped) | None => {}
                }
            }
        }
        needless.sort_unstable();
        needless
    }

    /// The one place where a state changes.
    fn set(&mut self, id: OpId, state: OpState) {
        if self.state(id) == Some(OpState::Running) {
            self.running -= 1;
        }
        match state {
            OpState::Ready => self.ready.push((self.ways[id.index()], Reverse(id))),
            OpState::Running => self.running += 1,
            OpState::Waiting | OpState::Done | OpState::Failed | OpState::Skipped => {}
        }
        self.states[id.index()] = Some(state);
    }

    /// Vertices that read `id` and take part.
    fn followers(&self, id: OpId) -> Vec<OpId> {
        self.neighbours(id, Direction::Outgoing)
    }

    /// Vertices that `id` reads, once for each time.
    fn inputs(&self, id: OpId) -> Vec<OpId> {
        self.neighbours(id, Direction::Incoming)
    }

    fn neighbours(&self, id: OpId, direction: Direction) -> Vec<OpId> {
        self.edges
            .neighbors_directed(NodeIndex::new(id.index()), direction)
            .map(|node| self.edges[node])
            .filter(|neighbour| self.states[neighbour.index()].is_some())
            .collect()
    }
}

fn follower_edges(graph: &Graph) -> DiGraph<OpId, (), u32> {
    let mut edges = DiGraph::with_capacity(graph.len(), graph.len());
    for id in graph.ids() {
        let follower = edges.add_node(id);
        for input in &graph.vertex(id).inputs {
            edges.add_edge(NodeIndex::new(input.index()), follower, ());
        }
    }
    edges
}

/// `Waiting` for all that the targets need, nothing for the rest.
fn wanted_states(edges: &DiGraph<OpId, (), u32>, targets: &[OpId]) -> Vec<Option<OpState>> {
    let mut states = vec![None; edges.node_count()];
    let upstream = Reversed(edges);
    let mut walk = Dfs::empty(upstream);
    for target in targets {
        walk.move_to(NodeIndex::new(target.index()));
        while let Some(node) = walk.next(upstream) {
            states[node.index()] = Some(OpState::Waiting);
        }
    }
    states
}
