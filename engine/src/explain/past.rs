//! Explanations of builds of the past, and finding a step in one.
//!
//! A build's own record says which steps there were, their keys and how they ended; the store knows what those that
//! ran were made of. What was made before the build began is what they are compared with, whatever came later.

use std::collections::BTreeMap;

use kiln_cache::{AccountRow, CacheKey, Missed, Trace};
use kiln_grammar::nearest;

use super::{Explanation, Facts, State, StepFacts, explain};
use crate::error::Place;
use crate::history::{PastBuild, PastTask, TaskState};
use crate::{Engine, EngineError};

/// Steps that are named where several are meant.
const MAX_NAMED: usize = 8;

impl Engine {
    /// Why each step of a build of the past ran or did not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn explain_build(&self, build: &PastBuild) -> Result<Explanation, EngineError> {
        let tasks: Vec<(usize, &PastTask)> =
            build.tasks.iter().enumerate().filter(|(_, task)| task.origin.is_some()).collect();
        let index: BTreeMap<usize, usize> =
            tasks.iter().enumerate().map(|(at, (task, _))| (*task, at)).collect();
        let mut steps = Vec::new();
        for (_, task) in &tasks {
            let Some(origin) = &task.origin else { continue };
            let place = (origin.at > 0).then(|| Place {
                file: origin.file.clone(),
                line: origin.at,
                source: origin.text.clone(),
            });
            steps.push(StepFacts {
                vertex: origin.vertex,
                name: task.name.clone(),
                place,
                inputs: task.inputs.iter().filter_map(|task| index.get(task).copied()).collect(),
                state: self.past_state(build, task)?,
            });
        }
        Ok(explain(&Facts {
            store: &self.store,
            layers: &self.layers,
            steps,
            before_ms: build.created_ms,
            listings: BTreeMap::new(),
        })?)
    }

    fn past_state(&self, build: &PastBuild, task: &PastTask) -> Result<State, EngineError> {
        Ok(match (task.key, task.state) {
            (None, TaskState::Waiting) => State::NotReached,
            (None, _) => State::Unrecorded,
            (Some(key), TaskState::Cached) => State::Hit(key),
            (Some(key), _) => State::Missed(key, self.past_account(build, &key)?.map(Box::new)),
        })
    }

    /// What a step of the build was made of. Made again since, it had other reasons then.
    fn past_account(
        &self,
        build: &PastBuild,
        key: &CacheKey,
    ) -> Result<Option<AccountRow>, EngineError> {
        let Some(Trace::Begun(mut row)) = self.store.trace(key)? else { return Ok(None) };
        let length = i64::try_from(build.duration().as_millis()).unwrap_or(i64::MAX);
        let ended_ms = build.created_ms.saturating_add(length);
        if row.made_ms > ended_ms {
            row.missed = if build.asked.how.no_cache { Missed::PassedOver } else { Missed::New };
        }
        Ok(Some(*row))
    }
}

impl Explanation {
    /// The index of the step that is meant: by its index in the build graph, by a line of the Dockerfile
    /// (`Dockerfile:7` or `:7`), or by a part of its name that only it has.
    ///
    /// # Errors
    /// [`EngineError::NoStep`] when there is none, or more than one.
    pub fn find(&self, text: &str) -> Result<usize, EngineError> {
        let meant: Vec<usize> = match text.parse::<usize>() {
            Ok(vertex) => self.all(|step| step.vertex == vertex),
            Err(_) => match line_of(text) {
                Some((file, line)) => self.all(|step| {
                    step.place.as_ref().is_some_and(|p| p.line == line && p.file.ends_with(file))
                }),
                None => {
                    let text = plain(text);
                    let whole = self.all(|step| plain(&step.name) == text);
                    if whole.is_empty() {
                        self.all(|step| plain(&step.name).contains(&text))
                    } else {
                        whole
                    }
                }
            },
        };
        if let [only] = meant[..] {
            return Ok(only);
        }
        let hints = if meant.is_empty() {
            let names: Vec<&str> = self.steps.iter().map(|step| step.name.as_str()).collect();
            nearest(text, &names)
                .map(|name| format!("did you mean `{name}`?"))
                .into_iter()
                .collect()
        } else {
            let named = meant.iter().take(MAX_NAMED);
            let name = |index: &usize| {
                format!("{}: {}", self.steps[*index].vertex, self.steps[*index].name)
            };
            named.map(name).collect()
        };
        let several = meant.len() > 1;
        Err(EngineError::NoStep { reference: text.to_owned(), several, hints })
    }

    fn all(&self, wanted: impl Fn(&super::ExplainedStep) -> bool) -> Vec<usize> {
        (0..self.steps.len()).filter(|index| wanted(&self.steps[*index])).collect()
    }
}

/// A file and a line: `Dockerfile:7`, `:7`.
fn line_of(text: &str) -> Option<(&str, usize)> {
    let (file, line) = text.rsplit_once(':')?;
    Some((file, line.parse().ok()?)).filter(|_| !text.contains(' '))
}

/// A name without the blanks that line numbers up.
fn plain(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}
