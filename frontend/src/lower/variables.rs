//! `ENV`, `LABEL` and `ARG`.

use kiln_grammar::{Arg, Pairs};

use super::Scope;
use crate::environment::{Environment, Layered};
use crate::expand::expand;
use crate::stage::{Change, Effect};
use crate::{Diagnostic, Rule};

/// Lowers `ENV`.
pub(super) fn lower_env(pairs: &Pairs, scope: &Scope<'_>) -> Result<Effect, Diagnostic> {
    let pairs = expand_pairs(pairs, scope)?;
    let created_by = created_by("ENV", &pairs);
    let changes = pairs.into_iter().map(|(name, value)| Change::Variable { name, value });
    Ok(Effect::of(created_by, changes.collect()))
}

/// Lowers `LABEL`.
pub(super) fn lower_label(pairs: &Pairs, scope: &Scope<'_>) -> Result<Effect, Diagnostic> {
    let pairs = expand_pairs(pairs, scope)?;
    let created_by = created_by("LABEL", &pairs);
    let changes = pairs.into_iter().map(|(name, value)| Change::Label { name, value });
    Ok(Effect::of(created_by, changes.collect()))
}

fn expand_pairs(pairs: &Pairs, scope: &Scope<'_>) -> Result<Vec<(String, String)>, Diagnostic> {
    let environment = &scope.state.environment;
    let mut expanded = Vec::new();
    for pair in &pairs.pairs {
        let name = expand(&pair.key, environment)?;
        if name.is_empty() {
            let message = format!("the name `{}` comes out empty", pair.key.raw);
            return Err(Diagnostic::error(Rule::BlankName, pair.key.span, message));
        }
        expanded.push((name, expand(&pair.value, environment)?));
    }
    Ok(expanded)
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
