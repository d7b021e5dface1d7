//! All that is wrong with a Dockerfile, told at once.
//!
//! A plan ends at the first reading of a file that finds something: its instructions, its global arguments,
//! its stages, the values in these. This goes on. What was not understood is passed over, and what would
//! follow from it alone is not told: a mistake is left out when it is about a word whose value is in
//! [doubt](Doubt), or about stages that may not be all. Where it is not sure that something is wrong, nothing
//! is said; the next build says it.

mod doubt;
mod mended;

use std::collections::BTreeSet;

use kiln_grammar::{Dockerfile, Instruction, InstructionKind, Malformed, Parsed, Span};

use self::doubt::{Doubt, Given, touches};
use self::mended::{Mended, is_stand_in, may_set_variables, may_set_workdir};
use crate::build::place;
use crate::check::Settings;
use crate::environment::Environment;
use crate::link::{self, Command, Reference, Stage, Written};
use crate::lower::lower;
use crate::stage::StageState;
use crate::stages::Stages;
use crate::survey::Survey;
use crate::{
    BuildOptions, Diagnostic, Extent, Facts, Rule, epoch, globals, onbuild, syntax_diagnostics,
};

/// What may be said of a stage's name only when all stages are known.
const ABOUT_STAGES: [Rule; 5] =
    [Rule::MissingStage, Rule::StageOrder, Rule::StageCycle, Rule::InvalidReference, Rule::NoStage];

/// Everything that is wrong, in source order, each mistake once; what has no place comes first.
pub(crate) fn all(
    parsed: &Parsed,
    options: &BuildOptions,
    facts: &Facts,
    extent: Extent,
) -> Vec<Diagnostic> {
    let mut found = syntax_diagnostics(&parsed.errors);
    found.extend(Settings::of(&parsed.dockerfile, options).err());
    if let Some(mended) = Mended::of(parsed) {
        let mut search = Search { mended: &mended, options, facts, extent, found: Vec::new() };
        search.file();
        let is_sure = |one: &Diagnostic| {
            !(mended.doubts_stages && ABOUT_STAGES.iter().any(|rule| rule.code() == one.code))
        };
        let sure = search.found.into_iter().filter(is_sure);
        found.extend(sure.map(|one| within_instruction(one, &mended.dockerfile)));
    }
    found.sort_by_key(|one| (one.line_span().map(|at| at.start), one.span));
    let mut told = BTreeSet::new();
    found.retain(|one| told.insert((one.span, one.code, one.message.clone())));
    found
}

/// A search that goes on where a plan ends.
struct Search<'s> {
    mended: &'s Mended<'s>,
    options: &'s BuildOptions,
    facts: &'s Facts,
    extent: Extent,
    found: Vec<Diagnostic>,
}

/// What is known of all stages.
struct Known<'s> {
    stages: &'s Stages<'s>,
    globals: &'s Environment,
    doubt: &'s Doubt,
    survey: Survey<'s>,
    /// Of which stages' bases nothing is known, by index.
    baseless: Vec<bool>,
    /// Where names stand of which it is known what is wrong with them.
    wrong_names: BTreeSet<Span>,
}

/// What a stage has come to.
struct Progress {
    state: StageState,
    doubt: Doubt,
}

impl Search<'_> {
    fn file(&mut self) {
        let dockerfile = &self.mended.dockerfile;
        let (globals, errors) = globals::all(dockerfile, self.options);
        let doubt = self.globals(errors);
        let (mut stages, errors) = link::all(dockerfile, &globals, self.options);
        let is_certain = errors.is_empty() && self.mended.is_whole();
        let wrong_names = errors.iter().filter_map(|error| error.span).collect();
        let mut baseless = self.names(&stages, &doubt, errors);
        if stages.is_empty() {
            return;
        }
        for broken in onbuild::add_triggers(&mut stages, self.facts).err().into_iter().flatten() {
            if let Some(stage) = broken.span.and_then(|span| stage_at(&stages, span)) {
                baseless[stage] = true;
            }
            self.found.push(broken);
        }
        if is_certain {
            self.found.extend(epoch::epoch(dockerfile, &globals, &stages, self.options).err());
        }
        let survey = Survey::new(&stages, self.options, self.facts, &globals);
        self.values(&Known {
            stages: &stages,
            globals: &globals,
            doubt: &doubt,
            survey,
            baseless,
            wrong_names,
        });
    }

    /// The arguments above the first stage: takes their mistakes, and answers what is in doubt of them.
    fn globals(&mut self, errors: Vec<Diagnostic>) -> Doubt {
        let given = Given { build_args: &self.options.build_args, globals: None };
        let mended = self.mended;
        let instructions = &mended.dockerfile.instructions;
        let is_from = |kind: &InstructionKind| matches!(kind, InstructionKind::From(_));
        let above = instructions.iter().take_while(|one| !is_from(&one.kind)).count();
        let end = instructions.get(above).map_or(usize::MAX, |from| from.span.start);
        let mut malformed = mended.between(0, end).iter().peekable();
        let mut errors = errors.into_iter().peekable();
        let mut doubt = Doubt::default();
        for instruction in &instructions[..above] {
            while let Some(one) = malformed.next_if(|one| one.span.start < instruction.span.start) {
                pass_over(one, &mut doubt);
            }
            let ends_before =
                |one: &Diagnostic| one.span.is_none_or(|span| span.start < instruction.span.end);
            let own: Vec<_> = std::iter::from_fn(|| errors.next_if(ends_before)).collect();
            let doubted = doubt.follow(&instruction.kind, given, !own.is_empty());
            self.found.extend(own.into_iter().filter(|one| !doubted.covers(one)));
        }
        malformed.for_each(|one| pass_over(one, &mut doubt));
        doubt
    }

    /// Takes the mistakes in the stages' names and in names of stages; answers of which stages' bases nothing
    /// is known, by index.
    fn names(&mut self, stages: &Stages<'_>, doubt: &Doubt, errors: Vec<Diagnostic>) -> Vec<bool> {
        let doubted: Vec<Vec<Span>> =
            stages.iter().map(|stage| doubt.words_of(&stage.from.kind)).collect();
        let mut baseless: Vec<bool> = stages
            .iter()
            .zip(&doubted)
            .map(|(stage, doubted)| !doubted.is_empty() || is_stand_in(stage.from))
            .collect();
        for error in errors {
            let stage = error.span.and_then(|span| {
                let stage = stage_at(stages, span)?;
                (span.start < stages[stage].from.span.end).then_some(stage)
            });
            match stage {
                Some(stage) => {
                    baseless[stage] = true;
                    if !error.span.is_some_and(|span| touches(span, &doubted[stage])) {
                        self.found.push(error);
                    }
                }
                None => self.found.push(error),
            }
        }
        baseless
    }

    /// Takes the mistakes in the values of the stages that are looked at.
    fn values(&mut self, known: &Known<'_>) {
        let wanted = match self.wanted(known.stages) {
            Ok(wanted) => wanted,
            Err(error) => {
                self.found.push(error);
                return;
            }
        };
        let mut walked = Vec::new();
        for (index, wanted) in wanted.into_iter().enumerate() {
            let progress = wanted.then(|| self.stage(index, known, &walked));
            walked.push(progress);
        }
    }

    /// The stages to look at, by index.
    fn wanted(&self, stages: &Stages<'_>) -> Result<Vec<bool>, Diagnostic> {
        if self.extent == Extent::AllStages && self.options.target.is_none() {
            return Ok(vec![true; stages.len()]);
        }
        let target = link::target(stages, self.options)?;
        let also = |index: usize| self.probably_read(index, stages);
        Ok(link::needed(target, stages, self.options, also))
    }

    /// The stages whose names stand in what is malformed of a stage.
    fn probably_read(&self, index: usize, stages: &Stages<'_>) -> Vec<usize> {
        let is_of_name = |ch: char| ch.is_ascii_alphanumeric() || "-_.".contains(ch);
        let malformed = self.malformed_of(index, stages).iter();
        let words = malformed.flat_map(|one| one.text.split(|ch| !is_of_name(ch)));
        words.filter_map(|word| stages.last_named_before(&word.to_lowercase(), index)).collect()
    }

    fn malformed_of(&self, index: usize, stages: &Stages<'_>) -> &[Malformed] {
        let next = stages.get(index + 1).map_or(usize::MAX, |next| next.from.span.start);
        self.mended.between(stages[index].from.span.start, next)
    }

    fn stage(&mut self, index: usize, known: &Known<'_>, walked: &[Option<Progress>]) -> Progress {
        let stage = &known.stages[index];
        let below = |at: usize| walked.get(at).and_then(Option::as_ref);
        let mut progress = Progress {
            state: known.survey.begin(stage, |at| below(at).map(|one| &one.state)),
            doubt: self.doubt_of_base(index, known, walked),
        };
        let malformed = self.mended.between(stage.from.span.end, usize::MAX);
        let count = self.malformed_of(index, known.stages).len();
        let count = count - usize::from(is_stand_in(stage.from));
        let mut malformed = malformed.iter().take(count).peekable();
        for command in &stage.commands {
            if let Written::Here(instruction) = &command.instruction {
                while let Some(one) =
                    malformed.next_if(|one| one.span.start < instruction.span.start)
                {
                    pass_over(one, &mut progress.doubt);
                }
            }
            self.command(command, index, known, &mut progress);
        }
        malformed.for_each(|one| pass_over(one, &mut progress.doubt));
        progress
    }

    fn doubt_of_base(&self, index: usize, known: &Known<'_>, walked: &[Option<Progress>]) -> Doubt {
        let stage = &known.stages[index];
        let found = match &stage.base {
            _ if known.baseless[index] => None,
            Reference::Scratch | Reference::Context(_) => Some(Doubt::default()),
            Reference::Stage(base) => {
                walked.get(*base).and_then(Option::as_ref).map(|one| one.doubt.clone())
            }
            Reference::Image(name) => {
                self.facts.get(name, &stage.platform).map(|_| Doubt::default())
            }
            Reference::LaterStage(_) => None,
        };
        found.unwrap_or_else(Doubt::of_everything)
    }

    fn command(
        &mut self,
        command: &Command<'_>,
        index: usize,
        known: &Known<'_>,
        progress: &mut Progress,
    ) {
        let lowered = lower(&command.instruction, &known.survey.scope(&progress.state, index));
        let given = Given {
            build_args: &self.options.build_args,
            globals: Some((known.globals, known.doubt)),
        };
        let kind = &command.instruction.kind;
        let doubted = progress.doubt.follow(kind, given, lowered.is_err());
        match lowered {
            Ok(effect) => progress.state.apply(effect.changes, None, false),
            Err(found) => {
                let is_told = |one: &Diagnostic| {
                    one.span.is_some_and(|span| known.wrong_names.contains(&span))
                };
                let certain = found.into_iter().filter(|one| !doubted.covers(one) && !is_told(one));
                self.found.extend(certain.map(|one| place(one, command)));
            }
        }
    }
}

/// Says which instruction a mistake is in.
fn within_instruction(mistake: Diagnostic, dockerfile: &Dockerfile) -> Diagnostic {
    let instruction = mistake.span.and_then(|span| {
        let begun = |one: &Instruction| one.span.start <= span.start;
        let at = dockerfile.instructions.partition_point(begun).checked_sub(1)?;
        dockerfile.instructions.get(at)
    });
    let within = mistake.within.or(instruction.map(|one| one.span));
    Diagnostic { within, ..mistake }
}

/// Goes on behind an instruction that was not understood.
fn pass_over(malformed: &Malformed, doubt: &mut Doubt) {
    if may_set_variables(malformed) {
        doubt.every_variable();
    }
    if may_set_workdir(malformed) {
        doubt.the_workdir();
    }
}

/// The stage that a place is in or behind.
fn stage_at(stages: &[Stage<'_>], span: Span) -> Option<usize> {
    stages.partition_point(|stage| stage.from.span.start <= span.start).checked_sub(1)
}
