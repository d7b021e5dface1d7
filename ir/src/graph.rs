//! The graph: vertices in topological order, built so that a cycle cannot be written down.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::Op;

/// A vertex of one graph: its index in topological order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(u32);

impl OpId {
    /// The id of a vertex of a graph that was written down, to be read back. A [`GraphBuilder`] takes no id
    /// that it did not issue.
    #[must_use]
    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }

    /// The position in [`Graph::vertices`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a vertex came from: a handle that only the frontend's source map can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u32);

/// What people see of a vertex and how the build treats it; no part of any identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VertexMeta {
    /// Such as `[build 2/5] RUN make`.
    pub name: String,
    /// The instruction it was lowered from.
    pub origin: Option<Origin>,
    /// Whether a recorded result is passed over (`--no-cache`).
    pub ignore_cache: bool,
}

/// An op with its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// What is done.
    pub op: Op,
    /// What it reads; the op refers to these by index.
    pub inputs: Vec<OpId>,
    /// What people see of it.
    pub meta: VertexMeta,
}

/// An acyclic list of vertices: each one's inputs come before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph {
    vertices: Vec<Vertex>,
}

impl Graph {
    /// All vertices, inputs first.
    #[must_use]
    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    /// One vertex.
    ///
    /// # Panics
    /// When `id` was issued by another graph's builder and is out of range here.
    #[must_use]
    pub fn vertex(&self, id: OpId) -> &Vertex {
        &self.vertices[id.index()]
    }

    /// The ids of all vertices, inputs first.
    pub fn ids(&self) -> impl Iterator<Item = OpId> + use<> {
        (0..u32::try_from(self.vertices.len()).unwrap_or(u32::MAX)).map(OpId)
    }

    /// How many vertices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }
}

/// Makes a [`Graph`] from the inputs up. The same op over the same inputs is one vertex.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
    /// Vertices by the hash of op and inputs.
    known: HashMap<u64, Vec<OpId>>,
    hashing: RandomState,
}

impl GraphBuilder {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex, or finds the one that does the same. The first one's `meta` is kept, but that
    /// a vertex ignores the cache when any of its uses does.
    ///
    /// # Panics
    /// When an input was not issued by this builder, or at 2³² vertices.
    pub fn add(&mut self, op: Op, inputs: Vec<OpId>, meta: VertexMeta) -> OpId {
        assert!(inputs.iter().all(|input| input.index() < self.graph.len()), "foreign input");
        let hash = self.hashing.hash_one((&op, &inputs));
        let alike = self.known.entry(hash).or_default();
        let same = alike.iter().find(|id| {
            let vertex = &self.graph.vertices[id.index()];
            vertex.op == op && vertex.inputs == inputs
        });
        if let Some(&id) = same {
            self.graph.vertices[id.index()].meta.ignore_cache |= meta.ignore_cache;
            return id;
        }
        let id = OpId(u32::try_from(self.graph.vertices.len()).expect("fewer than 2^32 vertices"));
        self.graph.vertices.push(Vertex { op, inputs, meta });
        alike.push(id);
        id
    }

    /// Adds all of another graph and answers the ids that its vertices have here, in their order. What both
    /// graphs do is there once.
    pub fn append(&mut self, graph: &Graph) -> Vec<OpId> {
        let mut ids: Vec<OpId> = Vec::with_capacity(graph.len());
        for Vertex { op, inputs, meta } in graph.vertices() {
            let inputs = inputs.iter().map(|input| ids[input.index()]).collect();
            ids.push(self.add(op.clone(), inputs, meta.clone()));
        }
        ids
    }

    /// The finished graph.
    #[must_use]
    pub fn finish(self) -> Graph {
        self.graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LocalSource, SourceOp};

    fn local(name: &str) -> Op {
        Op::Source(SourceOp::Local(LocalSource { name: name.to_owned() }))
    }

    #[test]
    fn equal_vertices_are_one() {
        let mut builder = GraphBuilder::new();
        let a = builder.add(local("a"), vec![], VertexMeta::default());
        let b = builder.add(local("b"), vec![], VertexMeta::default());
        let again = builder.add(
            local("a"),
            vec![],
            VertexMeta { ignore_cache: true, ..VertexMeta::default() },
        );
        assert_eq!(a, again);
        assert_ne!(a, b);
        let merged = builder.add(Op::Merge, vec![a, b], VertexMeta::default());
        assert_ne!(merged, builder.add(Op::Merge, vec![b, a], VertexMeta::default()));
        let graph = builder.finish();
        assert_eq!(graph.len(), 4);
        assert!(graph.vertex(a).meta.ignore_cache);
        assert_eq!(graph.ids().map(OpId::index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn graphs_that_are_joined_share_what_both_do() {
        let graph = |own: &str| {
            let mut builder = GraphBuilder::new();
            let mine = builder.add(local(own), vec![], VertexMeta::default());
            let both = builder.add(local("both"), vec![], VertexMeta::default());
            builder.add(Op::Merge, vec![both, mine], VertexMeta::default());
            builder.finish()
        };
        let mut builder = GraphBuilder::new();
        let a = builder.append(&graph("a"));
        let b = builder.append(&graph("b"));
        assert_eq!(a[1], b[1]);
        assert!(a[0] != b[0] && a[2] != b[2]);
        let joined = builder.finish();
        assert_eq!(joined.len(), 5);
        assert_eq!(joined.vertex(b[2]).inputs, [b[1], b[0]]);
    }
}
