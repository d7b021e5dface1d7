//! The instructions of each stage against what the stage has come to.
//!
//! A stage is lowered as for a build, but onto no filesystem: what changes is the environment and the config.

use std::borrow::Cow;

use kiln_grammar::{Instruction, InstructionKind, Span};
use kiln_ir::{GraphBuilder, Op, OpId, SourceOp, VertexMeta};

use super::report::{Remark, Report, Site};
use super::{Check, commands, expose, ignored, variables, workdir};
use crate::build::place;
use crate::environment::Environment;
use crate::link::{Reference, Stage};
use crate::lower::{Scope, lower};
use crate::stage::{StageState, empty_config};
use crate::{BuildOptions, Diagnostic, FactRequest, Facts, Rule};

/// What rules see of an instruction.
#[derive(Debug)]
pub(super) struct Step<'s> {
    /// The instruction.
    pub(super) instruction: &'s Instruction,
    /// Where remarks on it go.
    pub(super) site: Site,
    /// What its stage has come to.
    pub(super) scope: &'s Scope<'s>,
    /// The image under the stage, when it is not known what that sets.
    pub(super) unknown_base: Option<&'s FactRequest>,
}

/// What rules remember of a stage from one instruction to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// Whether this stage or one below it has a `WORKDIR`.
    pub(super) has_workdir: bool,
    /// This stage's last `CMD`, `ENTRYPOINT` and `HEALTHCHECK`.
    pub(super) last: [Option<(Site, Span)>; 3],
}

/// A stage that has been walked through.
struct Walked {
    state: StageState,
    has_workdir: bool,
    unknown_base: Option<FactRequest>,
}

/// A walk over all stages.
pub(super) struct Walk<'w> {
    stages: &'w [Stage<'w>],
    options: &'w BuildOptions,
    facts: &'w Facts,
    globals: &'w Environment,
    /// Stands for every filesystem.
    root: OpId,
    walked: Vec<Option<Walked>>,
}

impl<'w> Walk<'w> {
    pub(super) fn new(
        stages: &'w [Stage<'w>],
        options: &'w BuildOptions,
        facts: &'w Facts,
        globals: &'w Environment,
    ) -> Self {
        let mut graph = GraphBuilder::default();
        let scratch = Op::Source(SourceOp::Scratch);
        let root = graph.add(scratch, Vec::new(), VertexMeta::default());
        Self { stages, options, facts, globals, root, walked: Vec::new() }
    }

    /// Walks through the wanted stages, in order, and answers their errors. Makes no remark from `end` on,
    /// an offset, nor behind an error.
    pub(super) fn run(
        mut self,
        wanted: &[bool],
        end: usize,
        report: &mut Report,
    ) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        for (index, wanted) in wanted.iter().enumerate() {
            let walked = wanted.then(|| self.stage(index, end, report, &mut errors));
            self.walked.push(walked);
        }
        errors
    }

    fn stage(
        &self,
        index: usize,
        end: usize,
        report: &mut Report,
        errors: &mut Vec<Diagnostic>,
    ) -> Walked {
        let stage = &self.stages[index];
        let mut walked = self.base(stage);
        let mut memory = Memory { has_workdir: walked.has_workdir, ..Memory::default() };
        for command in &stage.commands {
            let is_trigger = matches!(command.instruction, Cow::Owned(_));
            let instruction: &Instruction = &command.instruction;
            if !is_trigger && instruction.span.start >= end {
                report.end();
            }
            let scope = Scope {
                state: &walked.state,
                options: self.options,
                globals: self.globals,
                stages: self.stages,
                index,
            };
            let site =
                if is_trigger { Site::trigger_of(stage.from) } else { Site::of(instruction) };
            let unknown_base = walked.unknown_base.as_ref();
            let step = Step { instruction, site, scope: &scope, unknown_base };
            rules(&step, &mut memory, report);
            match lower(instruction, &scope) {
                Ok(effect) => walked.state.apply(effect.changes, None, false),
                Err(found) => {
                    // What Kiln alone refuses is right, and its end is not that of the remarks.
                    if found.iter().any(|error| error.code != Rule::NotSupportedYet.code()) {
                        report.end();
                    }
                    errors.extend(found.into_iter().map(|error| place(error, command)));
                }
            }
        }
        walked.has_workdir = memory.has_workdir;
        walked
    }

    fn base(&self, stage: &Stage<'_>) -> Walked {
        if let Reference::Stage(base) = stage.base
            && let Some(base) = self.walked.get(base).and_then(Option::as_ref)
        {
            return Walked {
                state: StageState::on_stage(&base.state),
                has_workdir: base.has_workdir,
                unknown_base: base.unknown_base.clone(),
            };
        }
        let empty = empty_config(&stage.platform);
        let (config, unknown_base) = match &stage.base {
            Reference::Image(reference) => match self.facts.get(reference, &stage.platform) {
                Some(image) => (image.config.clone(), None),
                None => (empty, Some(request(reference, stage))),
            },
            Reference::Scratch
            | Reference::Stage(_)
            | Reference::LaterStage(_)
            | Reference::Context(_) => (empty, None),
        };
        let state = StageState::on_image(self.root, config);
        Walked { state, has_workdir: false, unknown_base }
    }
}

fn request(reference: &str, stage: &Stage<'_>) -> FactRequest {
    FactRequest::ImageConfig {
        reference: reference.to_owned(),
        platform: stage.platform.clone(),
        span: stage.base_span(),
    }
}

fn rules(step: &Step<'_>, memory: &mut Memory, report: &mut Report) {
    variables::undefined(step, report);
    variables::secrets(step, report);
    variables::legacy_form(step, report);
    commands::json_arguments(step, report);
    commands::several(step, memory, report);
    workdir::relative(step, memory, report);
    expose::check(step, report);
    ignored::check(step, report);
}

/// Checks that known base images are of the platforms that were asked for.
pub(super) fn base_platforms(
    stages: &[Stage<'_>],
    wanted: &[bool],
    facts: &Facts,
    report: &mut Report,
) {
    for (stage, _) in stages.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
        let Reference::Image(reference) = &stage.base else { continue };
        let Some(image) = facts.get(reference, &stage.platform) else { continue };
        let (os, architecture) = (&image.config.os, &image.config.architecture);
        let fits = os == stage.platform.os() && architecture == stage.platform.architecture();
        if fits || image.config.rootfs.diff_ids.is_empty() {
            continue;
        }
        let message = format!(
            "the base is for `{os}/{architecture}`, and `{}` was asked for",
            stage.platform
        );
        let remark = Remark::new(Check::InvalidBaseImagePlatform, stage.base_span(), message);
        report.say(&Site::of(stage.from), remark);
    }
}

impl Step<'_> {
    /// Where the keyword stands.
    pub(super) fn keyword(&self) -> Span {
        self.instruction.keyword.span
    }

    /// What the instruction is.
    pub(super) fn kind(&self) -> &InstructionKind {
        &self.instruction.kind
    }
}
