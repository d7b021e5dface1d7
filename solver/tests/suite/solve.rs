//! Whole solves: tables of builds one after another, then what needs real threads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiln_cache::{MemStore, Record, RecordStore as _};
use kiln_ir::{Digest, GraphBuilder, OpId, Vertex, VertexMeta};
use kiln_solver::{Cancel, EventKind, Narrator, Report, Runner, SolveError, Stream, Unit};
use proptest::prelude::*;

use crate::runners::{Overtaken, Scripted, ScriptedError, drive, record, trace};
use crate::tables::{self, Table};

/// How long a test waits for what must come; only ever reached when it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// In these tables each `build` takes the vertices as declared up to then: a later line replaces an
/// earlier one of the same name. Words: `local`, `ignore-cache`, `fails`, `lost` (its content went
/// missing), `constant` (its content does not depend on what it reads), `same-as=NAME` (it is the same
/// command), and anything else to make it another command.
#[test]
fn traces() {
    tables::check("solve", |script| {
        let records = MemStore::new();
        let mut lines: Vec<&str> = Vec::new();
        let mut text = String::new();
        for line in script.lines().filter(|line| !line.starts_with('#')) {
            match line.strip_prefix("build ") {
                Some(targets) => {
                    text += &format!("build {targets}\n{}", build(&lines, targets, &records));
                }
                None => replace(&mut lines, line),
            }
        }
        text
    });
}

fn replace<'a>(lines: &mut Vec<&'a str>, line: &'a str) {
    let name = |line: &'a str| line.split_whitespace().next();
    match lines.iter().position(|known| name(known) == name(line)) {
        Some(position) => lines[position] = line,
        None => lines.push(line),
    }
}

fn build(lines: &[&str], targets: &str, records: &MemStore) -> String {
    let table = Table::parse(lines.iter().copied());
    let act = |name: &str, report: &dyn Report, _: &Cancel| {
        if table.says(table.ids[name], "fails") {
            report.output(Stream::Stderr, b"oh no");
            return Err(ScriptedError::new());
        }
        Ok(())
    };
    let mut runner = Scripted::new(&act);
    for (&id, words) in &table.words {
        if words.iter().any(|word| word == "constant") {
            runner.constant.insert(table.name(id).to_owned());
        }
    }
    let contents = contents(&table, &runner);
    let lost = table.graph.ids().filter(|&id| table.says(id, "lost"));
    runner.lost = lost.map(|id| contents[id.index()]).collect();
    let targets = table.all(targets);
    let (result, events) =
        drive((&table, &targets, 1), (&runner, records), &Cancel::never(), &mut |_| {});
    let last = match result {
        Ok(values) => {
            let right: Vec<_> = targets.iter().map(|id| contents[id.index()]).collect();
            assert_eq!(values, right);
            "ok\n".to_owned()
        }
        Err(error) => format!("error: {error}\n"),
    };
    trace(&events) + &last
}

/// What each vertex must hold, by a walk from the inputs up.
fn contents(table: &Table, runner: &Scripted<'_>) -> Vec<Digest> {
    let mut contents: Vec<Digest> = Vec::new();
    for vertex in table.graph.vertices() {
        let inputs: Vec<_> = vertex.inputs.iter().map(|input| contents[input.index()]).collect();
        contents.push(runner.content(vertex, &inputs));
    }
    contents
}

/// Does nothing, well.
fn idle(_: &str, _: &dyn Report, _: &Cancel) -> Result<(), ScriptedError> {
    Ok(())
}

/// Waits to be stopped.
fn until_stopped(cancel: &Cancel) -> Result<(), ScriptedError> {
    assert!(cancel.wait(PATIENCE), "nobody stopped the step");
    Err(ScriptedError::new())
}

#[test]
fn the_callers_token_stops_what_runs() {
    let table = Table::parse(["a", "b", "c <- a b"]);
    let targets = table.all("c");
    let (canceller, cancel) = Cancel::new();
    let mut canceller = Some(canceller);
    let mut started = 0;
    let act = |_: &str, _: &dyn Report, cancel: &Cancel| until_stopped(cancel);
    let runner = Scripted::new(&act);
    let records = MemStore::new();
    let (result, events) =
        drive((&table, &targets, 2), (&runner, &records), &cancel, &mut |event| {
            started += usize::from(event.kind == EventKind::Started);
            if started == 2 {
                drop(canceller.take());
            }
        });
    assert!(matches!(result, Err(SolveError::Cancelled)), "{result:?}");
    let cancelled = events.iter().filter(|event| event.kind == EventKind::Cancelled).count();
    assert_eq!(cancelled, 2);
    assert_eq!(trace(&events).matches("c ").count(), 0, "nothing new was started");
}

#[test]
fn a_token_that_fired_before_starts_nothing_that_counts() {
    let table = Table::parse(["a", "b <- a"]);
    let (canceller, cancel) = Cancel::new();
    canceller.cancel();
    let act = |_: &str, _: &dyn Report, cancel: &Cancel| until_stopped(cancel);
    let runner = Scripted::new(&act);
    let (result, _) =
        drive((&table, &table.all("b"), 2), (&runner, &MemStore::new()), &cancel, &mut |_| {});
    assert!(matches!(result, Err(SolveError::Cancelled)));
    assert!(runner.take_ran().is_empty(), "nothing was begun");
}

#[test]
fn a_failure_stops_its_neighbours() {
    let table = Table::parse(["long", "broken", "end <- long broken"]);
    let (running, wait) = crossbeam_channel::bounded(1);
    let act = |name: &str, _: &dyn Report, cancel: &Cancel| {
        if name == "long" {
            running.send(()).unwrap();
            return until_stopped(cancel);
        }
        wait.recv_timeout(PATIENCE).expect("both run at once");
        Err(ScriptedError::new())
    };
    let runner = Scripted::new(&act);
    let (result, events) = drive(
        (&table, &table.all("end"), 2),
        (&runner, &MemStore::new()),
        &Cancel::never(),
        &mut |_| {},
    );
    let Err(SolveError::Failed { failures }) = result else { panic!("{result:?}") };
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].name, "broken");
    assert!(trace(&events).ends_with("broken failed: exit code 1: as scripted\nlong cancelled\n"));
}

#[test]
fn a_failure_that_comes_to_light_after_another_is_told() {
    let table = Table::parse(["late", "broken", "end <- late broken"]);
    let (running, wait) = crossbeam_channel::bounded(1);
    let act = |name: &str, _: &dyn Report, cancel: &Cancel| {
        if name == "late" {
            running.send(()).unwrap();
            return until_stopped(cancel).map_err(|error| ScriptedError { own: true, ..error });
        }
        wait.recv_timeout(PATIENCE).expect("both run at once");
        Err(ScriptedError::new())
    };
    let runner = Scripted::new(&act);
    let end = table.all("end");
    let (canceller, cancel) = Cancel::new();
    let mut canceller = Some(canceller);
    let (result, _) = drive((&table, &end, 2), (&runner, &MemStore::new()), &cancel, &mut |_| {});
    let Err(SolveError::Failed { failures }) = result else { panic!("{result:?}") };
    let names: Vec<_> = failures.iter().map(|failure| failure.name.as_str()).collect();
    assert_eq!(names, ["broken", "late"]);
    // But not to a caller that gave up.
    let (result, events) =
        drive((&table, &end, 2), (&runner, &MemStore::new()), &cancel, &mut |event| {
            if matches!(event.kind, EventKind::Failed { .. }) {
                drop(canceller.take());
            }
        });
    let Err(SolveError::Failed { failures }) = result else { panic!("{result:?}") };
    assert_eq!(failures.len(), 1);
    assert!(trace(&events).ends_with("late cancelled\n"), "{}", trace(&events));
}

#[test]
fn a_failure_leaves_other_targets_alone() {
    let table = Table::parse(["long", "good <- long", "broken", "bad <- broken"]);
    let (failed, wait) = crossbeam_channel::bounded(1);
    let act = |name: &str, _: &dyn Report, _: &Cancel| match name {
        "long" => {
            wait.recv_timeout(PATIENCE).expect("the other target fails meanwhile");
            Ok(())
        }
        "broken" => Err(ScriptedError::new()),
        _ => Ok(()),
    };
    let runner = Scripted::new(&act);
    let (result, events) = drive(
        (&table, &table.all("good bad"), 2),
        (&runner, &MemStore::new()),
        &Cancel::never(),
        &mut |event| {
            if matches!(event.kind, EventKind::Failed { .. }) {
                failed.send(()).unwrap();
            }
        },
    );
    assert!(matches!(&result, Err(SolveError::Failed { failures }) if failures.len() == 1));
    assert!(trace(&events).ends_with("good finished\n"), "{}", trace(&events));
}

#[test]
fn a_slow_reader_gets_every_byte_in_order() {
    const BYTES: usize = 3_000_000;
    let pattern: Vec<u8> = (0..BYTES).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let table = Table::parse(["a", "b", "c", "end <- a b c"]);
    let act = |name: &str, report: &dyn Report, _: &Cancel| {
        if name != "end" {
            for piece in pattern.chunks(100_000) {
                report.output(Stream::Stdout, piece);
                report.progress(1, None, Unit::Bytes);
            }
        }
        Ok(())
    };
    let runner = Scripted::new(&act);
    let mut heard = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut seen = 0;
    let (result, _) = drive(
        (&table, &table.all("end"), 3),
        (&runner, &MemStore::new()),
        &Cancel::never(),
        &mut |event| {
            assert_eq!(event.seq, seen);
            seen += 1;
            if let EventKind::Output { bytes, .. } = &event.kind {
                assert!(bytes.len() <= 16 * 1024);
                heard[event.task.0 as usize].extend_from_slice(bytes);
                std::thread::yield_now();
            }
        },
    );
    assert!(result.is_ok());
    assert!(heard[..3].iter().all(|bytes| *bytes == pattern));
    assert!(heard[3].is_empty());
}

#[test]
fn equal_actions_run_once() {
    // Two vertices with one key: the second waits for the first one's lock and takes its result.
    let table = Table::parse([
        "left",
        "right",
        "a <- left : same-as=x",
        "b <- right : same-as=x",
        "end <- a b",
    ]);
    let runner = Levelled { inner: Scripted::new(&idle), level: ["left", "right"] };
    let (result, events) = drive(
        (&table, &table.all("end"), 4),
        (&runner, &MemStore::new()),
        &Cancel::never(),
        &mut |_| {},
    );
    assert!(result.is_ok());
    let ran = runner.inner.take_ran();
    assert_eq!(ran.iter().filter(|name| *name == "a" || *name == "b").count(), 1, "{ran:?}");
    assert_eq!(events.iter().filter(|event| event.kind == EventKind::Cached).count(), 1);
}

#[test]
fn keys_are_told_right_before_the_end() {
    let idle = |_: &str, _: &dyn Report, _: &Cancel| Ok(());
    let table = Table::parse(["a", "b <- a"]);
    let runner = Scripted::new(&idle);
    let records = MemStore::new();
    let mut told = Vec::new();
    for _ in 0..2 {
        let (_, events) =
            drive((&table, &table.all("b"), 1), (&runner, &records), &Cancel::never(), &mut |_| {});
        let keyed = events.iter().zip(&events[1..]).filter_map(|(event, next)| {
            let EventKind::Keyed { key, record } = &event.kind else { return None };
            assert_eq!(next.task, event.task);
            let ends = matches!(next.kind, EventKind::Cached | EventKind::Finished { .. });
            assert!(ends, "{next:?}");
            assert_eq!(records.get(key).unwrap().as_ref(), record.as_deref());
            assert!(record.is_some());
            Some(*key)
        });
        told.push(keyed.collect::<Vec<_>>());
    }
    assert_eq!(told[0].len(), 2);
    assert_eq!(told[0], told[1], "found under the keys that they were made under");
}

#[test]
fn a_step_that_failed_has_a_key_and_no_result() {
    let fail = |_: &str, _: &dyn Report, _: &Cancel| Err(ScriptedError::new());
    let table = Table::parse(["a"]);
    let runner = Scripted::new(&fail);
    let (result, events) = drive(
        (&table, &table.all("a"), 1),
        (&runner, &MemStore::new()),
        &Cancel::never(),
        &mut |_| {},
    );
    assert!(result.is_err());
    let keyed = events.iter().find_map(|event| {
        let EventKind::Keyed { record, .. } = &event.kind else { return None };
        Some(record.is_some())
    });
    assert_eq!(keyed, Some(false));
}

/// Makes some vertices' contents the same.
struct Levelled<'a> {
    inner: Scripted<'a>,
    level: [&'static str; 2],
}

impl Runner for Levelled<'_> {
    type Value = Digest;
    type Error = ScriptedError;

    fn input_digests(
        &self,
        vertex: &Vertex,
        inputs: &[Digest],
    ) -> Result<Vec<Digest>, ScriptedError> {
        self.inner.input_digests(vertex, inputs)
    }

    fn restore(
        &self,
        vertex: &Vertex,
        inputs: &[Digest],
        record: &Record,
    ) -> Result<Option<Digest>, ScriptedError> {
        self.inner.restore(vertex, inputs, record)
    }

    fn run(
        &self,
        vertex: &Vertex,
        inputs: &[Digest],
        report: &dyn Report,
        cancel: &Cancel,
    ) -> Result<(Digest, Option<Record>), ScriptedError> {
        let (value, kept) = self.inner.run(vertex, inputs, report, cancel)?;
        if self.level.contains(&vertex.meta.name.as_str()) {
            let level = Digest::of(b"level");
            return Ok((level, Some(record(level, &vertex.meta.name))));
        }
        Ok((value, kept))
    }
}

#[test]
fn what_another_build_did_meanwhile_is_taken() {
    let table = Table::parse(["a"]);
    let runner = Scripted::new(&idle);
    let records = Overtaken::default();
    let (result, events) =
        drive((&table, &table.all("a"), 1), (&runner, &records), &Cancel::never(), &mut |_| {});
    assert_eq!(result.unwrap(), [Digest::of(b"theirs")]);
    assert_eq!(trace(&events), "a started\na cached\n");
    assert_eq!(records.gets.into_inner(), 2);
    assert!(runner.take_ran().is_empty());
}

#[test]
fn waiting_for_a_lock_can_be_cancelled() {
    let table = Table::parse(["a"]);
    let records = MemStore::new();
    let key = kiln_cache::key::derive(&table.graph.vertex(table.ids["a"]).op, &[]);
    let held = records.lock(&key, &|| false).unwrap();
    let (canceller, cancel) = Cancel::new();
    let mut canceller = Some(canceller);
    let (result, events) = drive(
        (&table, &table.all("a"), 1),
        (&Scripted::new(&idle), &records),
        &cancel,
        &mut |event| {
            if event.kind == EventKind::Started {
                drop(canceller.take());
            }
        },
    );
    drop(held);
    assert!(matches!(result, Err(SolveError::Cancelled)));
    assert_eq!(trace(&events), "a started\na cancelled\n");
}

#[test]
#[should_panic(expected = "a broken runner")]
fn a_panic_comes_out_after_the_others_stopped() {
    let table = Table::parse(["a", "b", "end <- a b"]);
    let (running, wait) = crossbeam_channel::bounded(1);
    let act = |name: &str, _: &dyn Report, cancel: &Cancel| {
        if name == "a" {
            running.send(()).unwrap();
            return until_stopped(cancel);
        }
        wait.recv_timeout(PATIENCE).expect("both run at once");
        panic!("a broken runner");
    };
    let (result, _) = drive(
        (&table, &table.all("end"), 2),
        (&Scripted::new(&act), &MemStore::new()),
        &Cancel::never(),
        &mut |_| {},
    );
    drop(result);
}

#[test]
fn the_engines_own_work_is_narrated_alike() {
    let mut events = Vec::new();
    let mut keep = |event| events.push(event);
    let clock = || Duration::ZERO;
    let mut narrator = Narrator::new(&clock, &mut keep);
    let work = |index: usize| {
        move |report: &dyn Report| {
            report.warning(&index.to_string());
            if index == 1 { Err(ScriptedError::new()) } else { Ok(index * 10) }
        }
    };
    let one: Result<_, ScriptedError> = narrator.perform("first", work(0));
    assert_eq!(one.unwrap(), 0);
    let works = (1..4).map(|index| (format!("work {index}"), work(index))).collect();
    let results = narrator.perform_all(2.try_into().unwrap(), works);
    let results: Vec<_> = results.into_iter().map(Result::ok).collect();
    assert_eq!(results, [None, Some(20), Some(30)]);
    let here = narrator.perform_here("here", work(4));
    assert_eq!(here.unwrap(), 40);
    assert!(narrator.perform_here("in vain", work(1)).is_err());
    let text = trace(&events);
    assert!(text.starts_with("first started\nfirst warning: 0\nfirst finished\n"), "{text}");
    assert!(text.contains("work 1 failed: exit code 1: as scripted\n"), "{text}");
    assert!(text.contains("work 3 finished\n"), "{text}");
    let end = "here started\nhere warning: 4\nhere finished\n\
               in vain started\nin vain warning: 1\nin vain failed: exit code 1: as scripted\n";
    assert!(text.ends_with(end), "{text}");
}

fn graphs() -> impl Strategy<Value = (Table, Vec<OpId>, usize)> {
    let inputs =
        prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..30);
    let targets = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    (inputs, targets, 1_usize..5).prop_map(|(inputs, targets, jobs)| {
        let mut builder = GraphBuilder::new();
        let mut ids: Vec<OpId> = Vec::new();
        for (index, inputs) in inputs.iter().enumerate() {
            let inputs = inputs.iter().filter(|_| index > 0).map(|i| *i.get(&ids)).collect();
            let name = index.to_string();
            let op = tables::exec(&name);
            ids.push(builder.add(op, inputs, VertexMeta { name, ..VertexMeta::default() }));
        }
        let targets = targets.iter().map(|i| *i.get(&ids)).collect();
        (Table { graph: builder.finish(), ..Table::default() }, targets, jobs)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn threads_agree_with_a_sequential_walk((table, targets, jobs) in graphs()) {
        let most = AtomicUsize::new(0);
        let now = AtomicUsize::new(0);
        let act = |_: &str, _: &dyn Report, _: &Cancel| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        let runner = Scripted::new(&act);
        let records = MemStore::new();
        let expected = contents(&table, &runner);
        let expected: Vec<_> = targets.iter().map(|id| expected[id.index()]).collect();
        let (result, events) =
            drive((&table, &targets, jobs), (&runner, &records), &Cancel::never(), &mut |_| {});
        prop_assert_eq!(result.unwrap(), expected.clone());
        prop_assert!(most.load(Ordering::SeqCst) <= jobs);
        let ran = runner.take_ran();
        prop_assert_eq!(ran.iter().collect::<BTreeSet<_>>().len(), ran.len(), "each runs once");
        let declared = |kind: &EventKind| matches!(kind, EventKind::Declared { .. });
        let wanted = events.iter().filter(|event| declared(&event.kind)).count();
        prop_assert_eq!(ran.len(), wanted);

        let (again, events) =
            drive((&table, &targets, jobs), (&runner, &records), &Cancel::never(), &mut |_| {});
        prop_assert_eq!(again.unwrap(), expected);
        prop_assert!(runner.take_ran().is_empty());
        let cached = events.iter().filter(|event| event.kind == EventKind::Cached).count();
        prop_assert_eq!(cached, wanted);
    }
}
