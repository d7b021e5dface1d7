//! Explanations of builds of the past, and finding a step in one.
//!
//! A build's own record says which steps there were, their keys and how they ended; the store knows what those that
//! ran were made of. What was made before the build began is what they are compared with, whatever came later.

use std::collections::{BTreeMap, BTreeSet};

use kiln_cache::{AccountRow, CacheKey, Missed, Trace};

use super::{Explanation, Facts, State, StepFacts, explain};
use crate::error::Place;
use crate::history::{Names, PastBuild, PastTask, TaskState, find};
use crate::{Engine, EngineError};

impl Engine {
    /// Why each step of a build of the past ran or did not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn explain_build(&self, build: &PastBuild) -> Result<Explanation, EngineError> {
        // A build that began anew has tasks for each attempt: the last say how it went.
        let of_vertices = || {
            let origins = build.tasks.iter().enumerate();
            origins.filter_map(|(index, task)| Some((index, task, task.origin.as_ref()?)))
        };
        let last: BTreeMap<usize, usize> =
            of_vertices().map(|(index, _, origin)| (origin.vertex, index)).collect();
        let ran: BTreeSet<CacheKey> = of_vertices()
            .filter(|(_, task, _)| task.state != TaskState::Cached)
            .filter_map(|(_, task, _)| task.key)
            .collect();
        let (mut steps, mut known) = (Vec::new(), BTreeMap::new());
        for (index, task, origin) in of_vertices() {
            if last.get(&origin.vertex) != Some(&index) {
                continue;
            }
            known.insert(index, steps.len());
            let place = (origin.at > 0).then(|| Place {
                file: origin.file.clone(),
                line: origin.at,
                source: origin.text.clone(),
            });
            steps.push(StepFacts {
                vertex: origin.vertex,
                name: task.name.clone(),
                place,
                inputs: task.inputs.iter().filter_map(|task| known.get(task).copied()).collect(),
                state: self.past_state(build, task, &ran)?,
            });
        }
        Ok(explain(&Facts {
            store: &self.store,
            layers: &self.layers,
            steps,
            before_ms: build.created_ms,
            is_filtered: !build.asked.how.no_cache,
            listings: BTreeMap::new(),
        })?)
    }

    /// How a lookup ended; `ran` are the keys of all that ran in the build, in whichever attempt.
    fn past_state(
        &self,
        build: &PastBuild,
        task: &PastTask,
        ran: &BTreeSet<CacheKey>,
    ) -> Result<State, EngineError> {
        Ok(match (task.key, task.state) {
            (None, TaskState::Done | TaskState::Cached) => State::Unrecorded,
            (None, _) => State::NotReached,
            (Some(key), TaskState::Cached) if !ran.contains(&key) => State::Hit(key),
            (Some(key), TaskState::Failed) if is_refused(build, task) => State::Refused(key),
            (Some(key), _) => {
                State::Missed(key, self.past_account(build, task, &key)?.map(Box::new))
            }
        })
    }

    /// What a step of the build was made of. Made again since, it had other reasons then.
    fn past_account(
        &self,
        build: &PastBuild,
        task: &PastTask,
        key: &CacheKey,
    ) -> Result<Option<AccountRow>, EngineError> {
        let Some(Trace::Begun(mut row)) = self.store.trace(key)? else { return Ok(None) };
        let length = i64::try_from(build.duration().as_millis()).unwrap_or(i64::MAX);
        let ended_ms = build.created_ms.saturating_add(length);
        if row.made_ms > ended_ms {
            let is_fresh = build.asked.how.no_cache || is_filtered(build, task);
            row.missed = if is_fresh { Missed::PassedOver } else { Missed::New };
        }
        Ok(Some(*row))
    }
}

/// Whether the stage of a step was one whose recorded results were passed over, as far as the step's name says.
fn is_filtered(build: &PastBuild, task: &PastTask) -> bool {
    let bracketed = task.name.strip_prefix('[').and_then(|name| name.split_once(']'));
    let stage = bracketed.and_then(|(bracketed, _)| bracketed.split_whitespace().rev().nth(1));
    let is_named = |stage: &str| {
        build.asked.how.no_cache_filter.iter().any(|filter| filter.eq_ignore_ascii_case(stage))
    };
    stage.is_some_and(is_named)
}

/// Whether a step that failed did so because no step was to run.
fn is_refused(build: &PastBuild, task: &PastTask) -> bool {
    let op = task.origin.as_ref().map_or("", |origin| &origin.op);
    build.asked.how.require_cached && matches!(op, "exec" | "file")
}

impl Explanation {
    /// The index of the step that is meant, as [`PastBuild::find_step`] has it.
    ///
    /// # Errors
    /// [`EngineError::NoStep`] when there is none, or more than one.
    pub fn find(&self, text: &str) -> Result<usize, EngineError> {
        let names = self.steps.iter().map(|step| Names {
            vertex: step.vertex,
            name: &step.name,
            file: step.place.as_ref().map_or("", |place| &place.file),
            line: step.place.as_ref().map_or(0, |place| place.line),
        });
        find(&names.collect::<Vec<_>>(), text)
    }
}
