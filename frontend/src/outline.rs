//! What a Dockerfile offers: its stages, and the parameters of one of them.
//!
//! A comment above an `ARG`, or above a `FROM` with a name, describes it when it begins with its name.

use std::collections::BTreeMap;

use kiln_grammar::{ArgDeclaration, Dockerfile, InstructionKind, MountFlag, Span, Spanned, Word};

use crate::environment::Environment;
use crate::expand::expand;
use crate::link::{Reference, Stage, link};
use crate::lower::lower;
use crate::stage::{Change, StageState};
use crate::survey::Survey;
use crate::{BuildOptions, Diagnostic, Facts, globals, link as names};

/// A stage that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name; nothing for one that only its number names.
    pub name: Option<String>,
    /// What is said of it.
    pub description: Option<String>,
    /// What it starts from, as written.
    pub base: String,
    /// The platform of its base, as written.
    pub platform: Option<String>,
    /// Whether it is built when none is asked for.
    pub is_default: bool,
    /// Its `FROM`.
    pub span: Span,
}

/// What a build of one stage can be given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The stage's name.
    pub name: Option<String>,
    /// What is said of it.
    pub description: Option<String>,
    /// Build arguments that have an effect, in source order.
    pub arguments: Vec<Argument>,
    /// Secrets, in source order.
    pub secrets: Vec<Secret>,
    /// Agents' sockets, in source order.
    pub ssh: Vec<Secret>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What is said of it.
    pub description: Option<String>,
    /// The value it has in this build.
    pub value: Option<String>,
    /// The `ARG` that declares it.
    pub span: Span,
}

/// A secret or an agent's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it.
    pub is_required: bool,
    /// The first `RUN` that mounts it.
    pub span: Span,
}

/// The stages of a Dockerfile, in order.
#[must_use]
pub fn targets(dockerfile: &Dockerfile) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for instruction in &dockerfile.instructions {
        let InstructionKind::From(from) = &instruction.kind else { continue };
        let name = from.stage.as_ref().map(|stage| stage.name.node.to_lowercase());
        targets.push(Target {
            description: name.as_ref().and_then(|name| described(&instruction.comments, name)),
            name,
            base: from.image.raw.clone(),
            platform: from.platform.as_ref().map(|word| word.raw.clone()),
            is_default: false,
            span: instruction.span,
        });
    }
    if let Some(last) = targets.last_mut() {
        last.is_default = true;
    }
    targets
}

/// The parameters of the stage that is asked for, and of those it needs. A base image that is not known
/// counts as one that sets nothing.
///
/// # Errors
/// When names or arguments cannot be looked up.
pub fn outline(
    dockerfile: &Dockerfile,
    options: &BuildOptions,
    facts: &Facts,
) -> Result<Outline, Vec<Diagnostic>> {
    let globals = globals::evaluate(dockerfile, options)?;
    let stages = link(dockerfile, &globals, options)?;
    let target = names::target(&stages, options).map_err(|error| vec![error])?;
    let needed = names::needed(target, &stages, options, |_| Vec::new());
    let survey = Survey::new(&stages, options, facts, &globals);
    let mut collector =
        Collector { declared: declared(dockerfile, &globals), ..Collector::default() };
    let mut states: Vec<Option<StageState>> = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let state = needed[index].then(|| collector.stage(&survey, index, stage, &states));
        states.push(state);
    }
    let name = stages[target].name.clone();
    let comments = &stages[target].from.comments;
    let mut outline = Outline {
        description: name.as_ref().and_then(|name| described(comments, name)),
        name,
        ..collector.outline
    };
    outline.arguments.sort_by_key(|argument| argument.span);
    Ok(outline)
}

/// An `ARG` above the first `FROM`.
#[derive(Debug)]
struct Global {
    argument: Argument,
    /// The variables of its default.
    uses: Vec<String>,
}

fn declared(dockerfile: &Dockerfile, globals: &Environment) -> BTreeMap<String, Global> {
    let mut declared = BTreeMap::new();
    for instruction in &dockerfile.instructions {
        if matches!(instruction.kind, InstructionKind::From(_)) {
            break;
        }
        let InstructionKind::Arg(arg) = &instruction.kind else { continue };
        for declaration in &arg.declarations {
            let name = declaration.name.raw.clone();
            let value = globals.get(&name).map(str::to_owned);
            let argument = argument(declaration, value, &instruction.comments, instruction.span);
            let uses = declaration.default.iter().flat_map(variables).collect();
            declared.insert(name, Global { argument, uses });
        }
    }
    declared
}

fn variables(word: &Word) -> Vec<String> {
    word.variables().into_iter().map(|variable| variable.name.clone()).collect()
}

fn argument(
    declaration: &ArgDeclaration,
    value: Option<String>,
    comments: &[Spanned<String>],
    span: Span,
) -> Argument {
    let name = declaration.name.raw.clone();
    Argument { description: described(comments, &name), name, value, span }
}

/// What a comment says of a name that it begins with.
fn described(comments: &[Spanned<String>], name: &str) -> Option<String> {
    let rest = |comment: &Spanned<String>| {
        let rest = comment.node.strip_prefix(name)?.strip_prefix(' ')?.trim();
        Some(rest.to_owned())
    };
    comments.iter().find_map(rest)
}

#[derive(Debug, Default)]
struct Collector {
    declared: BTreeMap<String, Global>,
    outline: Outline,
}

impl Collector {
    /// Collects what one stage takes, and answers what it comes to.
    fn stage(
        &mut self,
        survey: &Survey<'_>,
        index: usize,
        stage: &Stage<'_>,
        below: &[Option<StageState>],
    ) -> StageState {
        if let InstructionKind::From(from) = &stage.from.kind {
            for word in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
                variables(word).iter().for_each(|name| self.use_global(name));
            }
        }
        let known = |at: usize| match stage.base {
            Reference::Stage(base) if base == at => below.get(at).and_then(Option::as_ref),
            Reference::Stage(_)
            | Reference::Scratch
            | Reference::LaterStage(_)
            | Reference::Image(_)
            | Reference::Context(_) => None,
        };
        let mut state = survey.begin(stage, known);
        for command in &stage.commands {
            let instruction = &command.instruction;
            if let InstructionKind::Run(run) = &instruction.kind {
                for mount in &run.mounts {
                    self.mount(mount, &state.environment, instruction.span);
                }
            }
            // What is wrong is for checks and plans to say.
            let Ok(effect) = lower(instruction, &survey.scope(&state, index)) else { continue };
            if let InstructionKind::Arg(arg) = &instruction.kind {
                let comments = &instruction.comments;
                for (declaration, change) in arg.declarations.iter().zip(&effect.changes) {
                    let Change::Argument { value, .. } = change else { continue };
                    let argument = argument(declaration, value.clone(), comments, instruction.span);
                    self.declare(argument, declaration.default.is_some());
                }
            }
            state.apply(effect.changes, None, false);
        }
        state
    }

    /// An `ARG` of a stage. One without a default hands on the global argument of its name.
    fn declare(&mut self, argument: Argument, has_default: bool) {
        let inherits = !has_default && argument.value.is_some();
        if inherits && self.declared.contains_key(&argument.name) {
            self.use_global(&argument.name);
        } else if !(inherits && globals::is_predefined(&argument.name)) {
            self.add(argument);
        }
    }

    fn use_global(&mut self, name: &str) {
        let Some(global) = self.declared.get(name) else { return };
        let (argument, uses) = (global.argument.clone(), global.uses.clone());
        if self.add(argument) {
            uses.iter().filter(|used| *used != name).for_each(|used| self.use_global(used));
        }
    }

    /// Adds an argument unless one of its name is there.
    fn add(&mut self, argument: Argument) -> bool {
        let known = self.outline.arguments.iter().any(|one| one.name == argument.name);
        if !known {
            self.outline.arguments.push(argument);
        }
        !known
    }

    fn mount(&mut self, mount: &MountFlag, environment: &Environment, span: Span) {
        let option = |key: &str| {
            let found = mount.options.iter().rev().find(|option| option.key.node == key)?;
            let value = found.value.as_ref().map(|word| expand(word, environment));
            // An option alone is switched on.
            value.unwrap_or_else(|| Ok("true".to_owned())).ok()
        };
        let is_required = option("required").is_some_and(|value| value == "true" || value == "1");
        let named = |default: &str| option("id").unwrap_or_else(|| default.to_owned());
        let file_name = |path: String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (list, id) = match option("type").as_deref() {
            Some("secret") => {
                let target = ["target", "dst", "destination"].into_iter().find_map(option);
                let target = target.map(file_name).unwrap_or_default();
                (&mut self.outline.secrets, named(&target))
            }
            Some("ssh") => (&mut self.outline.ssh, named("default")),
            _ => return,
        };
        if !id.is_empty() && !list.iter().any(|known| known.id == id) {
            list.push(Secret { id, is_required, span });
        }
    }
}
