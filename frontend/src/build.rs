//! Vertices for stages: effects of instructions put on top of each other.
//!
//! The only mutable thing is the [`Builder`], which knows the graph made so far and where the finished
//! stages ended.

use std::iter::successors;

use kiln_grammar::{Instruction, InstructionKind, LineIndex, Span};
use kiln_image::{HistoryEntry, Platform};
use kiln_ir::{
    FileAction, FileOp, Graph, GraphBuilder, ImageSource, LocalSource, Op, OpId, Origin, SourceOp,
    VertexMeta,
};

use crate::address::redact;
use crate::context::{copy_root, downloaded_context};
use crate::environment::Environment;
use crate::link::{Command, Reference, Stage};
use crate::lower::{Scope, lower};
use crate::plan::{SourceEntry, SourceMap};
use crate::stage::{Blank, Effect, Ground, Input, StageState};
use crate::stages::Stages;
use crate::{BuildOptions, Diagnostic, Facts, MAIN_CONTEXT, NamedContext, NoCache, StepNames};

/// What planning works with and never changes.
#[derive(Debug)]
pub(crate) struct Given<'g> {
    /// The lines of the Dockerfile's text.
    pub(crate) lines: &'g LineIndex,
    /// What the build was told.
    pub(crate) options: &'g BuildOptions,
    /// What is known of the world: all that the stages need.
    pub(crate) facts: &'g Facts,
    /// The `ARG`s above the first stage.
    pub(crate) globals: &'g Environment,
    /// All stages.
    pub(crate) stages: &'g Stages<'g>,
}

/// A graph in the making.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    graph: GraphBuilder,
    sources: SourceMap,
    finished: Vec<Option<StageState>>,
    blank: Option<Blank>,
}

/// What people see of a step, and where it came from.
#[derive(Debug, Clone)]
struct Label {
    name: String,
    origin: Origin,
    ignore_cache: bool,
}

impl Label {
    fn meta(&self) -> VertexMeta {
        VertexMeta {
            name: self.name.clone(),
            origin: Some(self.origin),
            ignore_cache: self.ignore_cache,
        }
    }

    /// For the vertex that puts what the step made on top of the stage.
    fn merging(&self) -> VertexMeta {
        VertexMeta { name: format!("[internal] merging {}", self.name), ..self.meta() }
    }

    /// For a vertex that only prepares something for the step.
    fn preparing(&self) -> VertexMeta {
        VertexMeta { name: format!("{} (prepare)", self.name), ..self.meta() }
    }
}

impl Builder {
    /// Plans one stage; those it needs must have been planned.
    pub(crate) fn stage(&mut self, index: usize, given: &Given<'_>) -> Result<(), Vec<Diagnostic>> {
        let stage = &given.stages[index];
        let mut numbers = Numbers::new(index, given);
        let state = self.base(stage, &mut numbers, given);
        let mut progress = Progress { state, numbers };
        let mut errors = Vec::new();
        for command in &stage.commands {
            let scope = Scope {
                state: &progress.state,
                options: given.options,
                globals: given.globals,
                stages: given.stages,
                index,
            };
            match lower(&command.instruction, &scope) {
                Ok(effect) => self.add(effect, command, &mut progress, given),
                Err(found) => errors.extend(found.into_iter().map(|error| place(error, command))),
            }
        }
        self.finished.resize(given.stages.len(), None);
        self.finished[index] = Some(progress.state);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// A finished stage.
    pub(crate) fn finished(&self, index: usize) -> Option<&StageState> {
        self.finished.get(index)?.as_ref()
    }

    /// What a stage and those below it have added to the history, oldest first.
    pub(crate) fn history(&self, index: usize, stages: &Stages<'_>) -> Vec<HistoryEntry> {
        let below = |index: &usize| match stages[*index].base {
            Reference::Stage(base) => Some(base),
            Reference::Scratch
            | Reference::Image(_)
            | Reference::Context(_)
            | Reference::LaterStage(_) => None,
        };
        let mut chain: Vec<usize> = successors(Some(index), below).collect();
        chain.reverse();
        let states = chain.into_iter().filter_map(|index| self.finished(index));
        states.flat_map(|state| state.history.iter().cloned()).collect()
    }

    /// The graph and where its vertices came from.
    pub(crate) fn finish(self) -> (Graph, SourceMap) {
        (self.graph.finish(), self.sources)
    }

    fn base(&mut self, stage: &Stage<'_>, numbers: &mut Numbers, given: &Given<'_>) -> StageState {
        if let Reference::Stage(base) = stage.base
            && let Some(base) = self.finished(base)
        {
            return StageState::on_stage(base);
        }
        let name = format!("FROM {}", stage.base_text);
        let step = if stage.base == Reference::Scratch {
            numbers.unnumbered(name)
        } else {
            numbers.next(&name, None)
        };
        let label = self.label(step, stage.from, stage.base_span(), given);
        let image = match &stage.base {
            Reference::Image(reference) => given.facts.get(reference, &stage.platform),
            Reference::Scratch
            | Reference::Stage(_)
            | Reference::LaterStage(_)
            | Reference::Context(_) => None,
        };
        let is_empty = image.is_none_or(|image| image.config.rootfs.diff_ids.is_empty());
        let root = match &stage.base {
            // An image without layers is the empty filesystem, with a config.
            Reference::Image(_) if is_empty => self.scratch(),
            Reference::Image(reference) => self.image(reference, &stage.platform, &label, given),
            Reference::Context(name) => self.whole_context(name, &label, given),
            Reference::Scratch | Reference::Stage(_) | Reference::LaterStage(_) => self.scratch(),
        };
        let mut state = match image {
            Some(image) => StageState::on_image(root, image.config.clone()),
            None => self.blank(root, &stage.platform, given),
        };
        if let Reference::Context(name) = &stage.base {
            let created_by = format!("FROM {name}");
            state.history.push(HistoryEntry { created_by, ..HistoryEntry::default() });
        }
        state
    }

    /// A stage that begins with no config.
    fn blank(&mut self, root: OpId, platform: &Platform, given: &Given<'_>) -> StageState {
        let blank = self.blank.get_or_insert_with(|| Blank::new(root, &given.options.platform));
        blank.stage(root, platform)
    }

    fn add(
        &mut self,
        effect: Effect,
        command: &Command<'_>,
        progress: &mut Progress,
        given: &Given<'_>,
    ) {
        let Progress { state, numbers } = progress;
        let Effect { created_by, changes, step } = effect;
        let layer = step.is_some();
        if let Some(step) = step {
            let instruction = &command.instruction;
            let span = command.trigger_of.unwrap_or(instruction.span);
            let target = state.environment.get("TARGETPLATFORM");
            let numbered = numbers.next(&one_line(instruction), target);
            let label = self.label(numbered, instruction, span, given);
            let mut inputs = vec![match step.ground {
                Ground::Stage => state.root,
                Ground::Scratch => self.scratch(),
            }];
            for input in step.inputs {
                inputs.push(self.input(input, &label, given));
            }
            let done = self.graph.add(step.op, inputs, label.meta());
            state.root = match step.ground {
                Ground::Stage => done,
                Ground::Scratch => {
                    self.graph.add(Op::Merge, vec![state.root, done], label.merging())
                }
            };
        }
        state.apply(changes, created_by, layer);
    }

    fn label(
        &mut self,
        step: Step,
        instruction: &Instruction,
        span: Span,
        given: &Given<'_>,
    ) -> Label {
        let Step { name, stage, number, ignore_cache } = step;
        let line = given.lines.line(span.start);
        let entry = SourceEntry { span, line, text: instruction.text.clone(), stage, number };
        let origin = self.sources.add(entry);
        Label { name, origin, ignore_cache }
    }

    fn input(&mut self, input: Input, label: &Label, given: &Given<'_>) -> OpId {
        match input {
            Input::Named(reference) => self.named(&reference, label, given),
            Input::Fetched(source) => self.fetched(source, label),
            Input::Prepared(op, inputs) => {
                let mut ids = vec![self.scratch()];
                for input in inputs {
                    ids.push(self.input(input, label, given));
                }
                self.graph.add(*op, ids, label.preparing())
            }
        }
    }

    fn named(&mut self, reference: &Reference, label: &Label, given: &Given<'_>) -> OpId {
        match reference {
            Reference::Stage(index) => match self.finished(*index) {
                Some(stage) => stage.root,
                None => self.scratch(),
            },
            Reference::Image(name) => {
                let label = Label { name: format!("FROM {name}"), ..label.clone() };
                self.image(name, &given.options.platform, &label, given)
            }
            Reference::Context(name) => self.context(name, given),
            Reference::Scratch | Reference::LaterStage(_) => self.scratch(),
        }
    }

    fn image(
        &mut self,
        reference: &str,
        platform: &Platform,
        label: &Label,
        given: &Given<'_>,
    ) -> OpId {
        let Some(image) = given.facts.get(reference, platform) else { return self.scratch() };
        let source = ImageSource {
            reference: image.reference.clone(),
            manifest: image.manifest.clone(),
            locator: image.locator.clone(),
        };
        // Content that its digest names is never brought in anew.
        let meta = VertexMeta { ignore_cache: false, ..label.meta() };
        self.graph.add(Op::Source(SourceOp::Image(source)), Vec::new(), meta)
    }

    fn scratch(&mut self) -> OpId {
        let meta = VertexMeta { name: "scratch".to_owned(), ..VertexMeta::default() };
        self.graph.add(Op::Source(SourceOp::Scratch), Vec::new(), meta)
    }

    fn local(&mut self, name: &str) -> OpId {
        let shown = match name {
            MAIN_CONTEXT => "[internal] load build context".to_owned(),
            _ => format!("[internal] load build context {name}"),
        };
        let meta = VertexMeta { name: shown, ..VertexMeta::default() };
        let source = LocalSource { name: name.to_owned() };
        self.graph.add(Op::Source(SourceOp::Local(source)), Vec::new(), meta)
    }

    /// A directory as a stage's base: all of it, as one layer.
    fn whole_context(&mut self, name: &str, label: &Label, given: &Given<'_>) -> OpId {
        let ignore = given.options.contexts.get(name).map(NamedContext::ignore).unwrap_or_default();
        let op = Op::File(FileOp { actions: vec![FileAction::Copy(copy_root("/", ignore))] });
        let inputs = vec![self.scratch(), self.context(name, given)];
        self.graph.add(op, inputs, label.meta())
    }

    /// A context's files.
    fn context(&mut self, name: &str, given: &Given<'_>) -> OpId {
        let named = |what: &str| VertexMeta {
            name: format!("[context {name}] {what}"),
            ignore_cache: given.options.no_cache == NoCache::Everything,
            ..VertexMeta::default()
        };
        match given.options.contexts.get(name) {
            None | Some(NamedContext::Local { .. } | NamedContext::Image { .. }) => {
                self.local(name)
            }
            Some(NamedContext::Git(git)) => {
                let meta = named(&redact(&git.remote));
                self.graph.add(Op::Source(SourceOp::Git(git.clone())), Vec::new(), meta)
            }
            Some(NamedContext::Http { url }) => {
                let (source, unpack) = downloaded_context(url);
                let (meta, unpacking) = (named(&redact(url)), named("unpack"));
                let inputs = vec![self.scratch(), self.graph.add(source, Vec::new(), meta)];
                self.graph.add(unpack, inputs, unpacking)
            }
        }
    }

    /// What an instruction fetches.
    fn fetched(&mut self, source: SourceOp, label: &Label) -> OpId {
        let name = match &source {
            SourceOp::Http(http) => redact(&http.url),
            SourceOp::Git(git) => redact(&git.remote),
            SourceOp::Scratch | SourceOp::Image(_) | SourceOp::Local(_) => label.name.clone(),
        };
        let meta = VertexMeta { name, ..label.meta() };
        self.graph.add(Op::Source(source), Vec::new(), meta)
    }
}

/// A stage half planned.
struct Progress {
    state: StageState,
    numbers: Numbers,
}

/// Says which instruction an error is in, and points that of a base's trigger at the `FROM` that runs it.
pub(crate) fn place(error: Diagnostic, command: &Command<'_>) -> Diagnostic {
    let Some(from) = command.trigger_of else {
        let within = error.within.or(error.span.map(|_| command.instruction.span));
        return Diagnostic { within, ..error };
    };
    let text = &command.instruction.text;
    Diagnostic {
        span: Some(from),
        labels: Vec::new(),
        message: format!("in the base's trigger `{text}`: {}", error.message),
        ..error
    }
}

/// An instruction with its keyword in capitals.
fn one_line(instruction: &Instruction) -> String {
    let keyword = &instruction.keyword.node;
    let rest = instruction.text.get(keyword.len()..).unwrap_or_default();
    format!("{}{rest}", keyword.to_uppercase()).replace('\n', " ")
}

/// Counts the steps of one stage: `[name 2/5] `.
struct Numbers {
    /// Where the stage is built, if that is to be said.
    platform: Option<Platform>,
    stage: String,
    /// The stage's name or index, with where it is built.
    identity: String,
    done: usize,
    total: usize,
    /// Whether recorded results of the stage's steps are passed over.
    ignore_cache: bool,
}

impl Numbers {
    fn new(index: usize, given: &Given<'_>) -> Self {
        let stages = given.stages;
        let stage = &stages[index];
        let name = match (&stage.name, stages.len()) {
            (Some(name), _) => format!("{name} "),
            (None, 1) => String::new(),
            (None, _) => format!("stage-{index} "),
        };
        let steps = stage.commands.iter().filter(|command| {
            matches!(
                command.instruction.kind,
                InstructionKind::Run(_)
                    | InstructionKind::Copy(_)
                    | InstructionKind::Add(_)
                    | InstructionKind::Workdir(_)
            )
        });
        let has_base = matches!(stage.base, Reference::Image(_) | Reference::Context(_));
        let platform = match given.options.step_names {
            StepNames::Plain => None,
            StepNames::ByPlatform => Some(stage.platform.clone()),
        };
        let identity = match &stage.name {
            Some(name) => format!("{name} {}", stage.platform),
            None => format!("{index} {}", stage.platform),
        };
        let total = steps.count() + usize::from(has_base);
        let ignore_cache = given.options.no_cache.includes(index, stages);
        Self { platform, stage: name, identity, done: 0, total, ignore_cache }
    }

    /// A step that is not counted.
    fn unnumbered(&self, name: String) -> Step {
        let (stage, ignore_cache) = (self.identity.clone(), self.ignore_cache);
        Step { name, stage, number: self.done, ignore_cache }
    }

    /// The next step; `target` is the stage's `TARGETPLATFORM`, where it declares that.
    fn next(&mut self, text: &str, target: Option<&str>) -> Step {
        if self.done == self.total {
            return self.unnumbered(text.to_owned());
        }
        self.done += 1;
        let width = self.total.to_string().len();
        let platform =
            self.platform.as_ref().map(|here| platforms(here, target) + " ").unwrap_or_default();
        let name = format!("[{platform}{}{:>width$}/{}] {text}", self.stage, self.done, self.total);
        self.unnumbered(name)
    }
}

/// A step by its place in its stage.
struct Step {
    /// What people see: `[build 2/5] RUN make`.
    name: String,
    /// See [`SourceEntry::stage`].
    stage: String,
    /// See [`SourceEntry::number`].
    number: usize,
    /// Whether a recorded result is passed over.
    ignore_cache: bool,
}

/// Where a stage is built and, where that differs, for what: `linux/amd64->arm64`.
fn platforms(here: &Platform, target: Option<&str>) -> String {
    let target = target.and_then(|text| text.parse::<Platform>().ok());
    match target.filter(|target| target != here) {
        None => here.to_string(),
        Some(target) if target.os() != here.os() => format!("{here}->{target}"),
        Some(target) => {
            let whole = target.to_string();
            let rest = whole.strip_prefix(target.os()).unwrap_or(&whole);
            format!("{here}->{}", rest.trim_start_matches('/'))
        }
    }
}
