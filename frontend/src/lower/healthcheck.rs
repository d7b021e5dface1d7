//! `HEALTHCHECK`.

use kiln_grammar::{Command, Healthcheck as Syntax, Spanned};
use kiln_image::Healthcheck;

use crate::gotext::{duration, parse_duration, plain_list};
use crate::stage::{Change, Effect};
use crate::{Diagnostic, Rule};

/// The shortest duration that a container's supervisor takes, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// Lowers `HEALTHCHECK`.
pub(super) fn lower(check: &Syntax) -> Result<Effect, Vec<Diagnostic>> {
    let test = match &check.command {
        None => vec!["NONE".to_owned()],
        Some(line) => match &line.command {
            Command::Exec(argv) => {
                ["CMD".to_owned()].into_iter().chain(argv.iter().cloned()).collect()
            }
            Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
        },
    };
    let mut errors = Vec::new();
    let mut read = |flag: &Option<Spanned<String>>| {
        let value = flag.as_ref().map_or(Ok(0), read_duration);
        value.unwrap_or_else(|error| {
            errors.push(error);
            0
        })
    };
    let (interval, timeout) = (read(&check.interval), read(&check.timeout));
    let (start_period, start_interval) = (read(&check.start_period), read(&check.start_interval));
    let retries = match check.retries.as_ref().map_or(Ok(0), read_retries) {
        Ok(retries) => retries,
        Err(error) => {
            errors.push(error);
            0
        }
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let check = Healthcheck { test, interval, timeout, start_period, start_interval, retries };
    Ok(Effect::of(created_by(&check), vec![Change::Healthcheck(check)]))
}

fn read_duration(flag: &Spanned<String>) -> Result<i64, Diagnostic> {
    let fail = |message: String| Diagnostic::error(Rule::InvalidFlagValue, flag.span, message);
    match parse_duration(&flag.node) {
        None => Err(fail(format!("`{}` is not a duration", flag.node))
            .hint("write a number with a unit, such as `30s` or `1m30s`")),
        Some(value) if value != 0 && value < SHORTEST => {
            Err(fail(format!("`{}` is too short: the least is `1ms`", flag.node)))
        }
        Some(value) => Ok(value),
    }
}

fn read_retries(flag: &Spanned<String>) -> Result<i64, Diagnostic> {
    match flag.node.parse::<i32>() {
        Ok(retries) if retries >= 0 => Ok(i64::from(retries)),
        Ok(_) | Err(_) => {
            let message = format!("`{}` is not a number of retries", flag.node);
            Err(Diagnostic::error(Rule::InvalidFlagValue, flag.span, message))
        }
    }
}

fn created_by(check: &Healthcheck) -> String {
    format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        plain_list(&check.test),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries,
    )
}
