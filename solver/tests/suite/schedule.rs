//! The schedule alone: tables of virtual time, and random graphs against an oracle.

use std::collections::{BTreeMap, BTreeSet};

use crate::tables::{self, Table};
use kiln_ir::{Graph, GraphBuilder, OpId, VertexMeta};
use kiln_solver::{OpState, Outcome, Schedule};
use proptest::prelude::*;

/// In these tables each vertex has a duration, and perhaps the word `fails`.
#[test]
fn traces() {
    tables::check("schedule", |script| {
        let mut lines: Vec<&str> = script.lines().collect();
        let targets = take(&mut lines, "targets ");
        let jobs = take(&mut lines, "jobs ").parse().unwrap();
        let table = Table::parse(lines);
        simulate(&table, &table.all(targets), jobs)
    });
}

fn take<'a>(lines: &mut Vec<&'a str>, key: &str) -> &'a str {
    let position = lines.iter().position(|line| line.starts_with(key)).unwrap();
    lines.remove(position).strip_prefix(key).unwrap()
}

/// Lets virtual time pass from one end of a step to the next.
fn simulate(table: &Table, targets: &[OpId], jobs: usize) -> String {
    let mut schedule = Schedule::new(&table.graph, targets);
    let mut now = 0;
    let mut ends: BTreeSet<(u64, OpId)> = BTreeSet::new();
    let mut trace = String::new();
    loop {
        while schedule.running() < jobs
            && let Some(id) = schedule.next_ready()
        {
            trace += &format!("{now:>3} start {}\n", table.name(id));
            ends.insert((now + table.words[&id][0].parse::<u64>().unwrap(), id));
        }
        let Some((at, id)) = ends.pop_first() else { break };
        now = at;
        let outcome = if table.says(id, "fails") { Outcome::Failed } else { Outcome::Done };
        trace +=
            &format!("{now:>3} {} {}\n", format!("{outcome:?}").to_lowercase(), table.name(id));
        for needless in schedule.finished(id, outcome) {
            trace += &format!("{now:>3} stop {}\n", table.name(needless));
            ends.retain(|(_, id)| *id != needless);
            assert!(schedule.finished(needless, Outcome::Stopped).is_empty());
        }
    }
    for id in table.graph.ids() {
        match schedule.state(id) {
            Some(OpState::Skipped) => trace += &format!("    skipped {}\n", table.name(id)),
            None => trace += &format!("    unwanted {}\n", table.name(id)),
            Some(OpState::Done | OpState::Failed) => {}
            Some(state) => panic!("{} is left {state:?}", table.name(id)),
        }
    }
    trace
}

#[test]
fn stopping_leaves_what_runs() {
    let table = Table::parse(["a", "b <- a", "c", "d <- b c"]);
    let [a, b, c, d] = table.all("a b c d")[..] else { panic!() };
    let mut schedule = Schedule::new(&table.graph, &[d]);
    assert_eq!(schedule.next_ready(), Some(a));
    schedule.stop();
    assert_eq!(schedule.next_ready(), None);
    assert_eq!(schedule.running(), 1);
    assert!(schedule.finished(a, Outcome::Done).is_empty());
    assert_eq!(schedule.running(), 0);
    assert_eq!(schedule.next_ready(), None);
    let states = [a, b, c, d].map(|id| schedule.state(id).unwrap());
    assert_eq!(states, [OpState::Done, OpState::Skipped, OpState::Skipped, OpState::Skipped]);
}

/// A graph, what is wanted of it, what fails, and in which order running steps end.
#[derive(Debug, Clone)]
struct Case {
    graph: Graph,
    targets: Vec<OpId>,
    fails: BTreeSet<OpId>,
    jobs: usize,
    picks: Vec<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let inputs =
        prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40);
    let targets = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    let fails = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    let picks = prop::collection::vec(any::<usize>(), 80);
    (inputs, targets, fails, 1_usize..6, picks).prop_map(|(inputs, targets, fails, jobs, picks)| {
        let mut builder = GraphBuilder::new();
        let mut ids: Vec<OpId> = Vec::new();
        for (index, inputs) in inputs.iter().enumerate() {
            let inputs = inputs.iter().filter(|_| index > 0).map(|i| *i.get(&ids)).collect();
            let op = tables::exec(&index.to_string());
            ids.push(builder.add(op, inputs, VertexMeta::default()));
        }
        let pick = |indices: &[prop::sample::Index]| indices.iter().map(|i| *i.get(&ids)).collect();
        let targets: Vec<OpId> = pick(&targets);
        let fails: Vec<OpId> = pick(&fails);
        Case { graph: builder.finish(), targets, fails: fails.into_iter().collect(), jobs, picks }
    })
}

/// All that `id` needs, itself too.
fn needs(graph: &Graph, id: OpId) -> BTreeSet<OpId> {
    let mut all = BTreeSet::from([id]);
    for &input in &graph.vertex(id).inputs {
        all.extend(needs(graph, input));
    }
    all
}

proptest! {
    #[test]
    fn any_order_of_ends_agrees_with_a_sequential_walk(case in cases()) {
        let Case { graph, targets, fails, jobs, picks } = case;
        let mut schedule = Schedule::new(&graph, &targets);
        let mut picks = picks.into_iter();
        let mut running: Vec<OpId> = Vec::new();
        let mut started = BTreeSet::new();
        loop {
            while schedule.running() < jobs && let Some(id) = schedule.next_ready() {
                prop_assert!(started.insert(id), "{id:?} ran twice");
                for &input in &graph.vertex(id).inputs {
                    prop_assert_eq!(schedule.state(input), Some(OpState::Done));
                }
                running.push(id);
            }
            prop_assert_eq!(schedule.running(), running.len());
            if running.is_empty() { break; }
            let id = running.swap_remove(picks.next().unwrap() % running.len());
            let outcome = if fails.contains(&id) { Outcome::Failed } else { Outcome::Done };
            for needless in schedule.finished(id, outcome) {
                let position = running.iter().position(|&id| id == needless);
                prop_assert!(position.is_some(), "told to stop {needless:?}, which does not run");
                running.swap_remove(position.unwrap());
                schedule.finished(needless, Outcome::Stopped);
            }
        }
        let alive: Vec<_> = targets
            .iter()
            .map(|&target| needs(&graph, target))
            .filter(|needs| needs.is_disjoint(&fails))
            .collect();
        let wanted: BTreeSet<_> = targets.iter().flat_map(|&id| needs(&graph, id)).collect();
        for id in graph.ids() {
            let state = schedule.state(id);
            prop_assert_eq!(state.is_some(), wanted.contains(&id));
            if alive.iter().any(|needs| needs.contains(&id)) {
                prop_assert_eq!(state, Some(OpState::Done), "a surviving target needs {:?}", id);
            } else if state.is_some() && !needs(&graph, id).is_disjoint(&fails) {
                let failed = fails.contains(&id) && started.contains(&id);
                let expected = if failed { OpState::Failed } else { OpState::Skipped };
                // A step that would fail may have been stopped before it did.
                prop_assert!(state == Some(expected) || state == Some(OpState::Skipped));
            }
        }
    }

    #[test]
    fn the_longest_way_goes_first(case in cases()) {
        let Case { graph, targets, .. } = case;
        let wanted: BTreeSet<_> = targets.iter().flat_map(|&id| needs(&graph, id)).collect();
        let mut depths: BTreeMap<OpId, u32> = BTreeMap::new();
        for &id in wanted.iter().rev() {
            let depth = *depths.entry(id).or_insert(1);
            for &input in &graph.vertex(id).inputs {
                let known = depths.entry(input).or_insert(0);
                *known = (depth + 1).max(*known);
            }
        }
        let mut schedule = Schedule::new(&graph, &targets);
        while let Some(id) = schedule.next_ready() {
            let others = graph.ids().filter(|&id| schedule.state(id) == Some(OpState::Ready));
            for other in others {
                prop_assert!((depths[&other], other) < (depths[&id], other) || depths[&other] == depths[&id]);
            }
            schedule.finished(id, Outcome::Done);
        }
    }
}
