//! `ENV`, `LABEL` and `ARG`.

use kiln_grammar::{Arg, Pairs, Word};

use super::Scope;
use crate::environment::{Environment, Layered};
use crate::expand::expand;
use crate::stage::{Change, Effect};
use crate::{Diagnostic, Rule};

/// Lowers `ENV`.
pub(super) fn lower_env(pairs: &Pairs, scope: &Scope<'_>) -> Result<Effect, Vec<Diagnostic>> {
    let pairs = expand_pairs(pairs, scope)?;
    let created_by = created_by("ENV", &pairs);
    let changes = pairs.into_iter().map(|(name, value)| Change::Variable { name, value });
    Ok(Effect::of(created_by, changes.collect()))
}

/// Lowers `LABEL`.
pub(super) fn lower_label(pairs: &Pairs, scope: &Scope<'_>) -> Result<Effect, Vec<Diagnostic>> {
    let pairs = expand_pairs(pairs, scope)?;
    let created_by = created_by("LABEL", &pairs);
    let changes = pairs.into_iter().map(|(name, value)| Change::Label { name, value });
    Ok(Effect::of(created_by, changes.collect()))
}

fn expand_pairs(
    pairs: &Pairs,
    scope: &Scope<'_>,
) -> Result<Vec<(String, String)>, Vec<Diagnostic>> {
    let mut expanded = Vec::new();
    let mut errors = Vec::new();
    for pair in &pairs.pairs {
        match (expand_name(&pair.key, scope), expand(&pair.value, &scope.state.environment)) {
            (Ok(name), Ok(value)) => expanded.push((name, value)),
            (name, value) => errors.extend(name.err().into_iter().chain(value.err())),
        }
    }
    if errors.is_empty() { Ok(expanded) } else { Err(errors) }
}

fn expand_name(word: &Word, scope: &Scope<'_>) -> Result<String, Diagnostic> {
    let name = expand(word, &scope.state.environment)?;
    if name.is_empty() {
        let message = format!("the name `{}` comes out empty", word.raw);
        return Err(Diagnostic::error(Rule::BlankName, word.span, message));
    }
    Ok(name)
}

fn created_by(keyword: &str, pairs: &[(String, String)]) -> String {
    let texts = pairs.iter().map(|(name, value)| format!(" {name}={value}"));
    format!("{keyword}{}", texts.collect::<String>())
}

/// Lowers `ARG` inside a stage. A `--build-arg` goes before the default; without either, a global `ARG`
/// of the name gives its value.
pub(super) fn lower_arg(arg: &Arg, scope: &Scope<'_>) -> Result<Effect, Diagnostic> {
    let mut created_by = String::from("ARG");
    let mut changes = Vec::new();
    // Unlike in `ENV`, a default sees the arguments before it on the same line.
    let mut environment = Layered { over: Environment::default(), under: &scope.state.environment };
    for declaration in &arg.declarations {
        let name = expand(&declaration.name, &environment)?;
        let given = scope.options.build_args.get(&name);
        let value = match (given, &declaration.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(expand(default, &environment)?),
            (None, None) => scope.globals.get(&name).map(str::to_owned),
        };
        created_by.push(' ');
        created_by.push_str(&name);
        if let Some(value) = &value {
            created_by.push('=');
            created_by.push_str(value);
            environment.over.set(name.as_str(), value.as_str());
        }
        changes.push(Change::Argument { name, value });
    }
    Ok(Effect::of(created_by, changes))
}
