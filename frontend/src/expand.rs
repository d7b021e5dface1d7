//! Values of words: variables looked up, operators applied, quotes gone.
//!
//! A word is evaluated against one snapshot of the environment. An unset variable is empty. Operands of
//! operators are evaluated whether or not they are used, so a mistake in one always shows.

mod pattern;

use kiln_grammar::{Absence, Extent, Matches, Operation, Variable, Word, WordPart};

use crate::environment::Variables;
use crate::{Diagnostic, Rule};
use pattern::Pattern;

/// The most bytes that a value may have: `ENV A=$A$A` doubles one with every line.
const MAX_VALUE_BYTES: usize = 1 << 20;

/// A word's value as one text.
pub(crate) fn expand(word: &Word, environment: &dyn Variables) -> Result<String, Diagnostic> {
    text_of(&word.parts, environment).map_err(|failure| failure.at(word))
}

/// A word's values: split at the blanks that stand outside of quotes, also those out of variables.
pub(crate) fn expand_split(
    word: &Word,
    environment: &dyn Variables,
) -> Result<Vec<String>, Diagnostic> {
    let mut words = Words::default();
    for part in &word.parts {
        words.push(part, environment).map_err(|failure| failure.at(word))?;
    }
    Ok(words.finish())
}

/// Why a word has no value.
#[derive(Debug)]
enum Failure {
    /// `${name:?message}`.
    Required { name: String, message: String },
    /// A pattern of `#`, `%` or `/` that is none.
    Pattern(String),
    /// More than [`MAX_VALUE_BYTES`].
    TooLong,
}

impl Failure {
    fn at(self, word: &Word) -> Diagnostic {
        let message = match self {
            Self::Required { name, message } => format!("`{name}`: {message}"),
            Self::Pattern(pattern) => format!("`{pattern}` is not a pattern"),
            Self::TooLong => format!("the value has more than {MAX_VALUE_BYTES} bytes"),
        };
        Diagnostic::error(Rule::Expansion, word.span, message)
    }
}

/// Words in the making; none is ever empty.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    open: Option<String>,
}

impl Words {
    fn push(&mut self, part: &WordPart, environment: &dyn Variables) -> Result<(), Failure> {
        match part {
            WordPart::Literal(text) => self.split(text),
            WordPart::Quoted(text) => self.join(text),
            WordPart::DoubleQuoted(parts) => self.join(&text_of(parts, environment)?),
            WordPart::Variable(variable) => self.split(&value_of(variable, environment)?),
        }
        Ok(())
    }

    fn join(&mut self, text: &str) {
        if !text.is_empty() {
            self.open.get_or_insert_default().push_str(text);
        }
    }

    fn split(&mut self, text: &str) {
        for ch in text.chars() {
            if ch.is_whitespace() {
                self.done.extend(self.open.take());
            } else {
                self.open.get_or_insert_default().push(ch);
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.done.extend(self.open.take());
        self.done
    }
}

fn text_of(parts: &[WordPart], environment: &dyn Variables) -> Result<String, Failure> {
    let mut text = String::new();
    for part in parts {
        match part {
            WordPart::Literal(literal) | WordPart::Quoted(literal) => text.push_str(literal),
            WordPart::DoubleQuoted(parts) => text.push_str(&text_of(parts, environment)?),
            WordPart::Variable(variable) => text.push_str(&value_of(variable, environment)?),
        }
        if text.len() > MAX_VALUE_BYTES {
            return Err(Failure::TooLong);
        }
    }
    Ok(text)
}

fn value_of(variable: &Variable, environment: &dyn Variables) -> Result<String, Failure> {
    let found = environment.get(&variable.name);
    let value = found.unwrap_or_default();
    let present = |absence: Absence| match absence {
        Absence::Unset => found.is_some(),
        Absence::UnsetOrEmpty => !value.is_empty(),
    };
    let Some(operation) = &variable.operation else { return Ok(value.to_owned()) };
    match operation {
        Operation::Default(absence, operand) => {
            let operand = text_of(operand, environment)?;
            Ok(if present(*absence) { value.to_owned() } else { operand })
        }
        Operation::Alternative(absence, operand) => {
            let operand = text_of(operand, environment)?;
            Ok(if present(*absence) { operand } else { String::new() })
        }
        Operation::Require(absence, operand) => {
            let operand = text_of(operand, environment)?;
            require(variable, *absence, operand, present(*absence).then_some(value))
        }
        Operation::TrimPrefix(extent, operand) => {
            let pattern = compile(&text_of(operand, environment)?)?;
            let end = pattern.prefix(value, *extent == Extent::Longest).unwrap_or(0);
            Ok(value[end..].to_owned())
        }
        Operation::TrimSuffix(extent, operand) => {
            let pattern = compile(&text_of(operand, environment)?)?;
            let start = pattern.suffix(value, *extent == Extent::Longest);
            Ok(value[..start.unwrap_or(value.len())].to_owned())
        }
        Operation::Replace { matches, pattern, replacement } => {
            let pattern = compile(&text_of(pattern, environment)?)?;
            let replacement = text_of(replacement, environment)?;
            Ok(match matches {
                Matches::First => pattern.replace_first(value, &replacement),
                Matches::All => pattern.replace_all(value, &replacement),
            })
        }
    }
}

fn require(
    variable: &Variable,
    absence: Absence,
    message: String,
    value: Option<&str>,
) -> Result<String, Failure> {
    if let Some(value) = value {
        return Ok(value.to_owned());
    }
    let message = match (message.is_empty(), absence) {
        (false, _) => message,
        (true, Absence::Unset) => "it must be set".to_owned(),
        (true, Absence::UnsetOrEmpty) => "it must be set and not be empty".to_owned(),
    };
    Err(Failure::Required { name: variable.name.clone(), message })
}

fn compile(text: &str) -> Result<Pattern, Failure> {
    Pattern::parse(text).ok_or_else(|| Failure::Pattern(text.to_owned()))
}

#[cfg(test)]
mod tests;
