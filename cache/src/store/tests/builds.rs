//! What is kept of builds: ids, limits, and builds that run or were killed.

use std::io::Read as _;
use std::time::Duration;

use super::*;
use crate::store::now_ms;
use crate::{BuildLimits, BuildRow, BuildState, BuildStatus, is_build_id};

const WIDE: BuildLimits =
    BuildLimits { count: 100, age: Duration::from_secs(3600), size_bytes: 1 << 40 };

fn row(created_ms: i64, size_bytes: u64) -> BuildRow {
    BuildRow {
        name: "app".to_owned(),
        status: BuildStatus::Failed,
        created_ms,
        duration_ms: 1234,
        steps: 5,
        cached_steps: 2,
        image: Some("sha256:00".to_owned()),
        size_bytes,
    }
}

/// A build that began and ended; its id.
fn ended(store: &Store, created_ms: i64, limits: &BuildLimits) -> String {
    let mut file = store.new_build(created_ms).unwrap();
    file.append(b"what happened\n").unwrap();
    let row = row(created_ms, file.size_bytes());
    store.note_build(&store.records(), Some((file.id(), &row)), limits).unwrap();
    file.id().to_owned()
}

fn ids(store: &Store) -> Vec<String> {
    store.builds().unwrap().into_iter().map(|build| build.id).collect()
}

#[test]
fn a_build_is_kept() {
    let (_dir, store) = store();
    let now = now_ms();
    let id = ended(&store, now, &WIDE);
    assert!(is_build_id(&id), "{id}");
    let listed = store.builds().unwrap();
    assert_eq!(listed[0].state, BuildState::Ended(row(now, 14)));
    let mut text = String::new();
    store.open_build(&id).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "what happened\n");
    assert!(store.remove_build(&id).unwrap());
    assert_eq!(ids(&store), [""; 0]);
    assert!(listing(&store.builds_dir()).is_empty());
    let error = store.open_build("../../etc").unwrap_err().to_string();
    assert!(error.contains("builds/none"), "{error}");
}

#[test]
fn a_log_that_notes_alone_made_long_is_folded_too() {
    let (_dir, store) = store();
    store.mark_durable().unwrap();
    let log = || std::fs::metadata(store.root().join("kiln.db-wal")).unwrap().len();
    let mut builds = 0;
    while !store.is_unsettled() {
        ended(&store, now_ms(), &WIDE);
        builds += 1;
        assert!(builds < 1000, "the log is {} bytes long", log());
    }
    assert!(builds > 10 && log() > 0);
    store.mark_durable().unwrap();
    assert_eq!(log(), 0);
    assert!(!store.is_unsettled());
}

#[test]
fn ids_sort_by_time() {
    let (_dir, store) = store();
    let mut made: Vec<_> =
        [5, 1_700_000_000_000, 31, 32].map(|ms| (ms, ended(&store, ms, &WIDE))).into();
    made.sort();
    let mut sorted: Vec<_> = made.iter().map(|(_, id)| id.clone()).collect();
    sorted.sort();
    // Of those that began ages ago only the latest stays, but each had an id.
    assert_eq!(made.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), sorted);
}

#[test]
fn the_oldest_go_first() {
    let (_dir, store) = store();
    let now = now_ms();
    let three = BuildLimits { count: 3, ..WIDE };
    let made: Vec<_> = (0..5).map(|at| ended(&store, now + at, &three)).collect();
    assert_eq!(ids(&store), [&made[4], &made[3], &made[2]].map(String::as_str));
    assert_eq!(listing(&store.builds_dir()).len(), 3);
    // Each takes 14 bytes.
    store.trim_builds(&BuildLimits { size_bytes: 29, ..WIDE }).unwrap();
    assert_eq!(ids(&store).len(), 2);
    store.trim_builds(&BuildLimits { size_bytes: 0, count: 0, age: Duration::ZERO }).unwrap();
    assert_eq!(ids(&store), [made[4].as_str()], "the latest stays");
}

#[test]
fn old_builds_go() {
    let (_dir, store) = store();
    let now = now_ms();
    let old = ended(&store, now - 7_200_000, &BuildLimits { age: Duration::MAX, ..WIDE });
    assert_eq!(ids(&store), [old.as_str()]);
    let young = ended(&store, now, &WIDE);
    assert_eq!(ids(&store), [young.as_str()]);
}

#[test]
fn what_runs_stays() {
    let (_dir, store) = store();
    let nothing = BuildLimits { count: 0, age: Duration::ZERO, size_bytes: 0 };
    let file = store.new_build(0).unwrap();
    let id = file.id().to_owned();
    let other = Store::open(store.root()).unwrap();
    assert_eq!(other.builds().unwrap()[0].state, BuildState::Running);
    other.trim_builds(&nothing).unwrap();
    assert!(!other.remove_build(&id).unwrap(), "it runs");
    assert_eq!(ids(&other), [id.as_str()]);
    drop(file);
    assert_eq!(other.builds().unwrap()[0].state, BuildState::Killed);
    other.trim_builds(&nothing).unwrap();
    assert_eq!(ids(&other), [""; 0]);
}

#[test]
fn many_begin_at_once() {
    let (_dir, store) = store();
    let all: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let begin = || (0..40).map(|_| store.new_build(7).unwrap().id().to_owned());
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(move || begin().collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(all.len(), 160);
}
