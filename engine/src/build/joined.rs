//! The plans of one Dockerfile for several platforms, over one graph.
//!
//! What two platforms do alike, such as a stage of `FROM --platform=$BUILDPLATFORM`, is one vertex and runs
//! once.

use kiln_frontend::{Plan, SourceEntry};
use kiln_ir::{Graph, GraphBuilder, OpId};

/// At least one plan, with the graph of all.
pub(super) struct Joined {
    /// In the order of the platforms. Their own graphs are empty.
    pub(super) plans: Vec<Plan>,
    pub(super) graph: Graph,
    /// The vertex of each plan's target.
    pub(super) targets: Vec<OpId>,
    /// For each vertex the plan that knows where it came from.
    owners: Vec<usize>,
}

impl Joined {
    pub(super) fn of(mut plans: Vec<Plan>) -> Self {
        if let [plan] = plans.as_mut_slice() {
            let graph = std::mem::take(&mut plan.graph);
            let (targets, owners) = (vec![plan.target], vec![0; graph.len()]);
            return Self { plans, graph, targets, owners };
        }
        let mut builder = GraphBuilder::new();
        let (mut targets, mut owners) = (Vec::new(), Vec::new());
        for (index, plan) in plans.iter_mut().enumerate() {
            let ids = builder.append(&std::mem::take(&mut plan.graph));
            targets.push(ids[plan.target.index()]);
            let count = ids.iter().map(|id| id.index() + 1).max().unwrap_or(0);
            owners.resize(count.max(owners.len()), index);
        }
        Self { plans, graph: builder.finish(), targets, owners }
    }

    /// The instruction that a vertex came from.
    pub(super) fn source(&self, op: OpId) -> Option<&SourceEntry> {
        let origin = self.graph.vertex(op).meta.origin?;
        self.plans[self.owners[op.index()]].sources.get(origin)
    }
}
