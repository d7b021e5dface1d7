//! Caches that BuildKit made, put together after their public format: they are told of and not used, and the build
//! goes on.

use std::fs;
use std::path::Path;

use kiln_image::OciDigest;
use kiln_testkit::{Answer, Asked, Server};
use serde_json::{Value, json};

use super::Bed;

const CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const TOLD: &str = "it is one of BuildKit's, which Kiln does not read";

/// The forms that BuildKit has: the document's media type, and that of its layers.
const FORMS: [(&str, &str); 4] = [
    // `image-manifest=false`, and the same with `oci-mediatypes=false`.
    (OCI_INDEX, OCI_LAYER),
    (DOCKER_LIST, DOCKER_LAYER),
    (OCI_MANIFEST, OCI_LAYER),
    // A cache without a layer has nothing but its config.
    (OCI_INDEX, ""),
];

/// A layout's directory to which blobs are put.
struct Layout<'a>(&'a Path);

impl Layout<'_> {
    fn put(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = OciDigest::of(bytes).to_string();
        let path = self.0.join("blobs").join(digest.replace(':', "/"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Puts a cache there, under the name that BuildKit gives it; answers what points to it.
    fn cache(&self, media_type: &str, layer_type: &str) -> Value {
        let mut layers = Vec::new();
        if !layer_type.is_empty() {
            let mut layer = self.put(layer_type, b"no archive, and nobody looks");
            layer["annotations"] = json!({"buildkit/createdat": "2024-01-01T00:00:00Z"});
            layers.push(layer);
        }
        let blobs = layers.iter().map(|layer| json!({"blob": layer["digest"], "parent": -1}));
        let results = json!([{"layer": 0, "createdAt": "2024-01-01T00:00:00Z"}]);
        let record = json!({"digest": OciDigest::of(b"key").to_string(), "layers": results});
        let config = json!({"layers": blobs.collect::<Vec<_>>(), "records": [record]});
        let config = self.put(CONFIG, config.to_string().as_bytes());
        let mut document = json!({"schemaVersion": 2, "mediaType": media_type});
        if media_type == OCI_MANIFEST {
            document["config"] = config;
            document["layers"] = layers.into();
        } else {
            layers.push(config);
            document["manifests"] = layers.into();
        }
        let mut found = self.put(media_type, document.to_string().as_bytes());
        found["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [found]});
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
        fs::write(self.0.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        found
    }
}

/// Builds on a new machine with a cache that is of no use.
fn check(bed: &Bed, from: &str, what: &str) {
    let (steps, _) = bed.run("b", &[from]);
    assert_eq!(steps.ran().len(), steps.count(), "{what}");
    let warnings = steps.warnings();
    assert_eq!(warnings.len(), 1, "{what}: {warnings:?}");
    assert!(warnings[0].starts_with("the cache at "), "{what}: {warnings:?}");
    assert!(warnings[0].ends_with(TOLD), "{what}: {warnings:?}");
    bed.forget("b");
}

#[test]
fn a_directory_of_buildkits_is_told_of_and_not_used() {
    let Some(bed) = Bed::new() else { return };
    for (media_type, layer_type) in FORMS {
        let dir = bed.work.path("cache");
        fs::create_dir(&dir).unwrap();
        Layout(&dir).cache(media_type, layer_type);
        let what = format!("{media_type} of {layer_type}");
        check(&bed, &bed.at("--cache-from=type=local,src", "cache"), &what);
        fs::remove_dir_all(dir).unwrap();
    }
    bed.work.assert_no_mounts();
}

#[test]
fn a_registrys_of_buildkits_is_told_of_and_not_used() {
    let Some(bed) = Bed::new() else { return };
    for (media_type, layer_type) in FORMS {
        let dir = bed.work.path("cache");
        fs::create_dir(&dir).unwrap();
        let found = Layout(&dir).cache(media_type, layer_type);
        let blob = dir.join("blobs").join(found["digest"].as_str().unwrap().replace(':', "/"));
        let document = fs::read(blob).unwrap();
        let server = Server::start(move |asked: &Asked| {
            if asked.target.ends_with("/manifests/latest") {
                return Answer::ok(document.clone()).header("Content-Type", media_type);
            }
            Answer::status(404)
        });
        let from = format!("--cache-from={}/cache:latest", server.host());
        check(&bed, &from, &format!("{media_type} of {layer_type}"));
        fs::remove_dir_all(dir).unwrap();
    }
    bed.work.assert_no_mounts();
}

#[test]
fn an_image_with_a_cache_of_buildkits_is_told_of_and_not_used() {
    let Some(bed) = Bed::new() else { return };
    let dir = bed.work.path("image");
    fs::create_dir(&dir).unwrap();
    let layout = Layout(&dir);
    // The field holds a document like that of the other forms, as base64.
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": []},
        "moby.buildkit.cache.v0": "eyJsYXllcnMiOltdLCJyZWNvcmRzIjpbXX0=",
    });
    let config =
        layout.put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest =
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []});
    let mut found = layout.put(OCI_MANIFEST, manifest.to_string().as_bytes());
    found["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [found]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    check(&bed, &bed.at("--cache-from=type=local,src", "image"), "inline");
}

#[test]
fn services_are_refused_by_their_type() {
    let Some(bed) = Bed::new() else { return };
    for service in ["gha", "s3", "azblob"] {
        for option in ["--cache-from", "--cache-to"] {
            let fields = format!("{option}=type={service},region=eu,bucket=b,name=n,mode=max");
            let said = bed.build("a").arg(fields).fails(2);
            let told = format!("the cache type `{service}` is a provider's own service");
            assert!(said.contains(&told), "{said}");
        }
    }
}
