//! The graph of a build that is only planned.

use std::time::Instant;

use kiln_solver::{Cancel, Event, Narrator};

use super::Build;
use super::joined::Joined;
use super::request::BuildRequest;
use crate::history::{Origin, build_name};
use crate::{Engine, EngineError};

/// What a build would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBuild {
    /// What people would call the build.
    pub name: String,
    /// What there would be to do, inputs first. Which of it the cache has is not known before it is tried.
    pub steps: Vec<PlannedStep>,
}

/// A vertex of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// Such as `[build 2/5] RUN make`; empty for one that people need not see.
    pub name: String,
    /// The steps that it reads, by their places in the list.
    pub inputs: Vec<usize>,
    /// What it is, and its place in the Dockerfile.
    pub origin: Origin,
}

impl Engine {
    /// Plans what `request` asks for and runs no step of it; tells `sink` what is looked up for that.
    ///
    /// # Errors
    /// When the Dockerfile cannot be built, or an image that it names cannot be had.
    pub fn plan_build(
        &self,
        request: &BuildRequest,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Event),
    ) -> Result<PlannedBuild, EngineError> {
        let start = Instant::now();
        let clock = || start.elapsed();
        let mut narrator = Narrator::new(&clock, sink);
        let contexts = self.open_contexts(request, cancel, &mut narrator)?;
        let text = narrator.perform_here("[internal] load build definition", |_| {
            self.load_definition(request, &contexts)
        })?;
        let (plans, _) = self.plan(request, &text, &contexts, &mut narrator)?;
        let joined = Joined::of(plans);
        let build =
            Build { engine: self, request, joined: &joined, text: &text, contexts: &contexts };
        let step = |op| {
            let vertex = joined.graph.vertex(op);
            PlannedStep {
                name: vertex.meta.name.clone(),
                inputs: vertex.inputs.iter().map(|input| input.index()).collect(),
                origin: build.origin(op),
            }
        };
        Ok(PlannedBuild {
            name: build_name(request),
            steps: joined.graph.ids().map(step).collect(),
        })
    }
}
