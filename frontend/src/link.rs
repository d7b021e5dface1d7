//! Which stages there are, what each rests on and reads from, and which of them the target needs.
//!
//! Names are looked up in this order: `--build-context`, a stage above, `scratch`, an image. Everything
//! that can be said without knowing an image's config is said here, for all stages.

use std::ops::Deref;

use kiln_grammar::{Dockerfile, Instruction, InstructionKind, Span};
use kiln_image::{ImageRef, Platform};

use crate::environment::Environment;
use crate::expand::expand;
use crate::stages::Stages;
use crate::{BuildOptions, Diagnostic, NamedContext, Rule};

/// One stage as written, with its names looked up.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// Its name in lower case.
    pub(crate) name: Option<String>,
    /// What it starts from.
    pub(crate) base: Reference,
    /// The base as written, after expansion.
    pub(crate) base_text: String,
    /// The platform of its base image.
    pub(crate) platform: Platform,
    /// Its `FROM`.
    pub(crate) from: &'a Instruction,
    /// What follows, with the triggers of its base in front once they are known.
    pub(crate) commands: Vec<Command<'a>>,
}

/// An instruction of a stage.
#[derive(Debug, Clone)]
pub(crate) struct Command<'a> {
    /// The instruction.
    pub(crate) instruction: Written<'a>,
    /// The `FROM` of a base image's trigger; then the instruction's own spans mean nothing here.
    pub(crate) trigger_of: Option<Span>,
}

/// Where an instruction stands. Small: a file may have very many.
#[derive(Debug, Clone)]
pub(crate) enum Written<'a> {
    /// In the file.
    Here(&'a Instruction),
    /// In a trigger of the base.
    Trigger(Box<Instruction>),
}

impl Deref for Written<'_> {
    type Target = Instruction;

    fn deref(&self) -> &Instruction {
        match self {
            Self::Here(instruction) => instruction,
            Self::Trigger(instruction) => instruction,
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// The empty filesystem.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// A stage that comes later; an error once the stage that names it is needed.
    LaterStage(usize),
    /// An image, by the name its fact is asked for.
    Image(String),
    /// A directory, by its context's name.
    Context(String),
}

/// A name that an instruction reads from.
struct Mention<'a> {
    text: &'a str,
    span: Span,
}

/// Takes a Dockerfile apart into stages.
pub(crate) fn link<'a>(
    dockerfile: &'a Dockerfile,
    globals: &Environment,
    options: &BuildOptions,
) -> Result<Stages<'a>, Vec<Diagnostic>> {
    let (stages, errors) = all(dockerfile, globals, options);
    if errors.is_empty() { Ok(stages) } else { Err(errors) }
}

/// All stages, those that are wrong as ones on nothing, and all that is wrong, in source order.
pub(crate) fn all<'a>(
    dockerfile: &'a Dockerfile,
    globals: &Environment,
    options: &BuildOptions,
) -> (Stages<'a>, Vec<Diagnostic>) {
    let mut errors = Vec::new();
    let mut stages = Stages::default();
    for instruction in &dockerfile.instructions {
        match (&instruction.kind, stages.len().checked_sub(1)) {
            (InstructionKind::From(from), _) => {
                match open_stage(instruction, from, &stages, globals, options) {
                    Ok(stage) => stages.push(stage),
                    Err(error) => {
                        errors.push(error);
                        // The rest of the stage is still worth reading.
                        stages.push(broken_stage(instruction, from, options));
                    }
                }
            }
            (_, Some(stage)) => stages
                .commands_mut(stage)
                .push(Command { instruction: Written::Here(instruction), trigger_of: None }),
            // Only `ARG` may stand here; the parser says so.
            (_, None) => {}
        }
    }
    for index in 0..stages.len() {
        if stages[index].is_replaced(options) {
            stages.commands_mut(index).clear();
        }
    }
    for index in 0..stages.len() {
        for command in &stages[index].commands {
            errors.extend(check_mentions(&command.instruction, index, &stages, options));
        }
    }
    if stages.is_empty() && errors.is_empty() {
        let error = Diagnostic::error(Rule::NoStage, Span::default(), "there is no `FROM`");
        errors.push(Diagnostic { span: None, ..error }.hint("begin with `FROM image`"));
    }
    errors.sort_by_key(|error| error.span);
    (stages, errors)
}

fn open_stage<'a>(
    instruction: &'a Instruction,
    from: &'a kiln_grammar::From,
    earlier: &Stages<'a>,
    globals: &Environment,
    options: &BuildOptions,
) -> Result<Stage<'a>, Diagnostic> {
    let base_text = expand(&from.image, globals)?;
    if base_text.is_empty() {
        let message = format!("the base `{}` comes out empty", from.image.raw);
        return Err(Diagnostic::error(Rule::BlankBase, from.image.span, message)
            .hint("a `FROM` sees only the `ARG`s above the first `FROM`: give one a default there, or use `--build-arg`"));
    }
    let platform = match &from.platform {
        None => options.platform.clone(),
        Some(word) => {
            let text = expand(word, globals)?;
            text.parse::<Platform>().map_err(|_| {
                let message = format!("`{text}` is not a platform");
                Diagnostic::error(Rule::InvalidPlatform, word.span, message)
                    .hint("write it as `os/architecture`, such as `linux/arm64`")
            })?
        }
    };
    let stage = earlier.last_named(&base_text);
    let base = match (context(&base_text, &platform, options), stage) {
        (Some(found), _) => found?,
        (None, Some(index)) => Reference::Stage(index),
        (None, None) => image(&base_text, from.image.span)?,
    };
    let mut stage = Stage { base, base_text, platform, ..broken_stage(instruction, from, options) };
    // A context takes the place of the stage of its name, with all its instructions.
    if let Some(name) = &stage.name
        && let Some(found) = context(name, &stage.platform, options)
    {
        stage.base = found?;
        stage.base_text.clone_from(name);
    }
    Ok(stage)
}

/// A stage on nothing.
fn broken_stage<'a>(
    instruction: &'a Instruction,
    from: &'a kiln_grammar::From,
    options: &BuildOptions,
) -> Stage<'a> {
    Stage {
        name: from.stage.as_ref().map(|stage| stage.name.node.to_lowercase()),
        base: Reference::Scratch,
        base_text: from.image.raw.clone(),
        platform: options.platform.clone(),
        from: instruction,
        commands: Vec::new(),
    }
}

impl Stage<'_> {
    /// Whether a `--build-context` of the stage's name stands in for it.
    fn is_replaced(&self, options: &BuildOptions) -> bool {
        self.name.as_ref().is_some_and(|name| context(name, &self.platform, options).is_some())
    }

    /// The first vertex's place for messages: the base's name in `FROM`.
    pub(crate) fn base_span(&self) -> Span {
        if let InstructionKind::From(from) = &self.from.kind {
            from.image.span
        } else {
            self.from.span
        }
    }
}

/// Looks up the name of a `--from` or of a mount's `from`.
pub(crate) fn resolve(
    text: &str,
    span: Span,
    stage: usize,
    stages: &Stages<'_>,
    options: &BuildOptions,
) -> Result<Reference, Diagnostic> {
    if let Some(found) = context(text, &options.platform, options) {
        return found;
    }
    let lower = text.to_lowercase();
    let found = match text.parse::<usize>() {
        Ok(index) if index < stages.len() => Some(index),
        Ok(index) => return Err(no_such_index(index, span, stages.len())),
        Err(_) => {
            let own_name = (stages[stage].name.as_ref() == Some(&lower)).then_some(stage);
            stages
                .last_named_before(&lower, stage)
                .or(own_name)
                .or_else(|| stages.first_named(&lower))
        }
    };
    match found {
        None => image(text, span),
        Some(index) if index < stage => Ok(Reference::Stage(index)),
        Some(index) if index == stage => {
            let message = format!("the stage `{text}` cannot read from itself");
            Err(Diagnostic::error(Rule::StageCycle, span, message)
                .label(stages[stage].from.span, "the stage begins here"))
        }
        Some(index) => Ok(Reference::LaterStage(index)),
    }
}

fn no_such_index(index: usize, span: Span, count: usize) -> Diagnostic {
    let message = format!("there is no stage {index}");
    Diagnostic::error(Rule::MissingStage, span, message)
        .hint(format!("stages are counted from 0, and there are {count}"))
}

/// What a `--build-context` of this name stands for. `name::platform` goes before `name`; the tag
/// `latest`, and what every name on Docker Hub begins with, may be left out on either side. What is found
/// is not looked up again, so that a context may stand for the image of its own name.
fn context(
    text: &str,
    platform: &Platform,
    options: &BuildOptions,
) -> Option<Result<Reference, Diagnostic>> {
    // Most builds name none, and spelling out what would be looked for is a good part of planning.
    if options.contexts.is_empty() {
        return None;
    }
    let familiar =
        text.parse::<ImageRef>().map_or_else(|_| text.to_owned(), |name| name.familiar());
    let short = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    let candidates = [
        format!("{text}::{platform}"),
        text.to_owned(),
        format!("{short}::{platform}"),
        short.to_owned(),
        format!("{short}:latest"),
    ];
    let (name, context) =
        candidates.iter().find_map(|name| options.contexts.get_key_value(name.as_str()))?;
    Some(match context {
        NamedContext::Local { .. } | NamedContext::Git(_) | NamedContext::Http { .. } => {
            Ok(Reference::Context(name.clone()))
        }
        NamedContext::Image { reference } => image(reference, Span::default()).map_err(|error| {
            Diagnostic { span: None, ..error }
                .hint(format!("it comes from `--build-context {name}`"))
        }),
    })
}

/// An image's name in full.
fn image(text: &str, span: Span) -> Result<Reference, Diagnostic> {
    if text == "scratch" {
        return Ok(Reference::Scratch);
    }
    if text.starts_with("oci-layout://") {
        return Ok(Reference::Image(text.to_owned()));
    }
    let name = text.strip_prefix("docker-image://").unwrap_or(text);
    match name.parse::<ImageRef>() {
        Ok(reference) => Ok(Reference::Image(reference.to_string())),
        Err(error) => Err(Diagnostic::error(Rule::InvalidReference, span, error.to_string())),
    }
}

/// What an instruction reads from by name.
fn mentions(instruction: &Instruction) -> Vec<Mention<'_>> {
    match &instruction.kind {
        InstructionKind::Copy(copy) => {
            copy.from.iter().map(|from| Mention { text: &from.node, span: from.span }).collect()
        }
        InstructionKind::Run(run) => run
            .mounts
            .iter()
            .flat_map(|mount| &mount.options)
            .filter(|option| option.key.node == "from")
            .filter_map(|option| option.value.as_ref())
            .filter(|value| !value.raw.is_empty())
            .map(|value| Mention { text: &value.raw, span: value.span })
            .collect(),
        InstructionKind::From(_)
        | InstructionKind::Cmd(_)
        | InstructionKind::Entrypoint(_)
        | InstructionKind::Shell(_)
        | InstructionKind::Add(_)
        | InstructionKind::Env(_)
        | InstructionKind::Label(_)
        | InstructionKind::Arg(_)
        | InstructionKind::Expose(_)
        | InstructionKind::User(_)
        | InstructionKind::Workdir(_)
        | InstructionKind::Volume(_)
        | InstructionKind::Stopsignal(_)
        | InstructionKind::Healthcheck(_)
        | InstructionKind::Onbuild(_)
        | InstructionKind::Maintainer(_) => Vec::new(),
    }
}

fn check_mentions(
    instruction: &Instruction,
    stage: usize,
    stages: &Stages<'_>,
    options: &BuildOptions,
) -> Vec<Diagnostic> {
    let check = |mention: &Mention<'_>| {
        if mention.text.contains('$') {
            let message = format!("`{}`: variables are not expanded here", mention.text);
            return Some(
                Diagnostic::error(Rule::VariableNotExpanded, mention.span, message)
                    .hint("name a stage with `FROM $VARIABLE AS name` and read from that"),
            );
        }
        resolve(mention.text, mention.span, stage, stages, options).err()
    };
    mentions(instruction).iter().filter_map(check).collect()
}

/// Everything that an instruction reads from; names that stand for nothing are left out, they have been
/// reported.
pub(crate) fn references(
    instruction: &Instruction,
    stage: usize,
    stages: &Stages<'_>,
    options: &BuildOptions,
) -> Vec<(Reference, Span)> {
    mentions(instruction)
        .iter()
        .filter_map(|mention| {
            let found = resolve(mention.text, mention.span, stage, stages, options).ok()?;
            Some((found, mention.span))
        })
        .collect()
}

/// The stage that is asked for: by name or index, or the last one.
pub(crate) fn target(stages: &Stages<'_>, options: &BuildOptions) -> Result<usize, Diagnostic> {
    let Some(wanted) = &options.target else { return Ok(stages.len() - 1) };
    let lower = wanted.to_lowercase();
    let by_name = stages.last_named(&lower);
    let by_index = wanted.parse::<usize>().ok().filter(|index| *index < stages.len());
    by_name.or(by_index).ok_or_else(|| {
        let names: Vec<&str> = stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let message = format!("there is no stage `{wanted}` to build");
        let error = Diagnostic::error(Rule::MissingStage, Span::default(), message);
        let error = Diagnostic { span: None, ..error }.suggest(&lower, &names);
        match (error.hints.is_empty(), names.is_empty()) {
            (true, false) => error.hint(format!("the stages are: `{}`", names.join("`, `"))),
            (true, true) => error.hint("no stage has a name; give one with `FROM image AS name`"),
            (false, _) => error,
        }
    })
}

/// The stages that the target needs, by index: itself, what they rest on and what they read from. `also` answers
/// what a stage needs besides, all of it above.
pub(crate) fn needed(
    target: usize,
    stages: &Stages<'_>,
    options: &BuildOptions,
    also: impl Fn(usize) -> Vec<usize>,
) -> Vec<bool> {
    let mut needed = vec![false; stages.len()];
    needed[target] = true;
    // What a stage needs comes before it, so one walk backwards finds all.
    for index in (0..=target).rev() {
        if !needed[index] {
            continue;
        }
        let stage = &stages[index];
        let read = stage
            .commands
            .iter()
            .flat_map(|command| references(&command.instruction, index, stages, options));
        let all = read.map(|(reference, _)| reference).chain([stage.base.clone()]);
        for reference in all.collect::<Vec<_>>() {
            if let Reference::Stage(earlier) = reference {
                needed[earlier] = true;
            }
        }
        for earlier in also(index) {
            needed[earlier] = true;
        }
    }
    needed
}
