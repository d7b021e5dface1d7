//! Named images, and the index that others read.

use serde_json::{Value, json};

use super::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn image(store: &Store, text: &str) -> ImageRow {
    let manifest = store.put_blob(text.as_bytes()).unwrap();
    ImageRow {
        manifest: manifest.digest,
        media_type: MANIFEST.to_owned(),
        manifest_size_bytes: manifest.size_bytes,
        size_bytes: 5_000_000_000,
        created_ms: -1,
    }
}

fn index(store: &Store) -> Value {
    let text = std::fs::read(store.oci_dir().join("index.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_new_store_is_an_empty_layout() {
    let (_dir, store) = store();
    let layout: Value =
        serde_json::from_slice(&std::fs::read(store.oci_dir().join("oci-layout")).unwrap())
            .unwrap();
    assert_eq!(layout, json!({ "imageLayoutVersion": "1.0.0" }));
    assert_eq!(index(&store)["manifests"], json!([]));
    assert_eq!(store.images().unwrap(), []);
}

#[test]
fn names_come_move_and_go() {
    let (_dir, store) = store();
    let (one, two) = (image(&store, "{}"), image(&store, "{ }"));
    store.put_image("docker.io/library/b:latest", &one).unwrap();
    store.put_image("docker.io/library/a:1", &two).unwrap();
    store.put_image("docker.io/library/a:1", &one).unwrap();
    store.put_image(&two.manifest, &two).unwrap();
    assert_eq!(store.image("docker.io/library/a:1").unwrap(), Some(one.clone()));
    assert_eq!(store.image("a").unwrap(), None);
    let names: Vec<String> = store.images().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["docker.io/library/a:1", "docker.io/library/b:latest", &two.manifest]);
    let named = |name: &str, image: &ImageRow| {
        json!({
            "mediaType": MANIFEST,
            "digest": image.manifest,
            "size": image.manifest_size_bytes,
            "annotations": { "org.opencontainers.image.ref.name": name },
        })
    };
    let nameless = json!({ "mediaType": MANIFEST, "digest": two.manifest, "size": 3 });
    assert_eq!(
        index(&store),
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "annotations": { "kiln.generation": "4" },
            "manifests": [
                named("docker.io/library/a:1", &one),
                named("docker.io/library/b:latest", &one),
                nameless,
            ],
        })
    );
    assert!(store.remove_image("docker.io/library/a:1").unwrap());
    assert!(!store.remove_image("docker.io/library/a:1").unwrap());
    assert_eq!(index(&store)["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn an_image_without_its_manifest_is_refused() {
    let (_dir, store) = store();
    let image = image(&store, "{}");
    std::fs::remove_file(store.blob_path(&image.manifest).unwrap()).unwrap();
    let refused = store.put_image("a", &image);
    assert!(matches!(refused, Err(CacheError::MissingBlob { .. })), "{refused:?}");
    assert_eq!(store.images().unwrap(), []);
}

#[test]
fn many_at_once_leave_a_whole_index() {
    let (_dir, store) = store();
    let image = image(&store, "{}");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, image) = (&store, &image);
            scope.spawn(move || {
                for number in 0..10 {
                    store.put_image(&format!("t{thread}/n{number}"), image).unwrap();
                    index(store);
                }
            });
        }
    });
    assert_eq!(index(&store)["manifests"].as_array().unwrap().len(), 40);
}

/// As a process leaves it that was killed between the table and the index.
#[test]
fn an_index_that_lags_behind_is_written_at_the_next_opening() {
    let (_dir, store) = store();
    store.put_image("a", &image(&store, "{}")).unwrap();
    let path = store.oci_dir().join("index.json");
    std::fs::write(&path, "{}").unwrap();
    drop(Store::open(store.root()).unwrap());
    assert_eq!(index(&store), json!({}), "nothing says that it lags");
    store.db.write("spoil", |tx| super::super::images::note_stale_index(tx)).unwrap();
    drop(Store::open(store.root()).unwrap());
    assert_eq!(index(&store)["manifests"].as_array().unwrap().len(), 1);
}
