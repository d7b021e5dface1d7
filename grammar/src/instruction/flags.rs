//! The flags an instruction knows, and the ones it was given.

use crate::error::SyntaxErrorKind;
use crate::suggest::nearest;
use crate::text::{Slice, Text};
use crate::word::{Span, Spanned, Word};

use super::Context;

/// A flag that an instruction knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlagSpec {
    name: &'static str,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `--name=value`, once.
    Value,
    /// `--name=value`, any number of times.
    Values,
    /// `--name` or `--name=true` or `--name=false`, once.
    Switch,
}

/// A flag with a value that is given at most once.
pub(crate) const fn value(name: &'static str) -> FlagSpec {
    FlagSpec { name, shape: Shape::Value }
}

/// A flag with a value that may be given again.
pub(crate) const fn values(name: &'static str) -> FlagSpec {
    FlagSpec { name, shape: Shape::Values }
}

/// A flag that is on or off.
pub(crate) const fn switch(name: &'static str) -> FlagSpec {
    FlagSpec { name, shape: Shape::Switch }
}

/// The flags an instruction was given, all of them known to it and well formed.
#[derive(Debug)]
pub(crate) struct Flags<'a> {
    given: Vec<Flag<'a>>,
}

#[derive(Debug)]
struct Flag<'a> {
    name: &'static str,
    value: Value<'a>,
}

#[derive(Debug)]
enum Value<'a> {
    Text(Slice<'a>),
    Switch(bool),
}

impl<'a> Flags<'a> {
    /// Reads flags as an instruction's specs say. Whatever is wrong goes to the context and is left out.
    pub(crate) fn read(
        instruction: &'static str,
        specs: &[FlagSpec],
        given: &'a [(Text, Span)],
        context: &mut Context<'_>,
    ) -> Self {
        let mut flags = Self { given: Vec::new() };
        for (text, span) in given {
            let whole = text.whole();
            let name_end = whole.as_str().find('=').unwrap_or(whole.as_str().len());
            let name = whole.as_str().get(2..name_end).unwrap_or_default();
            let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
                let names: Vec<_> = specs.iter().map(|spec| spec.name).collect();
                let nearest = nearest(name, &names);
                let name = name.to_owned();
                let cause = SyntaxErrorKind::UnknownFlag { instruction, name, nearest };
                context.error(*span, cause);
                continue;
            };
            if spec.shape != Shape::Values && flags.has(spec.name) {
                context.error(*span, SyntaxErrorKind::DuplicateFlag { flag: spec.name });
                continue;
            }
            let text = (name_end < whole.as_str().len()).then(|| whole.from(name_end + 1));
            match spec.interpret(text) {
                Ok(value) => flags.given.push(Flag { name: spec.name, value }),
                Err(cause) => context.error(*span, cause),
            }
        }
        flags
    }

    fn has(&self, name: &str) -> bool {
        self.given.iter().any(|flag| flag.name == name)
    }

    /// The texts a flag was given, in written order.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = Slice<'a>> {
        self.given.iter().filter(move |flag| flag.name == name).filter_map(|flag| {
            match flag.value {
                Value::Text(text) => Some(text),
                Value::Switch(_) => None,
            }
        })
    }

    /// The text a flag was given, not expanded.
    pub(crate) fn string(&self, name: &str) -> Option<Spanned<String>> {
        self.texts(name).next().map(Slice::spanned)
    }

    /// The texts a flag was given, not expanded.
    pub(crate) fn strings(&self, name: &str) -> Vec<Spanned<String>> {
        self.texts(name).map(Slice::spanned).collect()
    }

    /// The word a flag was given.
    pub(crate) fn word(&self, name: &str, context: &mut Context<'_>) -> Option<Word> {
        self.texts(name).next().map(|text| context.word(text))
    }

    /// What a switch was set to, if it was.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.given.iter().find(|flag| flag.name == name).and_then(|flag| match flag.value {
            Value::Switch(on) => Some(on),
            Value::Text(_) => None,
        })
    }
}

impl FlagSpec {
    fn interpret(self, text: Option<Slice<'_>>) -> Result<Value<'_>, SyntaxErrorKind> {
        let flag = self.name;
        match (self.shape, text) {
            (Shape::Switch, None) => Ok(Value::Switch(true)),
            (Shape::Switch, Some(text)) => match text.as_str().to_ascii_lowercase().as_str() {
                "true" => Ok(Value::Switch(true)),
                "false" => Ok(Value::Switch(false)),
                other => Err(SyntaxErrorKind::InvalidSwitch { flag, value: other.to_owned() }),
            },
            (Shape::Value | Shape::Values, Some(text)) => Ok(Value::Text(text)),
            (Shape::Value | Shape::Values, None) => Err(SyntaxErrorKind::MissingFlagValue { flag }),
        }
    }
}
