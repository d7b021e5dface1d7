//! What is left after a restart of the machine. The restart is played: the store is told that another
//! boot used it last, and files are torn as a lost write would leave them.

use super::*;
use crate::RecordStore;

pub(super) fn restart(store: Store) -> Store {
    let root = store.root().to_owned();
    store.db.write("play", |tx| tx.execute("UPDATE state SET boot = 'other'", [])).unwrap();
    store.close().unwrap();
    Store::open(&root).unwrap()
}

fn layer(store: &Store, text: &str) -> PathBuf {
    let path = store.layers_dir().join(Digest::of(text.as_bytes()).to_string());
    std::fs::create_dir_all(path.join("fs")).unwrap();
    path
}

#[test]
fn only_what_was_marked_is_believed() {
    let (_dir, store) = store();
    let marked = [layer(&store, "a"), layer(&store, "b")];
    store.records().put(&key("marked"), &record(&["a", "b"])).unwrap();
    store.mark_durable().unwrap();
    let unmarked = [layer(&store, "c"), layer(&store, "never recorded")];
    store.records().put(&key("unmarked"), &record(&["a", "c"])).unwrap();
    // The directory of `a` may have been made anew since: it cannot be trusted any more.
    let store = restart(store);
    assert_eq!(store.records().get(&key("marked")).unwrap(), Some(record(&["a", "b"])));
    assert_eq!(store.records().get(&key("unmarked")).unwrap(), None);
    assert!(!marked[0].exists() && marked[1].exists());
    assert!(!unmarked[0].exists() && !unmarked[1].exists());
    let root = store.root().to_owned();
    store.close().unwrap();
    let again = Store::open(&root).unwrap();
    assert!(marked[1].exists());
    assert!(again.records().get(&key("marked")).unwrap().is_some());
}

#[test]
fn the_death_of_a_process_alone_loses_nothing() {
    let (_dir, store) = store();
    let layer = layer(&store, "a");
    store.records().put(&key("k"), &record(&["a"])).unwrap();
    let root = store.root().to_owned();
    store.close().unwrap();
    let store = Store::open(&root).unwrap();
    assert!(layer.exists());
    assert!(store.records().get(&key("k")).unwrap().is_some());
}

#[test]
fn a_mark_covers_what_came_before_it_in_every_process() {
    let (_dir, store) = store();
    let other = Store::open(store.root()).unwrap();
    store.records().put(&key("mine"), &record(&[])).unwrap();
    other.records().put(&key("theirs"), &record(&[])).unwrap();
    other.mark_durable().unwrap();
    other.close().unwrap();
    let store = restart(store);
    assert!(store.records().get(&key("mine")).unwrap().is_some());
    assert!(store.records().get(&key("theirs")).unwrap().is_some());
}

#[test]
fn torn_blobs_go_and_images_with_them() {
    let (_dir, store) = store();
    let config = store.put_blob(b"config").unwrap();
    let torn = store.put_blob(b"layer that does not reach the disk").unwrap();
    let image = |layer: &str| {
        let manifest = format!(
            r#"{{"config":{{"digest":"{}"}},"layers":[{{"digest":"{layer}"}}]}}"#,
            config.digest
        );
        let manifest = store.put_blob(manifest.as_bytes()).unwrap();
        ImageRow {
            manifest: manifest.digest,
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            manifest_size_bytes: manifest.size_bytes,
            size_bytes: 1,
            created_ms: 0,
        }
    };
    let (whole, broken) = (image(&config.digest), image(&torn.digest));
    store.put_image("whole", &whole).unwrap();
    store.put_image("broken", &broken).unwrap();
    std::fs::write(store.blob_path(&torn.digest).unwrap(), "").unwrap();
    let store = restart(store);
    assert!(store.has_blob(&config.digest).unwrap());
    assert!(!store.has_blob(&torn.digest).unwrap());
    assert_eq!(store.images().unwrap(), [("whole".to_owned(), whole)]);
    let index = std::fs::read_to_string(store.oci_dir().join("index.json")).unwrap();
    assert!(index.contains("whole") && !index.contains("broken"));
}

#[test]
fn marking_twice_is_marking_once() {
    let (_dir, store) = store();
    let epoch = || -> i64 {
        store
            .db
            .read("look", |db| db.query_row("SELECT epoch FROM state", [], |r| r.get(0)))
            .unwrap()
    };
    store.mark_durable().unwrap();
    let first = epoch();
    store.mark_durable().unwrap();
    assert_eq!(epoch(), first, "nothing was stored in between");
    store.records().put(&key("k"), &record(&[])).unwrap();
    store.mark_durable().unwrap();
    assert_eq!(epoch(), first + 1);
}
