//! Stages lowered onto no filesystem, for those who look at a Dockerfile and build nothing.
//!
//! Unlike a plan this needs no fact: a base that is not known counts as one that sets nothing, and who asks
//! is told which one it was.

use kiln_ir::{GraphBuilder, Op, OpId, SourceOp, VertexMeta};

use crate::environment::Environment;
use crate::link::{Reference, Stage};
use crate::lower::Scope;
use crate::stage::{Blank, StageState};
use crate::stages::Stages;
use crate::{BuildOptions, FactRequest, Facts};

/// What all stages are looked at with.
#[derive(Debug)]
pub(crate) struct Survey<'s> {
    stages: &'s Stages<'s>,
    options: &'s BuildOptions,
    facts: &'s Facts,
    globals: &'s Environment,
    /// Stands for every filesystem.
    root: OpId,
    blank: Blank,
}

impl<'s> Survey<'s> {
    pub(crate) fn new(
        stages: &'s Stages<'s>,
        options: &'s BuildOptions,
        facts: &'s Facts,
        globals: &'s Environment,
    ) -> Self {
        let mut graph = GraphBuilder::default();
        let scratch = Op::Source(SourceOp::Scratch);
        let root = graph.add(scratch, Vec::new(), VertexMeta::default());
        let blank = Blank::new(root, &options.platform);
        Self { stages, options, facts, globals, root, blank }
    }

    /// All stages.
    pub(crate) fn stages(&self) -> &'s Stages<'s> {
        self.stages
    }

    /// What a stage begins with; `below` answers what an earlier stage came to, if that is known.
    pub(crate) fn begin<'b>(
        &self,
        stage: &Stage<'_>,
        below: impl Fn(usize) -> Option<&'b StageState>,
    ) -> StageState {
        if let Reference::Stage(base) = stage.base
            && let Some(base) = below(base)
        {
            return StageState::on_stage(base);
        }
        match self.image(stage) {
            Some((_, Some(config))) => StageState::on_image(self.root, config),
            Some((_, None)) | None => self.blank.stage(self.root, &stage.platform),
        }
    }

    /// The image directly under a stage, when it is not known.
    pub(crate) fn unknown_base(&self, stage: &Stage<'_>) -> Option<FactRequest> {
        let (reference, config) = self.image(stage)?;
        config.is_none().then(|| FactRequest::ImageConfig {
            reference: reference.to_owned(),
            platform: stage.platform.clone(),
            span: stage.base_span(),
        })
    }

    fn image<'a>(
        &self,
        stage: &'a Stage<'_>,
    ) -> Option<(&'a str, Option<kiln_image::ImageConfig>)> {
        let Reference::Image(reference) = &stage.base else { return None };
        let known = self.facts.get(reference, &stage.platform);
        Some((reference, known.map(|image| image.config.clone())))
    }

    /// What an instruction of a stage may look at.
    pub(crate) fn scope<'a>(&'a self, state: &'a StageState, index: usize) -> Scope<'a> {
        Scope { state, options: self.options, globals: self.globals, stages: self.stages, index }
    }
}
