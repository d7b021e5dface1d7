//! What every [`RecordStore`] does, run against each of them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::{MemStore, RecordStore};

fn check(store: &dyn RecordStore) {
    what_is_put_is_found(store);
    a_peek_finds_what_was_there_before(store);
    a_held_action_is_held_alone(store);
    a_wait_can_be_cancelled(store);
    each_action_runs_once(store);
}

fn what_is_put_is_found(store: &dyn RecordStore) {
    assert_eq!(store.get(&key("absent")).unwrap(), None);
    let mut rich = record(&["a", "b"]);
    rich.layers[1].blob = Some(blob_ref("b"));
    let cases = [("none", record(&[])), ("one", record(&["a"])), ("rich", rich)];
    for (name, record) in &cases {
        store.put(&key(name), record).unwrap();
    }
    for (name, record) in &cases {
        assert_eq!(store.get(&key(name)).unwrap().as_ref(), Some(record), "{name}");
    }
    store.put(&key("one"), &record(&["c"])).unwrap();
    assert_eq!(store.get(&key("one")).unwrap(), Some(record(&["c"])));
}

fn a_peek_finds_what_was_there_before(store: &dyn RecordStore) {
    store.put(&key("peeked"), &record(&["a"])).unwrap();
    for _ in 0..2 {
        assert_eq!(store.peek(&key("peeked")).unwrap(), Some(record(&["a"])));
        assert_eq!(store.peek(&key("absent")).unwrap(), None);
        store.end_peeking();
    }
}

fn a_held_action_is_held_alone(store: &dyn RecordStore) {
    let first = store.lock(&key("x"), &patience()).unwrap();
    let _other = store.lock(&key("y"), &patience()).unwrap();
    let released = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let _second = store.lock(&key("x"), &patience()).unwrap();
            assert!(released.load(Ordering::SeqCst), "two hold the same action");
        });
        // The waiter is on its way or waiting; either way it must not get through yet.
        while !waiter.is_finished() && !released.load(Ordering::SeqCst) {
            std::thread::yield_now();
            if store.lock(&key("x"), &|| true).is_err() {
                released.store(true, Ordering::SeqCst);
            }
        }
        drop(first);
        waiter.join().unwrap();
    });
    drop(store.lock(&key("x"), &|| true).unwrap());
}

fn a_wait_can_be_cancelled(store: &dyn RecordStore) {
    let _held = store.lock(&key("x"), &patience()).unwrap();
    let start = Instant::now();
    let cancelled = || start.elapsed() > Duration::from_millis(5);
    let error = store.lock(&key("x"), &cancelled).unwrap_err();
    assert!(matches!(error, CacheError::Cancelled { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
}

/// The way in which a solver uses the lock: look, wait, look again, run.
fn each_action_runs_once(store: &dyn RecordStore) {
    let keys: Vec<CacheKey> = (0..10).map(|number| key(&format!("once {number}"))).collect();
    let runs: Vec<AtomicU32> = keys.iter().map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (key, runs) in keys.iter().zip(&runs) {
                    let _lock = store.lock(key, &patience()).unwrap();
                    if store.get(key).unwrap().is_none() {
                        runs.fetch_add(1, Ordering::SeqCst);
                        store.put(key, &record(&["r"])).unwrap();
                    }
                }
            });
        }
    });
    for runs in runs {
        assert_eq!(runs.into_inner(), 1);
    }
}

#[test]
fn memory_keeps_the_contract() {
    check(&MemStore::new());
}

#[test]
fn disk_keeps_the_contract() {
    let (_dir, store) = store();
    check(&store.records());
    assert!(listing(&store.locks_dir()).iter().all(|name| name.len() < 64), "a file for each key");
}

#[test]
fn two_handles_see_one_store() {
    let (_dir, store) = store();
    let other = Store::open(store.root()).unwrap();
    store.records().put(&key("k"), &record(&["a"])).unwrap();
    assert_eq!(other.records().get(&key("k")).unwrap(), Some(record(&["a"])));
    let _held = store.records().lock(&key("k"), &patience()).unwrap();
    assert!(other.records().lock(&key("k"), &|| true).is_err());
}

#[test]
fn peeks_share_a_state_of_the_database_until_they_end() {
    let (_dir, store) = store();
    let other = Store::open(store.root()).unwrap();
    let records = store.records();
    let digest = |text: &str| Digest::of(text.as_bytes());
    let selected = || store.peek_selection(&digest("snapshot"), &digest("selection")).unwrap();
    assert_eq!(records.peek(&key("k")).unwrap(), None);
    other.records().put(&key("k"), &record(&["a"])).unwrap();
    other.put_selection(&digest("snapshot"), &digest("selection"), &digest("selected")).unwrap();
    assert_eq!(records.peek(&key("k")).unwrap(), None, "each peek is a transaction of its own");
    assert_eq!(selected(), None, "a peek for something else has a transaction of its own");
    records.end_peeking();
    assert_eq!(records.peek(&key("k")).unwrap(), Some(record(&["a"])));
    assert_eq!(selected(), Some(digest("selected")));

    // Anything else looks at what there is now, as does whoever peeks after it.
    other.records().put(&key("l"), &record(&["b"])).unwrap();
    assert_eq!(records.peek(&key("l")).unwrap(), None);
    assert_eq!(records.get(&key("l")).unwrap(), Some(record(&["b"])));
    assert_eq!(records.peek(&key("l")).unwrap(), Some(record(&["b"])));
    records.put(&key("m"), &record(&["c"])).unwrap();
    assert_eq!(records.peek(&key("m")).unwrap(), Some(record(&["c"])));
}

#[test]
fn whoever_peeks_waits_for_nobody() {
    let (_dir, store) = store();
    let records = store.records();
    records.put(&key("k"), &record(&["a"])).unwrap();
    let peeked = store.db.write("hold", |_| Ok(records.peek(&key("k")).unwrap())).unwrap();
    assert_eq!(peeked, None, "another has the connection");
    // Another process that writes is in nobody's way.
    let other = Store::open(store.root()).unwrap();
    let peeked = other.db.write("hold", |_| Ok(records.peek(&key("k")).unwrap())).unwrap();
    assert_eq!(peeked, Some(record(&["a"])));
}

#[test]
fn a_record_that_makes_no_sense_is_not_found() {
    let (_dir, store) = store();
    let records = store.records();
    for layers in ["", "{}", r#"[{"digest":"zz"}]"#, r#"[{"digest":7}]"#] {
        records.put(&key("k"), &record(&["a"])).unwrap();
        store
            .db
            .write("spoil", |tx| tx.execute("UPDATE records SET layers = ?1", [layers]))
            .unwrap();
        assert_eq!(records.get(&key("k")).unwrap(), None, "{layers}");
    }
}

#[test]
fn the_newest_of_a_name_tells_how_long_it_takes() {
    let (_dir, store) = store();
    let records = store.records();
    for (name, created_ms, duration_ms) in
        [("RUN a", 10, 700), ("RUN a", 20, 900), ("RUN a", 15, 800), ("RUN b", 1, 5)]
    {
        let record = Record { name: name.to_owned(), created_ms, duration_ms, ..record(&[]) };
        records.put(&key(&duration_ms.to_string()), &record).unwrap();
    }
    let found = records.durations(&["RUN b", "RUN c", "RUN a"]).unwrap();
    let milliseconds = [Some(5), None, Some(900)];
    assert_eq!(found, milliseconds.map(|known| known.map(Duration::from_millis)));
}

#[test]
fn results_are_found_by_name_and_least_size() {
    let (_dir, store) = store();
    let records = store.records();
    for (name, size_bytes) in [("COPY a", 10), ("COPY a", 30), ("COPY b", 20)] {
        let record = Record { name: name.to_owned(), size_bytes, ..record(&[]) };
        records.put(&key(&size_bytes.to_string()), &record).unwrap();
    }
    let has = |name, size_bytes| records.has_of_size(name, size_bytes).unwrap();
    assert!(has("COPY a", 30) && has("COPY a", 1) && has("COPY b", 20));
    assert!(!has("COPY a", 31) && !has("COPY b", 21) && !has("COPY c", 0));
    assert!(!has("COPY a", u64::MAX));
}

#[test]
fn memos_are_found_again() {
    let (_dir, store) = store();
    let [a, b, c] = ["a", "b", "c"].map(|text| Digest::of(text.as_bytes()));
    assert_eq!(store.selection(&a, &b).unwrap(), None);
    store.put_selection(&a, &b, &c).unwrap();
    assert_eq!(store.selection(&a, &b).unwrap(), Some(c));
    assert_eq!(store.selection(&b, &a).unwrap(), None);

    let archive = "sha256:1";
    assert_eq!(store.unpacked(archive).unwrap(), None);
    store.put_unpacked(archive, &a).unwrap();
    store.put_unpacked(archive, &b).unwrap();
    assert_eq!(store.unpacked(archive).unwrap(), Some(b));

    let stored = store.put_blob(b"packed").unwrap();
    let here = BlobRef { digest: stored.digest, ..blob_ref("") };
    assert_eq!(store.packed(&a, "gzip").unwrap(), None);
    store.put_packed(&a, "gzip", &here).unwrap();
    store.put_packed(&a, "zstd", &blob_ref("elsewhere")).unwrap();
    assert_eq!(store.packed(&a, "gzip").unwrap(), Some(here.clone()));
    assert_eq!(store.packed(&a, "zstd").unwrap(), None, "its blob is not here");
    assert_eq!(store.packed(&b, "gzip").unwrap(), None);
    std::fs::remove_file(store.blob_path(&here.digest).unwrap()).unwrap();
    assert_eq!(store.packed(&a, "gzip").unwrap(), None, "its blob is gone");
}
