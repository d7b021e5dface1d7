//! Opening, closing and sweeping.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::RecordStore;

#[test]
fn a_store_is_made_for_its_owner_alone() {
    let (_dir, store) = store();
    assert_eq!(
        listing(store.root()),
        [
            "ballast",
            "builds",
            "kiln.db",
            "kiln.db-shm",
            "kiln.db-wal",
            "layers",
            "locks",
            "mounts",
            "oci",
            "staging"
        ]
    );
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(store.root()), 0o700);
    for part in ["builds", "layers", "mounts", "staging", "kiln.db", "kiln.db-wal"] {
        assert_eq!(mode(&store.root().join(part)) & 0o077, 0, "{part} is open to others");
    }
}

#[test]
fn many_may_make_and_open_one_store_at_once() {
    let dir = tempfile::TempDir::new().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let root = dir.path().join("root");
            scope.spawn(move || {
                let store = Store::open(&root).unwrap();
                store.records().put(&key(&number.to_string()), &record(&["a"])).unwrap();
                store.close().unwrap();
            });
        }
    });
    let store = Store::open(&dir.path().join("root")).unwrap();
    for number in 0..8 {
        assert!(store.records().get(&key(&number.to_string())).unwrap().is_some());
    }
}

#[test]
fn a_later_format_is_refused() {
    let (_dir, store) = store();
    let spoil = "PRAGMA user_version = 999; CREATE TABLE more (a INTEGER) STRICT;";
    store.db.read("spoil", |db| db.execute_batch(spoil)).unwrap();
    let error = Store::open(store.root()).unwrap_err();
    assert!(matches!(error, CacheError::NewerStore { found: 999, .. }), "{error}");
    assert!(!store.root().join("rebuild").exists(), "it is taken for damaged");
}

#[test]
fn a_root_that_cannot_be_is_named() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file).unwrap_err();
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}

#[test]
fn staging_lives_as_long_as_its_owner() {
    let (_dir, store) = store();
    let staging = store.root().join("staging");
    std::fs::create_dir_all(store.staging_dir().join("upper/etc")).unwrap();
    std::fs::create_dir_all(staging.join("7-dead-0/work/work")).unwrap();
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(staging.join("7-dead-0/work/work"), closed).unwrap();
    std::fs::write(staging.join("stray"), "").unwrap();
    let other = Store::open(store.root()).unwrap();
    let others = other.staging_dir().to_owned();
    other.close().unwrap();
    assert!(!others.exists());
    assert!(store.staging_dir().join("upper/etc").is_dir(), "a live owner was swept");
    assert_eq!(listing(&staging).len(), 1, "the dead were not swept");
    let root = store.root().to_owned();
    store.close().unwrap();
    assert!(listing(&root.join("staging")).is_empty());
}

/// Sweepers and those who make directories race; nobody loses a live one.
#[test]
fn the_sweep_never_takes_a_live_directory() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let opened = Store::open(store.root()).unwrap();
                    std::fs::write(opened.staging_dir().join("mine"), "").unwrap();
                    opened.close().unwrap();
                }
            });
        }
    });
}
