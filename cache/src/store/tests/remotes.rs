//! What was fetched, and repositories.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

#[test]
fn the_last_answer_counts() {
    let (_dir, store) = store();
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    assert_eq!(store.remote(&one).unwrap(), None);
    let row = |version: Option<&str>| RemoteRow {
        version: version.map(str::to_owned),
        last_modified: None,
        layer: Digest::of(b"layer"),
    };
    store.put_remote(&one, &row(None)).unwrap();
    store.put_remote(&two, &row(Some("\"2\""))).unwrap();
    store.put_remote(&one, &row(Some("\"1\""))).unwrap();
    assert_eq!(store.remote(&one).unwrap(), Some(row(Some("\"1\""))));
    assert_eq!(store.remote(&two).unwrap(), Some(row(Some("\"2\""))));
}

#[test]
fn a_repository_is_used_by_one_at_a_time() {
    let (_dir, store) = store();
    let held = store.acquire_repository("https://h/r.git", &patience()).unwrap();
    assert!(held.path().starts_with(store.root().join("git")));
    let other = store.acquire_repository("https://h/other.git", &patience()).unwrap();
    assert_ne!(held.path(), other.path());
    let cancelled = store.acquire_repository("https://h/r.git", &|| true);
    assert!(matches!(cancelled, Err(CacheError::Cancelled { .. })));
    let released = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let again = store.acquire_repository("https://h/r.git", &patience()).unwrap();
            assert!(released.load(Ordering::SeqCst), "two hold one repository");
            drop(again);
        });
        thread::yield_now();
        released.store(true, Ordering::SeqCst);
        drop(held);
    });
}
