//! The instructions of each stage against what the stage has come to.
//!
//! A stage is lowered as for a build, but onto no filesystem: what changes is the environment and the config.

use std::iter::successors;

use kiln_grammar::{Instruction, InstructionKind, Span};

use super::hints::{self, LastUser};
use super::report::{Remark, Report, Site};
use super::{Check, Verdict, commands, expose, ignored, variables, workdir};
use crate::link::{Reference, Stage, Written};
use crate::lower::{Scope, lower};
use crate::stage::StageState;
use crate::survey::Survey;
use crate::{FactRequest, Facts, Rule};

/// What rules see of an instruction.
#[derive(Debug)]
pub(super) struct Step<'s> {
    /// The instruction.
    pub(super) instruction: &'s Instruction,
    /// Where remarks on it go.
    pub(super) site: Site,
    /// What its stage has come to.
    pub(super) scope: &'s Scope<'s>,
    /// Whether its stage's layers are in the image that is built when no stage is asked for.
    pub(super) is_in_image: bool,
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
    /// What the hints remember.
    hints: hints::Memory,
}

/// A stage that has been walked through.
struct Walked {
    state: StageState,
    has_workdir: bool,
    last_user: Option<LastUser>,
    unknown_base: Option<FactRequest>,
}

/// A walk over all stages.
pub(super) struct Walk<'w> {
    survey: Survey<'w>,
    target: usize,
    /// The target and the stages below it, by index.
    in_image: Vec<bool>,
    walked: Vec<Option<Walked>>,
    verdict: Verdict,
}

impl<'w> Walk<'w> {
    pub(super) fn new(survey: Survey<'w>, target: usize) -> Self {
        let stages = survey.stages();
        let below = |index: &usize| match stages[*index].base {
            Reference::Stage(base) => Some(base),
            Reference::Scratch
            | Reference::LaterStage(_)
            | Reference::Image(_)
            | Reference::Context(_) => None,
        };
        let mut in_image = vec![false; stages.len()];
        for index in successors(Some(target), below) {
            in_image[index] = true;
        }
        let walked = Vec::with_capacity(stages.len());
        Self { survey, target, in_image, walked, verdict: Verdict::Right }
    }

    /// Walks through the wanted stages, in order. Makes no remark from `end` on, an offset, nor behind an
    /// error.
    pub(super) fn run(mut self, wanted: &[bool], end: usize, report: &mut Report) -> Verdict {
        for (index, wanted) in wanted.iter().enumerate() {
            let walked = wanted.then(|| self.stage(index, end, report));
            self.walked.push(walked);
        }
        self.verdict
    }

    fn stage(&mut self, index: usize, end: usize, report: &mut Report) -> Walked {
        let stage = &self.survey.stages()[index];
        let mut walked = self.begin(stage);
        let mut memory = Memory { has_workdir: walked.has_workdir, ..Memory::default() };
        memory.hints.last_user = walked.last_user.take();
        for command in &stage.commands {
            let is_trigger = matches!(command.instruction, Written::Trigger(_));
            let instruction: &Instruction = &command.instruction;
            if !is_trigger && instruction.span.start >= end {
                report.end();
            }
            let scope = self.survey.scope(&walked.state, index);
            let site =
                if is_trigger { Site::trigger_of(stage.from) } else { Site::of(instruction) };
            let unknown_base = walked.unknown_base.as_ref();
            let step = Step {
                instruction,
                site,
                scope: &scope,
                is_in_image: self.in_image[index],
                unknown_base,
            };
            rules(&step, &mut memory, report);
            match lower(instruction, &scope) {
                Ok(effect) => walked.state.apply(effect.changes, None, false),
                Err(found) => {
                    // What Kiln alone refuses is right, and its end is not that of the remarks.
                    if found.iter().any(|error| error.code != Rule::NotSupportedYet.code()) {
                        report.end();
                    }
                    self.verdict = Verdict::Wrong;
                }
            }
        }
        if index == self.target {
            hints::last_user_root(memory.hints.last_user.as_ref(), report);
        }
        walked.has_workdir = memory.has_workdir;
        walked.last_user = memory.hints.last_user;
        walked
    }

    fn begin(&self, stage: &Stage<'_>) -> Walked {
        let below = |index: usize| self.walked.get(index).and_then(Option::as_ref);
        let base = if let Reference::Stage(base) = stage.base { below(base) } else { None };
        Walked {
            state: self.survey.begin(stage, |index| below(index).map(|walked| &walked.state)),
            has_workdir: base.is_some_and(|base| base.has_workdir),
            last_user: base.and_then(|base| base.last_user.clone()),
            unknown_base: match base {
                Some(base) => base.unknown_base.clone(),
                None => self.survey.unknown_base(stage),
            },
        }
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
    hints::check(step, &mut memory.hints, report);
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
