//! How long the steps of a build are likely to take: as long as those of the same name last did.
//!
//! Commands alone are looked up. All else takes little beside them, and there may be very many.

use std::time::Duration;

use kiln_cache::DiskStore;
use kiln_ir::{Graph, Op, OpId};

use crate::EngineError;

/// By index; empty when nothing is known. A command that was not met before is taken to be like those that were,
/// on average.
pub(super) fn durations(graph: &Graph, records: &DiskStore) -> Result<Vec<Duration>, EngineError> {
    let is_command = |id: &OpId| matches!(graph.vertex(*id).op, Op::Exec(_));
    let commands: Vec<OpId> = graph.ids().filter(is_command).collect();
    // There is no choice to make.
    if commands.len() < 2 {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = commands.iter().map(|&id| graph.vertex(id).meta.name.as_str()).collect();
    let found = records.durations(&names)?;
    let known: Vec<Duration> = found.iter().flatten().copied().collect();
    let Some(average) = average(&known) else { return Ok(Vec::new()) };
    let mut expected = vec![Duration::ZERO; graph.len()];
    for (id, duration) in commands.iter().zip(found) {
        expected[id.index()] = duration.unwrap_or(average);
    }
    Ok(expected)
}

fn average(durations: &[Duration]) -> Option<Duration> {
    let count = u32::try_from(durations.len()).ok().filter(|&count| count > 0)?;
    let total = durations.iter().fold(Duration::ZERO, |all, one| all.saturating_add(*one));
    Some(total / count)
}
