//! A check finds each kind of damage, and a repair drops it and nothing else.

use std::fs;

use kiln_ir::CacheSharing;

use super::*;
use crate::check::{Checked, Part, Repair};
use crate::layer::Content;
use crate::tree::{Meta, Mtime};
use crate::{CacheMountSpec, RecordStore};

fn layer(store: &Store, text: &str) -> Digest {
    let mut writer = store.layers().writer(&[]).unwrap();
    let time = Mtime::default();
    let content = Content::Reader(&mut text.as_bytes());
    writer.file(b"dir/file", &Meta::of_root(0o644), time, content).unwrap();
    writer.symlink(b"link", b"dir/file", &Meta::of_root(0o777), time).unwrap();
    writer.hardlink(b"other", b"dir/file").unwrap();
    writer.finish().unwrap()
}

/// A store with two of everything.
fn filled(root: &Path) {
    let store = Store::open(root).unwrap();
    for text in ["one", "two"] {
        let mut record = record(&[]);
        record.layers = vec![LayerRef::new(layer(&store, text))];
        store.records().put(&key(text), &record).unwrap();
        store.put_unpacked(text, &record.layers[0].digest).unwrap();
        let manifest = store.put_blob(format!("{{\"name\":\"{text}\"}}").as_bytes()).unwrap();
        let image = ImageRow {
            manifest: manifest.digest,
            media_type: String::new(),
            manifest_size_bytes: manifest.size_bytes,
            size_bytes: 1,
            created_ms: 0,
        };
        store.put_image(text, &image).unwrap();
        let (id, sharing) = (text.to_owned(), CacheSharing::Shared);
        let spec = CacheMountSpec { id, sharing, uid: 0, gid: 0, mode: 0o755 };
        drop(store.acquire_cache_mount(&spec, &mut |_| Ok(()), &patience()).unwrap());
    }
    store.close().unwrap();
}

fn parts(checked: &Checked) -> Vec<Part> {
    checked.faults.iter().map(|fault| fault.part).collect()
}

/// Damages a fresh store; what the check then says must be these faults, and after the repair none.
fn damaged(damage: impl FnOnce(&Path), expected: &[Part]) {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let check = |repair| Store::open(dir.path()).unwrap().check(repair).unwrap();
    assert_eq!(check(Repair::No).faults, [], "a sound store");
    damage(dir.path());
    let found = check(Repair::No);
    assert_eq!(parts(&found)[..1], expected[..1], "{found:?}");
    assert!(found.faults.iter().all(|fault| !fault.repaired));
    let repaired = check(Repair::Yes);
    assert_eq!(parts(&repaired), expected, "{repaired:?}");
    assert!(repaired.faults.iter().all(|fault| fault.repaired), "{repaired:?}");
    let after = check(Repair::No);
    assert_eq!(after.faults, [], "after the repair");
    let left = |part| after.counts.iter().find(|(of, _)| *of == part).unwrap().1;
    let lost = |part| expected.iter().filter(|of| **of == part).count();
    for part in [Part::Layer, Part::Blob, Part::Record, Part::Image, Part::Mount] {
        assert_eq!(left(part), 2 - lost(part), "{part:?}");
    }
}

fn first(dir: PathBuf) -> PathBuf {
    let name = listing(&dir).remove(0);
    dir.join(name)
}

#[test]
fn a_damaged_layer_goes_with_its_record() {
    let file = |root: &Path, name: &str| first(root.join("layers")).join("fs").join(name);
    let gone = [Part::Layer, Part::Record];
    damaged(|root| fs::write(file(root, "dir/file"), "eno").unwrap(), &gone);
    damaged(|root| fs::write(file(root, "dir/file"), "longer").unwrap(), &gone);
    damaged(|root| fs::write(file(root, "dir/more"), "").unwrap(), &gone);
    damaged(|root| fs::remove_file(file(root, "other")).unwrap(), &gone);
    let relink = |root: &Path| {
        fs::remove_file(file(root, "link")).unwrap();
        std::os::unix::fs::symlink("/elsewhere", file(root, "link")).unwrap();
    };
    damaged(relink, &gone);
    damaged(|root| fs::write(first(root.join("layers")).join("manifest"), "?").unwrap(), &gone);
}

#[test]
fn a_lost_layer_or_blob_takes_what_points_to_it_along() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    fs::remove_dir_all(first(dir.path().join("layers"))).unwrap();
    let blobs = dir.path().join("oci/blobs/sha256");
    fs::write(first(blobs), "?").unwrap();
    let store = Store::open(dir.path()).unwrap();
    let repaired = store.check(Repair::Yes).unwrap();
    assert_eq!(parts(&repaired), [Part::Blob, Part::Record, Part::Image]);
    assert_eq!(
        (store.images().unwrap().len(), store.check(Repair::No).unwrap().faults),
        (1, vec![])
    );
}

#[test]
fn an_index_and_a_mount_are_set_right() {
    let index = |root: &Path| fs::write(root.join("oci/index.json"), "{}").unwrap();
    damaged(index, &[Part::Index]);
    let mount = |root: &Path| fs::write(first(root.join("mounts")).join("id"), "?").unwrap();
    damaged(mount, &[Part::Mount]);
}

#[test]
fn what_a_process_uses_is_told_and_left() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let layer = first(dir.path().join("layers"));
    let digest = layer.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let user = Store::open(dir.path()).unwrap();
    assert!(user.layers().contains(&digest).unwrap());
    fs::write(layer.join("fs/dir/file"), "?").unwrap();
    let checked = Store::open(dir.path()).unwrap().check(Repair::Yes).unwrap();
    assert_eq!(parts(&checked), [Part::Layer]);
    assert!(!checked.faults[0].repaired && layer.exists(), "{checked:?}");
}

#[test]
fn a_store_of_an_earlier_format_is_brought_up_to_date() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let store = Store::open(dir.path()).unwrap();
    store
        .db
        .read("take a step back", |connection| {
            connection.execute_batch(
                "ALTER TABLE records DROP COLUMN proof; ALTER TABLE packed DROP COLUMN proof;
                 ALTER TABLE images DROP COLUMN proof; ALTER TABLE remotes DROP COLUMN proof;
                 ALTER TABLE state DROP COLUMN generation;
                 DROP TABLE accounts; DROP TABLE listings; DROP TABLE listed;
                 DROP INDEX records_by_name; DROP TABLE builds;
                 DROP INDEX needs_by_thing; DROP TABLE needs; DROP TABLE mounts;
                 DROP INDEX packed_by_blob; DROP INDEX unpacked_by_layer;
                 ALTER TABLE records DROP COLUMN used_ms;
                 ALTER TABLE layers DROP COLUMN size_bytes;
                 INSERT INTO records VALUES (zeroblob(32), 'no JSON', 1, 1, 1, 'damaged', 1);
                 PRAGMA user_version = 2;",
            )
        })
        .unwrap();
    drop(store);
    fs::write(dir.path().join("oci/index.json"), "{}").unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.records().get(&key("one")).unwrap().is_some());
    let usage = store.usage().unwrap();
    let used = usage.entries.iter().filter(|entry| entry.size_bytes > 0 && entry.used_ms > 0);
    assert!(used.count() >= 2 && usage.steps.count == 3, "{usage:?}");
    assert_eq!(parts(&store.check(Repair::No).unwrap()), []);
}
