//! Triggers: the instructions that a base leaves for the stages built on it.
//!
//! They run before the stage's own instructions, and only one stage deep.

use kiln_grammar::{InstructionKind, parse_trigger};

use crate::link::{Command, Reference, Stage, Written};
use crate::stages::Stages;
use crate::{Diagnostic, Facts, Rule};

/// Puts the triggers of bases in front of the stages' instructions, as far as the bases are known.
pub(crate) fn add_triggers(stages: &mut Stages<'_>, facts: &Facts) -> Result<(), Vec<Diagnostic>> {
    let mut errors = Vec::new();
    for index in 0..stages.len() {
        let triggers = match &stages[index].base {
            Reference::Stage(base) => Ok(left_by_stage(&stages[*base])),
            Reference::Image(reference) => {
                let image = facts.get(reference, &stages[index].platform);
                let left = image.map(|image| image.config.config.docker.on_build.as_slice());
                left_by_image(left.unwrap_or_default(), &stages[index])
            }
            Reference::Scratch | Reference::LaterStage(_) | Reference::Context(_) => Ok(Vec::new()),
        };
        match triggers {
            Ok(triggers) => drop(stages.commands_mut(index).splice(0..0, triggers)),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn left_by_stage<'a>(base: &Stage<'a>) -> Vec<Command<'a>> {
    let trigger = |command: &Command<'a>| {
        let InstructionKind::Onbuild(onbuild) = &command.instruction.kind else { return None };
        let instruction = Written::Trigger(onbuild.trigger.clone());
        Some(Command { instruction, trigger_of: command.trigger_of })
    };
    base.commands.iter().filter_map(trigger).collect()
}

fn left_by_image<'a>(
    texts: &[String],
    stage: &Stage<'a>,
) -> Result<Vec<Command<'a>>, Vec<Diagnostic>> {
    let span = stage.base_span();
    let mut commands = Vec::new();
    let mut errors = Vec::new();
    for text in texts {
        match parse_trigger(text) {
            Ok(instruction) => commands.push(Command {
                instruction: Written::Trigger(Box::new(instruction)),
                trigger_of: Some(span),
            }),
            Err(found) => errors.extend(found.iter().map(|error| {
                let message = format!("the base's trigger `{text}` cannot be read: {error}");
                Diagnostic::error(Rule::InvalidTrigger, span, message)
            })),
        }
    }
    if errors.is_empty() { Ok(commands) } else { Err(errors) }
}
