//! What goes and what stays; above all that nothing goes that anything reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kiln_ir::{CacheSharing, Digest};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::layer::Content;
use crate::tree::{Meta, Mtime};
use crate::{
    BlobRef, CacheKey, CacheMountSpec, ImageRow, LayerRef, Record, RecordStore, RemoteRow,
};

fn open(root: &Path) -> Store {
    Store::open(root).unwrap()
}

fn key(text: &str) -> CacheKey {
    CacheKey::from_digest(Digest::of(text.as_bytes()))
}

/// Commits a layer with one file of some bytes.
fn layer(store: &Store, text: &str) -> Digest {
    let mut writer = store.layers().writer(&[]).unwrap();
    let bytes = text.repeat(5_000);
    let content = Content::Reader(&mut bytes.as_bytes());
    writer.file(b"file", &Meta::of_root(0o644), Mtime::default(), content).unwrap();
    writer.finish().unwrap()
}

fn put(store: &Store, name: &str, layers: &[Digest], duration_ms: u64) {
    let record = Record {
        layers: layers.iter().copied().map(LayerRef::new).collect(),
        created_ms: 1,
        duration_ms,
        size_bytes: 1,
        name: name.to_owned(),
    };
    store.records().put(&key(name), &record).unwrap();
}

/// Puts an image of layers, packed as blobs that are not really archives.
fn image(store: &Store, name: Option<&str>, layers: &[Digest]) -> Vec<String> {
    let mut blobs = Vec::new();
    for layer in layers {
        let blob = store.put_blob(format!("packed {layer}").as_bytes()).unwrap();
        let packed = BlobRef {
            digest: blob.digest.clone(),
            size_bytes: blob.size_bytes,
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
            diff_id: format!("sha256:{}", Digest::of(layer.as_bytes())),
        };
        store.put_packed(layer, "plain", &packed).unwrap();
        store.put_unpacked(&packed.diff_id, layer).unwrap();
        blobs.push(packed);
    }
    let ids: Vec<_> = blobs.iter().map(|blob| format!("{:?}", blob.diff_id)).collect();
    let config = format!(r#"{{"rootfs":{{"diff_ids":[{}]}}}}"#, ids.join(","));
    let config = store.put_blob(config.as_bytes()).unwrap();
    let parts: Vec<_> =
        blobs.iter().map(|blob| format!(r#"{{"digest":{:?}}}"#, blob.digest)).collect();
    let manifest =
        format!(r#"{{"config":{{"digest":{:?}}},"layers":[{}]}}"#, config.digest, parts.join(","));
    let manifest = store.put_blob(manifest.as_bytes()).unwrap();
    let row = ImageRow {
        manifest: manifest.digest.clone(),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        manifest_size_bytes: manifest.size_bytes,
        size_bytes: 1,
        created_ms: 0,
    };
    store.put_image(name.unwrap_or(&manifest.digest), &row).unwrap();
    let mut all: Vec<_> = blobs.into_iter().map(|blob| blob.digest).collect();
    all.extend([config.digest, manifest.digest]);
    all
}

fn has_layer(store: &Store, layer: &Digest) -> bool {
    store.layers_dir().join(layer.to_string()).join("manifest").exists()
}

fn has_blob(store: &Store, digest: &str) -> bool {
    store.blob_path(digest).unwrap().exists()
}

fn everything() -> Wanted {
    Wanted { all: true, ..Wanted::default() }
}

fn descriptions(collected: &Collected) -> Vec<&str> {
    collected.entries.iter().map(|entry| entry.description.as_str()).collect()
}

#[test]
fn what_a_process_uses_stays_until_it_ends() {
    let dir = TempDir::new().unwrap();
    let builder = open(dir.path());
    let collector = open(dir.path());
    let used = layer(&builder, "used");
    put(&builder, "used", &[used], 5);
    assert_eq!(collector.collect(&everything()).unwrap(), Collected::default());
    assert!(has_layer(&collector, &used) && builder.layers().contains(&used).unwrap());
    let usage = collector.usage().unwrap();
    assert!(usage.entries[0].in_use && usage.steps.active == 1, "{usage:?}");
    builder.close().unwrap();
    let collected = collector.collect(&everything()).unwrap();
    assert_eq!(descriptions(&collected), ["used"]);
    assert!(collected.reclaimed_bytes >= 20_000, "{collected:?}");
    assert!(!has_layer(&collector, &used));
    assert_eq!(collector.records().get(&key("used")).unwrap(), None);
    assert_eq!(collector.usage().unwrap(), Usage::default());
}

#[test]
fn a_layer_without_a_record_stays_while_its_maker_lives() {
    let dir = TempDir::new().unwrap();
    let (builder, collector) = (open(dir.path()), open(dir.path()));
    let fresh = layer(&builder, "fresh");
    let blob = builder.put_blob(b"fresh").unwrap().digest;
    collector.collect(&everything()).unwrap();
    assert!(has_layer(&collector, &fresh) && has_blob(&collector, &blob));
    drop(builder);
    let collected = collector.collect(&everything()).unwrap();
    assert_eq!(descriptions(&collected), ["left over", "left over"]);
    assert!(!has_layer(&collector, &fresh) && !has_blob(&collector, &blob));
}

#[test]
fn named_images_stay_whole_and_nameless_ones_go_when_all_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let builder = open(dir.path());
    let (named, nameless) = (layer(&builder, "named"), layer(&builder, "nameless"));
    put(&builder, "named", &[named], 5);
    put(&builder, "nameless", &[nameless], 5);
    let kept = image(&builder, Some("app"), &[named]);
    let lost = image(&builder, None, &[nameless]);
    builder.close().unwrap();
    let store = open(dir.path());
    assert_eq!(store.usage().unwrap().images.count, 2);
    let some = store.collect(&Wanted::default()).unwrap();
    assert_eq!(
        descriptions(&some),
        ["nameless"],
        "what an image shares stays, and so does an image"
    );
    assert!(has_layer(&store, &named), "the image as a base is not unpacked again");
    let rest = store.collect(&everything()).unwrap();
    assert_eq!(descriptions(&rest), ["image without a name", "named"]);
    assert!(!has_layer(&store, &named) && !has_layer(&store, &nameless));
    assert!(kept.iter().all(|blob| has_blob(&store, blob)));
    assert!(lost.iter().all(|blob| !has_blob(&store, blob)));
    let index = std::fs::read_to_string(store.oci_dir().join("index.json")).unwrap();
    assert!(kept[2].len() == 71 && index.contains(&kept[2]) && !index.contains(&lost[2]));
}

#[test]
fn the_least_valuable_goes_first_and_no_more_than_needed() {
    let dir = TempDir::new().unwrap();
    let builder = open(dir.path());
    for (name, duration_ms) in [("slow", 900_000), ("quick", 1), ("middling", 1_000)] {
        put(&builder, name, &[layer(&builder, name)], duration_ms);
    }
    builder.close().unwrap();
    let store = open(dir.path());
    let total = store.usage().unwrap().steps.size_bytes;
    let limits = Limits { max_used_bytes: Some(total - 1), ..Limits::default() };
    let wanted = Wanted { limits, ..everything() };
    let planned = store.would_collect(&wanted).unwrap();
    assert_eq!(descriptions(&planned), ["quick"]);
    assert_eq!(store.collect(&wanted).unwrap(), planned);
    assert_eq!(store.collect(&wanted).unwrap(), Collected::default(), "enough is enough");
    let limits = Limits { max_used_bytes: Some(1), ..Limits::default() };
    let rest = store.collect(&Wanted { limits, ..everything() }).unwrap();
    assert_eq!(descriptions(&rest), ["middling", "slow"]);
}

#[test]
fn a_layer_goes_with_the_last_record_that_needs_it() {
    let dir = TempDir::new().unwrap();
    let builder = open(dir.path());
    let both = layer(&builder, "both");
    put(&builder, "one", &[both], 1);
    put(&builder, "two", &[both], 1);
    builder.close().unwrap();
    let store = open(dir.path());
    let id = key("one").digest().to_string()[..12].to_owned();
    let one = store.collect(&Wanted { ids: vec![id], ..everything() }).unwrap();
    assert_eq!((descriptions(&one), one.reclaimed_bytes), (vec!["one"], 0));
    assert!(has_layer(&store, &both));
    let old = Wanted { unused_for: Some(Duration::from_secs(3600)), ..everything() };
    assert_eq!(store.collect(&old).unwrap(), Collected::default(), "it is young");
    assert!(store.collect(&everything()).unwrap().reclaimed_bytes > 0);
    assert!(!has_layer(&store, &both));
}

#[test]
fn a_record_needs_what_it_was_last_made_with() {
    let dir = TempDir::new().unwrap();
    let builder = open(dir.path());
    let [common, first, second] = ["common", "first", "second"].map(|name| layer(&builder, name));
    put(&builder, "step", &[common, first], 1);
    put(&builder, "step", &[common, second], 1);
    put(&builder, "step", &[common, second], 1);
    builder.close().unwrap();
    let store = open(dir.path());
    let old = Wanted { unused_for: Some(Duration::from_secs(3600)), ..everything() };
    assert_eq!(descriptions(&store.collect(&old).unwrap()), ["left over"]);
    assert!(!has_layer(&store, &first), "nothing needs it any more");
    assert!(has_layer(&store, &common) && has_layer(&store, &second));
    store.collect(&everything()).unwrap();
    assert!(!has_layer(&store, &common) && !has_layer(&store, &second));
}

#[test]
fn a_cache_mount_goes_when_nobody_has_it() {
    let dir = TempDir::new().unwrap();
    let (builder, collector) = (open(dir.path()), open(dir.path()));
    let spec = CacheMountSpec {
        id: "cargo".to_owned(),
        sharing: CacheSharing::Shared,
        uid: 0,
        gid: 0,
        mode: 0o755,
    };
    let guard = builder.acquire_cache_mount(&spec, &mut |_| Ok(()), &|| false).unwrap();
    std::fs::write(guard.path().join("file"), [1; 50_000]).unwrap();
    assert_eq!(collector.collect(&everything()).unwrap(), Collected::default());
    assert!(guard.path().join("file").exists());
    let path = guard.path().to_owned();
    drop(guard);
    let collected = collector.collect(&everything()).unwrap();
    assert_eq!(descriptions(&collected), ["cache mount cargo"]);
    assert!(collected.reclaimed_bytes >= 50_000 && !path.exists());
    drop(builder.acquire_cache_mount(&spec, &mut |_| Ok(()), &|| false).unwrap());
}

#[test]
fn downloads_and_repositories_go_when_nobody_uses_them() {
    let dir = TempDir::new().unwrap();
    let (builder, collector) = (open(dir.path()), open(dir.path()));
    let fetched = layer(&builder, "fetched");
    let row = RemoteRow { version: None, last_modified: None, layer: fetched };
    let wanted = Digest::of(b"address");
    builder.put_remote(&wanted, &row).unwrap();
    let repository = builder.acquire_repository("remote", &|| false).unwrap();
    let path = repository.path().to_owned();
    std::fs::write(path.join("HEAD"), "x").unwrap();
    assert_eq!(collector.collect(&everything()).unwrap(), Collected::default());
    drop(repository);
    let collected = collector.collect(&everything()).unwrap();
    assert_eq!(descriptions(&collected), ["git repository"]);
    assert!(!path.exists() && has_layer(&collector, &fetched));
    builder.close().unwrap();
    assert_eq!(collector.usage().unwrap().remotes.count, 1);
    let leftovers = Wanted { kinds: [EntryKind::Leftover].into(), ..everything() };
    assert_eq!(collector.collect(&leftovers).unwrap(), Collected::default());
    let collected = collector.collect(&everything()).unwrap();
    assert_eq!(descriptions(&collected), ["download or commit"]);
    assert!(!has_layer(&collector, &fetched));
    assert_eq!(collector.remote(&wanted).unwrap(), None);
}

#[test]
fn a_base_images_blobs_stay_with_its_record() {
    let dir = TempDir::new().unwrap();
    let builder = open(dir.path());
    let base = layer(&builder, "base");
    let blob = builder.put_blob(b"base").unwrap();
    let mut record = Record {
        layers: vec![LayerRef::new(base)],
        created_ms: 1,
        duration_ms: 1,
        size_bytes: 1,
        name: "FROM base".to_owned(),
    };
    record.layers[0].blob = Some(BlobRef {
        digest: blob.digest.clone(),
        size_bytes: blob.size_bytes,
        media_type: String::new(),
        diff_id: String::new(),
    });
    builder.records().put(&key("base"), &record).unwrap();
    builder.close().unwrap();
    let leftovers = Wanted { kinds: [EntryKind::Leftover].into(), ..everything() };
    let store = open(dir.path());
    assert_eq!(store.collect(&leftovers).unwrap(), Collected::default());
    assert!(has_blob(&store, &blob.digest));
    store.collect(&everything()).unwrap();
    assert!(!has_blob(&store, &blob.digest));
}

/// Something that happens to a store with two builders and a collector.
#[derive(Debug, Clone)]
enum Step {
    /// A builder takes a record if it can, else makes its layers and puts it.
    Run {
        builder: usize,
        name: u8,
        layers: Vec<u8>,
    },
    /// A builder makes a layer and does not get any further.
    Commit {
        builder: usize,
        layer: u8,
    },
    Tag {
        builder: usize,
        name: Option<u8>,
        layers: Vec<u8>,
    },
    Untag {
        name: u8,
    },
    /// A builder ends, and another begins.
    End {
        builder: usize,
    },
    Collect {
        all: bool,
        max_used_bytes: Option<u64>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (builder, few) = (0..2_usize, || prop::collection::vec(0..6_u8, 1..3));
    let step = prop_oneof![
        4 => (builder.clone(), 0..6_u8, few())
            .prop_map(|(builder, name, layers)| Step::Run { builder, name, layers }),
        1 => (builder.clone(), 0..6_u8).prop_map(|(builder, layer)| Step::Commit { builder, layer }),
        2 => (builder.clone(), prop::option::of(0..3_u8), few())
            .prop_map(|(builder, name, layers)| Step::Tag { builder, name, layers }),
        1 => (0..3_u8).prop_map(|name| Step::Untag { name }),
        2 => builder.prop_map(|builder| Step::End { builder }),
        3 => (any::<bool>(), prop::option::of(0..200_000_u64))
            .prop_map(|(all, max_used_bytes)| Step::Collect { all, max_used_bytes }),
    ];
    prop::collection::vec(step, 1..25)
}

/// What must be there.
#[derive(Default)]
struct Model {
    /// By builder.
    layers: [BTreeSet<Digest>; 2],
    blobs: [BTreeSet<String>; 2],
    named: BTreeMap<u8, Vec<String>>,
}

impl Model {
    fn check(&self, store: &Store) {
        for layer in self.layers.iter().flatten() {
            assert!(has_layer(store, layer), "a layer in use is gone");
        }
        let named = self.named.values().flatten();
        for blob in self.blobs.iter().flatten().chain(named) {
            assert!(has_blob(store, blob), "a blob in use is gone");
        }
    }
}

fn text(layer: u8) -> String {
    format!("layer {layer}")
}

fn play(steps: &[Step]) {
    let dir = TempDir::new().unwrap();
    let mut builders = [open(dir.path()), open(dir.path())];
    let collector = open(dir.path());
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Run { builder: at, name, layers } => {
                let builder = &builders[*at];
                let name = format!("{name} {layers:?}");
                let found = builder.records().get(&key(&name)).unwrap();
                let all_there = |record: &Record| {
                    record.layers.iter().all(|l| builder.layers().contains(&l.digest).unwrap())
                };
                let made = match found.filter(all_there) {
                    Some(record) => record.layers.iter().map(|layer| layer.digest).collect(),
                    None => {
                        let made: Vec<_> =
                            layers.iter().map(|l| layer(builder, &text(*l))).collect();
                        put(builder, &name, &made, 1);
                        made
                    }
                };
                model.layers[*at].extend(made);
            }
            Step::Commit { builder, layer: number } => {
                let made = layer(&builders[*builder], &text(*number));
                model.layers[*builder].insert(made);
            }
            Step::Tag { builder: at, name, layers } => {
                let builder = &builders[*at];
                let made: Vec<_> = layers.iter().map(|l| layer(builder, &text(*l))).collect();
                let called = name.map(|name| format!("image{name}"));
                let blobs = image(builder, called.as_deref(), &made);
                model.layers[*at].extend(made);
                model.blobs[*at].extend(blobs.clone());
                if let Some(name) = name {
                    model.named.insert(*name, blobs);
                }
            }
            Step::Untag { name } => {
                collector.remove_image(&format!("image{name}")).unwrap();
                model.named.remove(name);
            }
            Step::End { builder } => {
                builders[*builder] = open(dir.path());
                model.layers[*builder].clear();
                model.blobs[*builder].clear();
            }
            Step::Collect { all, max_used_bytes } => {
                let limits = Limits { max_used_bytes: *max_used_bytes, ..Limits::default() };
                collector.collect(&Wanted { all: *all, limits, ..Wanted::default() }).unwrap();
            }
        }
        model.check(&collector);
    }
    drop(builders);
    nothing_more(&collector, &model);
}

/// That a collection of everything leaves named images, and no more.
fn nothing_more(collector: &Store, model: &Model) {
    collector.collect(&everything()).unwrap();
    assert_eq!(std::fs::read_dir(collector.layers_dir()).unwrap().count(), 0, "layers stay");
    let named: BTreeSet<_> = model.named.values().flatten().collect();
    let blobs = std::fs::read_dir(collector.blobs_dir()).unwrap().count();
    assert_eq!(blobs, named.len(), "the blobs of named images stay, and no others");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_collection_never_frees_what_is_reached(steps in steps()) {
        play(&steps);
    }
}
