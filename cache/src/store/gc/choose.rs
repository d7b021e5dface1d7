//! What goes, and in which order: a pure function of what there is.
//!
//! Least valuable first: what takes many bytes, was not used for long, and is made again quickly. What is
//! left over has no value. Nothing goes that a process uses, and as long as not all is asked for, nothing
//! whose content a named image has and no image.

use std::collections::HashMap;

use super::inventory::{Inventory, Item};
use super::{EntryKind, Limits, Wanted};
use crate::store::Thing;

/// What was chosen.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Places in the inventory, in the order in which they go.
    pub(super) items: Vec<usize>,
    /// What goes with them, in bytes on the disk.
    pub(super) freed_bytes: u64,
}

/// Chooses from the inventory at a time, with as many bytes free on the filesystem.
pub(super) fn choose(
    inventory: &Inventory,
    wanted: &Wanted,
    now_ms: i64,
    free_bytes: u64,
) -> Chosen {
    let goal = goal(inventory.cache_bytes(), free_bytes, wanted.limits);
    let mut candidates: Vec<(f64, usize)> = inventory
        .items
        .iter()
        .enumerate()
        .filter(|(_, item)| may_go(item, wanted, now_ms))
        .map(|(at, item)| (worthlessness(item, now_ms), at))
        .collect();
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut holders: HashMap<Thing, usize> = HashMap::new();
    for thing in inventory.items.iter().flat_map(|item| &item.needs) {
        *holders.entry(*thing).or_default() += 1;
    }
    let mut chosen = Chosen::default();
    for (_, at) in candidates {
        if goal.is_some_and(|goal| chosen.freed_bytes >= goal) {
            break;
        }
        let item = &inventory.items[at];
        chosen.freed_bytes += item.own_bytes;
        for thing in &item.needs {
            let left = holders.entry(*thing).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 && !inventory.is_held(thing, wanted.all) {
                chosen.freed_bytes += inventory.size_of(thing);
            }
        }
        chosen.items.push(at);
    }
    chosen
}

/// How many bytes have to go; nothing when there is no limit.
fn goal(used_bytes: u64, free_bytes: u64, limits: Limits) -> Option<u64> {
    let Limits { max_used_bytes, reserved_bytes, min_free_bytes } = limits;
    if limits == Limits::default() {
        return None;
    }
    let mut keep = match (max_used_bytes, min_free_bytes) {
        // Only something to keep: the rest goes.
        (None, None) => 0,
        (max, _) => max.unwrap_or(used_bytes).min(used_bytes),
    };
    if let Some(min_free) = min_free_bytes {
        keep = keep.min(used_bytes.saturating_sub(min_free.saturating_sub(free_bytes)));
    }
    Some(used_bytes.saturating_sub(keep.max(reserved_bytes.unwrap_or(0))))
}

fn may_go(item: &Item, wanted: &Wanted, now_ms: i64) -> bool {
    let entry = &item.entry;
    let Wanted { all, unused_for, kinds, ids, limits: _ } = wanted;
    let old_enough = unused_for.is_none_or(|unused| {
        u128::try_from(now_ms.saturating_sub(entry.used_ms))
            .is_ok_and(|ms| ms >= unused.as_millis())
    });
    old_enough
        && !entry.in_use
        && (*all || !(entry.shared || entry.kind == EntryKind::Image))
        && (kinds.is_empty() || kinds.contains(&entry.kind))
        && (ids.is_empty() || ids.iter().any(|id| entry.id.starts_with(id.as_str())))
}

/// Bytes × age ÷ time to make it again.
#[expect(clippy::cast_precision_loss, reason = "an order of magnitude is enough for an order")]
fn worthlessness(item: &Item, now_ms: i64) -> f64 {
    let entry = &item.entry;
    if entry.kind == EntryKind::Leftover {
        return f64::INFINITY;
    }
    let age_ms = now_ms.saturating_sub(entry.used_ms).max(1);
    entry.size_bytes as f64 * age_ms as f64 / entry.duration_ms.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_keeps_every_limit() {
        let limits = |max, reserved, free| Limits {
            max_used_bytes: max,
            reserved_bytes: reserved,
            min_free_bytes: free,
        };
        for (wanted, expected) in [
            (limits(None, None, None), None),
            (limits(Some(60), None, None), Some(40)),
            (limits(Some(200), None, None), Some(0)),
            (limits(Some(0), None, None), Some(100)),
            (limits(None, Some(30), None), Some(70)),
            (limits(Some(10), Some(30), None), Some(70)),
            (limits(None, None, Some(50)), Some(0)),
            (limits(None, None, Some(90)), Some(40)),
            (limits(None, None, Some(900)), Some(100)),
            (limits(Some(80), None, Some(90)), Some(40)),
            (limits(Some(80), Some(70), Some(90)), Some(30)),
        ] {
            assert_eq!(goal(100, 50, wanted), expected, "{wanted:?}");
        }
    }
}
