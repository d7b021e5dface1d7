//! What a build spent its time on.

use std::time::Duration;

use super::past::{PastBuild, PastTask};

impl PastBuild {
    /// The chain of steps that took longest, from its first step to its last, as indices of tasks. With any number
    /// of jobs the build could not have been faster.
    #[must_use]
    pub fn critical_path(&self) -> Vec<usize> {
        let took = |task: &PastTask| task.duration().unwrap_or_default();
        // The longest chain that ends with each task, and the step before it in that chain.
        let mut longest: Vec<(Duration, Option<usize>)> = Vec::with_capacity(self.tasks.len());
        for task in &self.tasks {
            let before = task.inputs.iter().copied().max_by_key(|&input| longest[input].0);
            let until = before.map(|input| longest[input].0).unwrap_or_default();
            longest.push((until.saturating_add(took(task)), before));
        }
        let steps = (0..self.tasks.len()).filter(|&index| self.tasks[index].is_step());
        let mut at = steps.max_by_key(|&index| longest[index].0);
        let mut path = Vec::new();
        while let Some(index) = at {
            if self.tasks[index].is_step() && self.tasks[index].started.is_some() {
                path.push(index);
            }
            at = longest[index].1;
        }
        path.reverse();
        path
    }

    /// A row for each task that started, so that no two tasks of one row ran at the same time; as few rows as can
    /// be, numbered from 0. Nothing for a task that never started.
    #[must_use]
    pub fn slots(&self) -> Vec<Option<usize>> {
        let end = self.duration();
        let mut order: Vec<usize> =
            (0..self.tasks.len()).filter(|&index| self.tasks[index].started.is_some()).collect();
        order.sort_by_key(|&index| self.tasks[index].started);
        let mut slots = vec![None; self.tasks.len()];
        // When each row is free again.
        let mut free: Vec<Duration> = Vec::new();
        for index in order {
            let task = &self.tasks[index];
            let started = task.started.unwrap_or_default();
            let ended = task.ended.unwrap_or(end).max(started);
            let slot = free.iter().position(|&until| until <= started).unwrap_or(free.len());
            if slot == free.len() {
                free.push(ended);
            } else {
                free[slot] = ended;
            }
            slots[index] = Some(slot);
        }
        slots
    }
}
