//! What the coordinator does by itself: vertices of which everything can be told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread::{self, ThreadId};
use std::time::Duration;

use kiln_cache::{ActionLock, CacheError, CacheKey, MemStore, Record, RecordStore};
use kiln_ir::{Digest, GraphBuilder, OpId, Vertex, VertexMeta};
use kiln_solver::{AtOnce, Cancel, EventKind, Report, Runner, SolveError, Stream};
use proptest::prelude::*;

use crate::runners::{Overtaken, Scripted, ScriptedError, drive, trace};
use crate::tables::{self, Table};

/// How long a test waits for what must come; only ever reached when it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells of some vertices at once, and notes on which thread results are restored.
struct Eager<'a> {
    inner: Scripted<'a>,
    /// What is told of a vertex of this name, or how that fails; also where a test waits or panics.
    tells: &'a (dyn Fn(&str) -> Result<bool, ScriptedError> + Sync),
    restored_on: Mutex<BTreeMap<String, ThreadId>>,
}

impl<'a> Eager<'a> {
    fn new(
        inner: Scripted<'a>,
        tells: &'a (dyn Fn(&str) -> Result<bool, ScriptedError> + Sync),
    ) -> Self {
        Self { inner, tells, restored_on: Mutex::default() }
    }
}

impl Runner for Eager<'_> {
    type Value = Digest;
    type Error = ScriptedError;

    fn at_once(&self, vertex: &Vertex, inputs: &[Digest]) -> Result<AtOnce<Digest>, ScriptedError> {
        Ok(match (self.tells)(&vertex.meta.name)? {
            true if vertex.op.is_recorded() => AtOnce::Digests(inputs.to_vec()),
            true => AtOnce::Value(self.inner.content(vertex, inputs)),
            false => AtOnce::Nothing,
        })
    }

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
        let here = thread::current().id();
        self.restored_on.lock().unwrap().insert(vertex.meta.name.clone(), here);
        self.inner.restore(vertex, inputs, record)
    }

    fn run(
        &self,
        vertex: &Vertex,
        inputs: &[Digest],
        report: &dyn Report,
        cancel: &Cancel,
    ) -> Result<(Digest, Option<Record>), ScriptedError> {
        self.inner.run(vertex, inputs, report, cancel)
    }
}

/// Peeks into a copy that is made at the first peek.
#[derive(Default)]
struct Copied {
    inner: MemStore,
    known: Mutex<BTreeMap<CacheKey, Record>>,
    copy: Mutex<Option<BTreeMap<CacheKey, Record>>>,
}

impl Copied {
    fn is_peeking(&self) -> bool {
        self.copy.lock().unwrap().is_some()
    }
}

impl RecordStore for Copied {
    fn get(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        self.inner.get(key)
    }

    fn peek(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        let mut copy = self.copy.lock().unwrap();
        let copy = copy.get_or_insert_with(|| self.known.lock().unwrap().clone());
        Ok(copy.get(key).cloned())
    }

    fn end_peeking(&self) {
        *self.copy.lock().unwrap() = None;
    }

    fn put(&self, key: &CacheKey, record: &Record) -> Result<(), CacheError> {
        self.known.lock().unwrap().insert(*key, record.clone());
        self.inner.put(key, record)
    }

    fn lock(&self, key: &CacheKey, cancelled: &dyn Fn() -> bool) -> Result<ActionLock, CacheError> {
        self.inner.lock(key, cancelled)
    }
}

fn idle(_: &str, _: &dyn Report, _: &Cancel) -> Result<(), ScriptedError> {
    Ok(())
}

fn always(_: &str) -> Result<bool, ScriptedError> {
    Ok(true)
}

/// A chain of vertices `NAME0`, `NAME1` and so on.
fn chain(name: &str, length: usize) -> Vec<String> {
    let vertex = |index: usize| match index {
        0 => format!("{name}0"),
        _ => format!("{name}{index} <- {name}{}", index - 1),
    };
    (0..length).map(vertex).collect()
}

fn table(lines: &[String]) -> Table {
    Table::parse(lines.iter().map(String::as_str))
}

#[test]
fn recorded_results_need_no_worker() {
    let table = Table::parse(["c : local", "a <- c", "b <- a c"]);
    let records = MemStore::new();
    let runner = Eager::new(Scripted::new(&idle), &always);
    for ran in [vec!["a", "b"], vec![]] {
        let (result, events) =
            drive((&table, &table.all("b"), 2), (&runner, &records), &Cancel::never(), &mut |_| {});
        assert!(result.is_ok());
        assert_eq!(runner.inner.take_ran(), ran);
        assert!(trace(&events).starts_with("c started\nc finished\na started\n"));
    }
    let here = thread::current().id();
    let threads = runner.restored_on.into_inner().unwrap();
    assert_eq!(threads, [("a".to_owned(), here), ("b".to_owned(), here)].into());
}

#[test]
fn a_result_to_be_passed_over_is_not_taken() {
    let table = Table::parse(["a : ignore-cache"]);
    let records = MemStore::new();
    let runner = Eager::new(Scripted::new(&idle), &always);
    for _ in 0..2 {
        let (result, _) =
            drive((&table, &table.all("a"), 1), (&runner, &records), &Cancel::never(), &mut |_| {});
        assert!(result.is_ok());
        assert_eq!(runner.inner.take_ran(), ["a"]);
    }
}

#[test]
fn a_running_step_is_heard_between_lookups() {
    // The longer way goes first: `long0` is out when the short chain is looked up.
    let table = table(&[chain("long", 20), chain("short", 9)].concat());
    let records = MemStore::new();
    let targets = table.all("long19 short8");
    let warm = Scripted::new(&idle);
    let short = table.all("short8");
    drive((&table, &short, 1), (&warm, &records), &Cancel::never(), &mut |_| {}).0.unwrap();

    let (said, wait_said) = crossbeam_channel::bounded(1);
    let (ended, wait_ended) = crossbeam_channel::bounded(1);
    let act = |name: &str, report: &dyn Report, _: &Cancel| {
        if name == "long0" {
            report.output(Stream::Stdout, b"here I am");
            said.send(()).unwrap();
            wait_ended.recv_timeout(PATIENCE).expect("lookups go on while a step runs");
        }
        Ok(())
    };
    let tells = |name: &str| {
        if name == "short2" {
            wait_said.recv_timeout(PATIENCE).expect("the step runs");
        }
        Ok(name.starts_with("short"))
    };
    let runner = Eager::new(Scripted::new(&act), &tells);
    let (result, events) =
        drive((&table, &targets, 2), (&runner, &records), &Cancel::never(), &mut |event| {
            if event.kind == EventKind::Cached && event.task.0 == 28 {
                ended.send(()).unwrap();
            }
        });
    result.unwrap();
    let trace = trace(&events);
    let heard = trace.find("long0 Stdout").expect("what the step wrote is told");
    assert!(trace.find("short2 cached").unwrap() < heard, "{trace}");
    assert!(heard < trace.find("short3 started").unwrap(), "{trace}");
}

#[test]
fn the_callers_token_fires_between_lookups() {
    let table = table(&chain("a", 50));
    let records = MemStore::new();
    let runner = Eager::new(Scripted::new(&idle), &always);
    let end = table.all("a49");
    drive((&table, &end, 1), (&runner, &records), &Cancel::never(), &mut |_| {}).0.unwrap();
    let (canceller, cancel) = Cancel::new();
    let mut canceller = Some(canceller);
    let (result, events) = drive((&table, &end, 1), (&runner, &records), &cancel, &mut |event| {
        if event.kind == EventKind::Cached {
            drop(canceller.take());
        }
    });
    assert!(matches!(result, Err(SolveError::Cancelled)), "{result:?}");
    assert_eq!(trace(&events), "a0 started\na0 cached\n");
}

#[test]
fn nobody_peeks_while_the_coordinator_waits() {
    let table = Table::parse(["a", "b <- a", "c <- b"]);
    let records = Copied::default();
    let act = |_: &str, _: &dyn Report, _: &Cancel| {
        let start = std::time::Instant::now();
        while records.is_peeking() {
            assert!(start.elapsed() < PATIENCE, "the copy is kept while a step runs");
            thread::yield_now();
        }
        Ok(())
    };
    let runner = Eager::new(Scripted::new(&act), &always);
    for ran in [3, 0] {
        let (result, _) =
            drive((&table, &table.all("c"), 2), (&runner, &records), &Cancel::never(), &mut |_| {});
        assert!(result.is_ok());
        assert!(!records.is_peeking(), "the copy is kept after the end");
        assert_eq!(runner.inner.take_ran().len(), ran);
    }
}

#[test]
fn what_another_build_did_since_a_peek_is_taken() {
    let table = Table::parse(["a"]);
    let runner = Eager::new(Scripted::new(&idle), &always);
    let records = Overtaken::default();
    let (result, events) =
        drive((&table, &table.all("a"), 1), (&runner, &records), &Cancel::never(), &mut |_| {});
    assert_eq!(result.unwrap(), [Digest::of(b"theirs")]);
    assert_eq!(trace(&events), "a started\na cached\n");
    assert_eq!(records.gets.into_inner(), 1, "looked up under the lock alone");
    assert!(runner.inner.take_ran().is_empty());
}

#[test]
fn what_cannot_be_told_for_an_error_has_failed() {
    let table = Table::parse(["a", "b <- a", "c", "end <- b c"]);
    let tells = |name: &str| if name == "b" { Err(ScriptedError::new()) } else { Ok(true) };
    let runner = Eager::new(Scripted::new(&idle), &tells);
    let (result, events) = drive(
        (&table, &table.all("end"), 1),
        (&runner, &MemStore::new()),
        &Cancel::never(),
        &mut |_| {},
    );
    let Err(SolveError::Failed { failures }) = result else { panic!("{result:?}") };
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].name, "b");
    let trace = trace(&events);
    assert!(trace.contains("b started\nb failed: exit code 1: as scripted\n"), "{trace}");
    assert!(!trace.contains("end"), "{trace}");
}

#[test]
#[should_panic(expected = "a broken runner")]
fn a_panic_on_the_coordinators_thread_comes_out_after_the_others_stopped() {
    let table = table(&[chain("long", 3), vec!["b".to_owned()]].concat());
    let (stopped, wait) = crossbeam_channel::bounded(1);
    let act = |_: &str, _: &dyn Report, cancel: &Cancel| {
        assert!(cancel.wait(PATIENCE), "nobody stopped the step");
        stopped.send(()).unwrap();
        Err(ScriptedError::new())
    };
    let tells = |name: &str| {
        assert_ne!(name, "b", "a broken runner");
        Ok(false)
    };
    let runner = Eager::new(Scripted::new(&act), &tells);
    let targets = table.all("long2 b");
    let solved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let records = MemStore::new();
        drop(drive((&table, &targets, 2), (&runner, &records), &Cancel::never(), &mut |_| {}));
    }));
    wait.try_recv().expect("the step was stopped before");
    std::panic::resume_unwind(solved.expect_err("it panics"));
}

fn graphs() -> impl Strategy<Value = (Table, Vec<OpId>, usize, BTreeSet<String>)> {
    let index = any::<prop::sample::Index>;
    let vertex = (prop::collection::vec(index(), 0..4), any::<bool>());
    let vertices = prop::collection::vec(vertex, 1..30);
    let targets = prop::collection::vec(index(), 1..4);
    (vertices, targets, 1_usize..5).prop_map(|(vertices, targets, jobs)| {
        let mut builder = GraphBuilder::new();
        let mut ids: Vec<OpId> = Vec::new();
        let mut eager = BTreeSet::new();
        for (index, (inputs, is_eager)) in vertices.iter().enumerate() {
            let inputs = inputs.iter().filter(|_| index > 0).map(|i| *i.get(&ids)).collect();
            let name = index.to_string();
            if *is_eager {
                eager.insert(name.clone());
            }
            let op = tables::exec(&name);
            ids.push(builder.add(op, inputs, VertexMeta { name, ..VertexMeta::default() }));
        }
        let targets = targets.iter().map(|i| *i.get(&ids)).collect();
        (Table { graph: builder.finish(), ..Table::default() }, targets, jobs, eager)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whichever vertices are told of at once and however old the state is that is peeked into: each that is needed
    /// runs once, the results are those of a walk, and nothing runs in a second build.
    #[test]
    fn it_is_the_same_build_with_and_without((table, targets, jobs, eager) in graphs()) {
        let tells = |name: &str| Ok(eager.contains(name));
        let runner = Eager::new(Scripted::new(&idle), &tells);
        let plain = Scripted::new(&idle);
        let none = MemStore::new();
        let (expected, events) =
            drive((&table, &targets, 1), (&plain, &none), &Cancel::never(), &mut |_| {});
        let expected = expected.unwrap();
        let declared = |kind: &EventKind| matches!(kind, EventKind::Declared { .. });
        let wanted = events.iter().filter(|event| declared(&event.kind)).count();
        let records = Copied::default();
        for runs in [wanted, 0] {
            let (result, events) =
                drive((&table, &targets, jobs), (&runner, &records), &Cancel::never(), &mut |_| {});
            prop_assert_eq!(result.unwrap(), expected.clone());
            let ran = runner.inner.take_ran();
            prop_assert_eq!(ran.iter().collect::<BTreeSet<_>>().len(), runs);
            prop_assert_eq!(ran.len(), runs, "each runs once");
            let cached = events.iter().filter(|event| event.kind == EventKind::Cached).count();
            prop_assert_eq!(cached, wanted - runs);
        }
    }
}
