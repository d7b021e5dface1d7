//! Documents: shapes, limits, and the choice of a platform.

use super::*;

fn descriptor(media_type: &str, platform: Option<&str>) -> Descriptor {
    let platform = platform.map(|text| text.parse().unwrap());
    Descriptor { platform, ..Descriptor::of(media_type, media_type.as_bytes()) }
}

#[test]
fn a_manifest_survives_writing_and_reading() {
    let config = descriptor(media_type::OCI_CONFIG, None);
    let layer = descriptor(media_type::OCI_LAYER_GZIP, None);
    let manifest = Manifest::new(config, vec![layer]);
    let bytes = manifest.to_bytes();
    assert_eq!(parse_manifest(&bytes).unwrap(), manifest);
    assert_eq!(parse_document(&bytes, "").unwrap(), Document::Manifest(manifest));
    assert!(bytes.starts_with(br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType""#));
}

#[test]
fn other_readers_take_our_documents() {
    let manifest = Manifest::new(descriptor(media_type::OCI_CONFIG, None), Vec::new());
    let theirs = oci_spec::image::ImageManifest::from_reader(&*manifest.to_bytes()).unwrap();
    assert_eq!(theirs.config().digest().to_string(), manifest.config.digest.to_string());
    let index = Index::new(vec![descriptor(media_type::OCI_MANIFEST, Some("linux/arm/v7"))]);
    let theirs = oci_spec::image::ImageIndex::from_reader(&*index.to_bytes()).unwrap();
    let platform = theirs.manifests()[0].platform().clone().unwrap();
    assert_eq!(platform.variant().as_deref(), Some("v7"));
}

#[test]
fn an_index_gives_the_nearest_platform() {
    let of = |platforms: &[&str]| {
        let one = |p: &&str| descriptor(media_type::OCI_MANIFEST, Some(p));
        Index::new(platforms.iter().map(one).collect())
    };
    let index = of(&["linux/arm/v6", "linux/arm/v7", "linux/amd64", "unknown/unknown"]);
    let selected = |wanted: &str| {
        let selected = index.select(&wanted.parse().unwrap()).map(|d| d.platform.clone().unwrap());
        selected.map(|p| p.to_string()).map_err(|e| e.to_string())
    };
    assert_eq!(selected("linux/arm/v7").unwrap(), "linux/arm/v7");
    assert_eq!(selected("linux/arm/v8").unwrap(), "linux/arm/v7");
    assert_eq!(selected("linux/amd64").unwrap(), "linux/amd64");
    assert_eq!(
        selected("linux/s390x").unwrap_err(),
        "no image for linux/s390x; there are: linux/arm/v6, linux/arm/v7, linux/amd64"
    );
    let single = Index::new(vec![descriptor(media_type::OCI_MANIFEST, None)]);
    assert!(single.select(&"linux/s390x".parse().unwrap()).is_ok());
}

#[test]
fn refuses_documents_of_another_kind() {
    let config = serde_json::to_string(&descriptor(media_type::OCI_CONFIG, None)).unwrap();
    let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#);
    for (text, says) in [
        (both.as_str(), "both `layers` and `manifests`"),
        (r#"{"schemaVersion":1,"name":"x"}"#, "cannot be read"),
        (r#"{"schemaVersion":1,"manifests":[]}"#, "schema version is 1"),
        (r#"{"schemaVersion":2,"mediaType":"text/html","manifests":[]}"#, "text/html"),
        ("<html>", "cannot be read"),
        ("", "cannot be read"),
    ] {
        assert!(
            parse_document(text.as_bytes(), "").unwrap_err().to_string().contains(says),
            "{text}"
        );
    }
    let large = vec![b' '; 1 + (4 << 20)];
    assert!(matches!(parse_manifest(&large), Err(ImageError::TooLarge { .. })));
}

#[test]
fn what_the_sender_declares_decides_only_when_the_document_is_silent() {
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    assert!(matches!(parse_document(index.as_bytes(), "text/plain"), Ok(Document::Index(_))));
    assert!(parse_document(index.as_bytes(), media_type::DOCKER_MANIFEST).is_err());
}
