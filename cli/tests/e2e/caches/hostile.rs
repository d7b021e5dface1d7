//! Caches that are damaged, lie, or come from a registry that gives up: the image is the right one all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_image::OciDigest;
use kiln_testkit::{Answer, Asked, Server};
use serde_json::Value;

use super::{Bed, names};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))
}

/// A cache of the whole build, and the image that it is of.
fn made(bed: &Bed) -> String {
    bed.run_at_epoch("a", &[&bed.at("--cache-to=type=local,mode=max,dest", "cache")]).1
}

#[test]
fn no_blob_can_be_damaged_without_the_step_running_again() {
    let Some(bed) = Bed::new() else { return };
    let made = made(&bed);
    let from = bed.at("--cache-from=type=local,src", "damaged");
    let blobs = names(&bed.work.path("cache/blobs/sha256"));
    let mut noticed = 0;
    for name in &blobs {
        let copy = bed.work.copy(&bed.work.path("cache"), "damaged");
        let path = copy.join("blobs/sha256").join(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (steps, used) = bed.run_at_epoch("b", &[&from]);
        assert_eq!(used, made, "{name}");
        noticed += usize::from(!steps.ran().is_empty());
        bed.forget("b");
        fs::remove_dir_all(copy).unwrap();
    }
    // The documents and the blobs of the result's own layers; nothing reads the other stage's.
    assert!(noticed >= 4 && noticed < blobs.len(), "{noticed} of {}", blobs.len());
    bed.work.assert_no_mounts();
}

#[test]
fn a_cache_that_gives_a_layer_other_files_is_not_believed() {
    let Some(bed) = Bed::new() else { return };
    let made = made(&bed);
    let cache = bed.work.path("cache");
    let index = read(&cache.join("index.json"));
    let manifest = read(&blob(&cache, &index["manifests"][0]["digest"]));
    let config = blob(&cache, &manifest["config"]["digest"]);
    let mut document = read(&config);
    // Every layer of the build's own gets the next one's blob and list of files.
    let layers = document["layers"].as_array_mut().unwrap();
    let own: Vec<usize> = (0..layers.len()).filter(|&n| layers[n]["form"].is_string()).collect();
    let first = layers[own[0]].clone();
    for pair in own.windows(2) {
        for key in ["blob", "tree"] {
            layers[pair[0]][key] = layers[pair[1]][key].clone();
        }
    }
    for key in ["blob", "tree"] {
        layers[*own.last().unwrap()][key] = first[key].clone();
    }
    rewrite(&cache, manifest, &document);
    let from = bed.at("--cache-from=type=local,src", "cache");
    let (steps, used) = bed.run_at_epoch("b", &[&from]);
    assert_eq!(used, made);
    assert!(!steps.ran().is_empty());
    let warnings = steps.warnings();
    assert!(
        warnings.iter().any(|text| text.contains("of an imported cache cannot be had")),
        "{warnings:?}"
    );
    // Without the lists the archives themselves are what does not fit.
    let manifest = read(&blob(&cache, &read(&cache.join("index.json"))["manifests"][0]["digest"]));
    for layer in document["layers"].as_array_mut().unwrap() {
        layer.as_object_mut().unwrap().remove("tree");
    }
    rewrite(&cache, manifest, &document);
    bed.forget("b");
    let (steps, used) = bed.run_at_epoch("b", &[&from]);
    assert_eq!(used, made);
    let warnings = steps.warnings();
    assert!(
        warnings.iter().any(|text| text.contains("other files than the cache says")),
        "{warnings:?}"
    );
}

/// Gives a cache another document, with digests that fit.
fn rewrite(cache: &Path, mut manifest: Value, document: &Value) {
    let put = |bytes: &[u8]| {
        let digest = OciDigest::of(bytes).to_string();
        fs::write(blob(cache, &Value::from(digest.as_str())), bytes).unwrap();
        (digest, bytes.len())
    };
    let (digest, size) = put(document.to_string().as_bytes());
    manifest["config"]["digest"] = digest.into();
    manifest["config"]["size"] = size.into();
    let (digest, size) = put(manifest.to_string().as_bytes());
    let mut index = read(&cache.join("index.json"));
    index["manifests"][0]["digest"] = digest.into();
    index["manifests"][0]["size"] = size.into();
    fs::write(cache.join("index.json"), index.to_string()).unwrap();
}

/// A registry that has a layout's image as `cache:latest`; of its blobs it gives `blobs`, and then none.
fn registry_of(cache: PathBuf, blobs: usize) -> Server {
    let given = AtomicUsize::new(0);
    Server::start(move |asked: &Asked| {
        let (dir, target) = (&cache, asked.target.as_str());
        if target.ends_with("/manifests/latest") {
            let index = read(&dir.join("index.json"));
            let manifest = fs::read(blob(dir, &index["manifests"][0]["digest"])).unwrap();
            let kind = "application/vnd.oci.image.manifest.v1+json";
            return Answer::ok(manifest).header("Content-Type", kind);
        }
        let Some((_, digest)) = target.split_once("/blobs/") else { return Answer::status(404) };
        if given.fetch_add(1, Ordering::SeqCst) >= blobs {
            return Answer::status(403);
        }
        Answer::ok(fs::read(blob(dir, &Value::from(digest))).unwrap())
    })
}

#[test]
fn a_registry_that_gives_up_midway_costs_no_more_than_time() {
    let Some(bed) = Bed::new() else { return };
    let made = made(&bed);
    let mut ran = Vec::new();
    for blobs in [0, 1, 2, 3, 1000] {
        let server = registry_of(bed.work.path("cache"), blobs);
        let from = format!("--cache-from={}/cache:latest", server.host());
        let (steps, used) = bed.run_at_epoch("b", &[&from]);
        assert_eq!(used, made, "after {blobs} blobs");
        ran.push(steps.ran().len());
        bed.forget("b");
    }
    // The last step is told twice when the build begins anew.
    assert!(ran[0] >= 6 && ran[1] > 0 && ran[4] == 0, "{ran:?}");
    bed.work.assert_no_mounts();
}

#[test]
fn that_a_build_began_anew_is_no_reason_for_a_step_to_run() {
    let Some(bed) = Bed::new() else { return };
    made(&bed);
    bed.work.write("context/main.txt", "other\n");
    let mut anew = 0;
    for blobs in [1, 2, 3] {
        let server = registry_of(bed.work.path("cache"), blobs);
        let from = format!("--cache-from={}/cache:latest", server.host());
        let (steps, _) = bed.run_at_epoch("b", &[&from]);
        let lost = |text: &&str| text.contains("of an imported cache cannot be had");
        anew += steps.warnings().into_iter().filter(lost).count();
        let said = bed.machine("b").print(&["explain"]);
        assert!(!said.contains("begun before"), "after {blobs} blobs:\n{said}");
        // Each step is told of once.
        assert_eq!(said.matches("COPY main.txt .").count(), 1, "after {blobs} blobs:\n{said}");
        bed.forget("b");
    }
    assert!(anew > 0, "no build began anew");
}

#[test]
fn a_registry_that_takes_nothing_more_is_a_warning() {
    let Some(bed) = Bed::new() else { return };
    for status in [500, 403] {
        let taken = AtomicUsize::new(0);
        let server = Server::start(move |asked: &Asked| match asked.method.as_str() {
            "HEAD" | "GET" => Answer::status(404),
            _ if taken.fetch_add(1, Ordering::SeqCst) > 3 => Answer::status(status),
            "POST" => Answer::status(202).header("Location", "/v2/cache/blobs/uploads/1"),
            _ => Answer::status(201),
        });
        let to = format!("--cache-to=type=registry,mode=max,ref={}/cache:latest", server.host());
        let (steps, _) = bed.run("a", &[&to]);
        let warnings = steps.warnings();
        assert!(warnings[0].contains("the cache is not exported to"), "{warnings:?}");
        bed.build("a").arg(format!("{to},ignore-error=false")).fails(5);
    }
}
