//! The schedule alone: tables of virtual time, and random graphs against an oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::tables::{self, Table};
use kiln_ir::{Graph, GraphBuilder, OpId, VertexMeta};
use kiln_solver::{AfterFailure, OpState, Outcome, Schedule};
use proptest::prelude::*;

/// In these tables each vertex has a duration, and perhaps the words `fails` and `expected=DURATION`. A line
/// `keep-going` lets the others go on after a failure.
#[test]
fn traces() {
    tables::check("schedule", |script| {
        let mut lines: Vec<&str> = script.lines().collect();
        let targets = take(&mut lines, "targets ").unwrap();
        let jobs = take(&mut lines, "jobs ").unwrap().parse().unwrap();
        let after_failure = match take(&mut lines, "keep-going") {
            Some(_) => AfterFailure::KeepGoing,
            None => AfterFailure::StopNeedless,
        };
        let table = Table::parse(lines);
        let schedule =
            Schedule::new(&table.graph, &table.all(targets), &expected(&table), after_failure);
        simulate(&table, schedule, jobs)
    });
}

fn take<'a>(lines: &mut Vec<&'a str>, key: &str) -> Option<&'a str> {
    let position = lines.iter().position(|line| line.starts_with(key))?;
    lines.remove(position).strip_prefix(key)
}

fn expected(table: &Table) -> Vec<Duration> {
    let told = |word: &String| Some(word.strip_prefix("expected=")?.parse().unwrap());
    let of = |id| table.words[&id].iter().find_map(told).unwrap_or(0);
    table.graph.ids().map(of).map(Duration::from_secs).collect()
}

/// Lets virtual time pass from one end of a step to the next.
fn simulate(table: &Table, mut schedule: Schedule, jobs: usize) -> String {
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
    let mut schedule = Schedule::new(&table.graph, &[d], &[], AfterFailure::StopNeedless);
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
    expected: Vec<Duration>,
    jobs: usize,
    picks: Vec<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let inputs =
        prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40);
    let targets = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    let fails = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    let expected = prop::collection::vec((0_u64..4).prop_map(Duration::from_secs), 0..40);
    let picks = prop::collection::vec(any::<usize>(), 80);
    let all = (inputs, targets, fails, expected, 1_usize..6, picks);
    all.prop_map(|(inputs, targets, fails, expected, jobs, picks)| {
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
        let (graph, fails) = (builder.finish(), fails.into_iter().collect());
        Case { graph, targets, fails, expected, jobs, picks }
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
        let Case { graph, targets, fails, expected, jobs, picks } = case;
        let mut schedule = Schedule::new(&graph, &targets, &expected, AfterFailure::StopNeedless);
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
    fn who_keeps_going_leaves_out_only_what_follows_from_a_failure(case in cases()) {
        let Case { graph, targets, fails, expected, jobs, picks } = case;
        let mut schedule = Schedule::new(&graph, &targets, &expected, AfterFailure::KeepGoing);
        let mut picks = picks.into_iter();
        let mut running: Vec<OpId> = Vec::new();
        loop {
            while schedule.running() < jobs && let Some(id) = schedule.next_ready() {
                running.push(id);
            }
            if running.is_empty() { break; }
            let id = running.swap_remove(picks.next().unwrap() % running.len());
            let outcome = if fails.contains(&id) { Outcome::Failed } else { Outcome::Done };
            prop_assert_eq!(schedule.finished(id, outcome), []);
        }
        let wanted: BTreeSet<_> = targets.iter().flat_map(|&id| needs(&graph, id)).collect();
        for &id in &wanted {
            let mut below = needs(&graph, id);
            below.remove(&id);
            let expected = match (below.is_disjoint(&fails), fails.contains(&id)) {
                (false, _) => OpState::Skipped,
                (true, true) => OpState::Failed,
                (true, false) => OpState::Done,
            };
            prop_assert_eq!(schedule.state(id), Some(expected));
        }
    }

    #[test]
    fn the_longest_way_goes_first(case in cases()) {
        let Case { graph, targets, expected, .. } = case;
        let wanted: BTreeSet<_> = targets.iter().flat_map(|&id| needs(&graph, id)).collect();
        let mut ways: BTreeMap<OpId, (Duration, u32)> = BTreeMap::new();
        for &id in wanted.iter().rev() {
            let own = expected.get(id.index()).copied().unwrap_or_default();
            let way = ways.entry(id).or_default();
            *way = (way.0 + own, way.1 + 1);
            let way = *way;
            for &input in &graph.vertex(id).inputs {
                let known = ways.entry(input).or_default();
                *known = way.max(*known);
            }
        }
        let mut schedule = Schedule::new(&graph, &targets, &expected, AfterFailure::StopNeedless);
        while let Some(id) = schedule.next_ready() {
            let others = graph.ids().filter(|&id| schedule.state(id) == Some(OpState::Ready));
            for other in others {
                prop_assert!(ways[&other] < ways[&id] || ways[&other] == ways[&id] && id < other);
            }
            schedule.finished(id, Outcome::Done);
        }
    }
}
