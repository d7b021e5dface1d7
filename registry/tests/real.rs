//! The client against a real registry: Debian's `docker-registry`, filled by `skopeo`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_image::layer::{
    EntryKind, EntryMeta, Limits, PackEntry, PackOptions, Purpose, entries, pack,
};
use kiln_image::{
    Descriptor, Document, ImageConfig, ImageRef, Index, Manifest, layout, media_type, parse_config,
};
use kiln_registry::{Client, Credentials, Pushed, RegistryConfig, RegistryError, Upload};

/// A registry's process, ended with the test.
struct Registry {
    process: Child,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Registry {
    /// Starts a registry over a directory; `None`, said aloud, where there is none to start.
    fn start(root: &Path) -> Option<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let config = root.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: \"{host}\"}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}}}\n",
            root.join("data").display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                kiln_testkit::skipped(&format!("docker-registry: {error}"));
                return None;
            }
        };
        let registry = Self { process, host };
        let start = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "the registry does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(registry)
    }
}

/// Writes a layout with one image of one layer that holds one large file.
fn write_layout(root: &Path, content: &[u8]) -> Descriptor {
    fs::create_dir_all(root.join(layout::BLOBS_DIR)).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let descriptor = Descriptor::of(media_type, bytes);
        fs::write(root.join(layout::blob_path(&descriptor.digest)), bytes).unwrap();
        descriptor
    };
    let kind = EntryKind::File { size_bytes: content.len() as u64, content: Box::new(content) };
    let entry = PackEntry { path: b"file".to_vec(), kind, meta: EntryMeta::default() };
    let mut bytes = Vec::new();
    let packed = pack([Ok::<_, Infallible>(entry)], &mut bytes, PackOptions::default()).unwrap();
    let layer = put(packed.media_type, &bytes);
    let mut config = ImageConfig::default();
    (config.os, config.architecture) = ("linux".to_owned(), "amd64".to_owned());
    config.rootfs.diff_ids = vec![packed.diff_id];
    let config = put(media_type::OCI_CONFIG, &config.to_bytes());
    let manifest = put(media_type::OCI_MANIFEST, &Manifest::new(config, vec![layer]).to_bytes());
    let mut index = Index::new(Vec::new());
    layout::insert(&mut index, manifest.clone(), Some("latest"));
    fs::write(root.join(layout::INDEX_NAME), index.to_bytes()).unwrap();
    fs::write(root.join(layout::MARKER_NAME), layout::MARKER).unwrap();
    manifest
}

/// Pushes a layout's image; whether there was a tool to do it with.
fn push(source: &Path, host: &str) -> bool {
    let output = Command::new("skopeo")
        .args(["copy", "--insecure-policy", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:latest", source.display()))
        .arg(format!("docker://{host}/group/image:1"))
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(error) => {
            kiln_testkit::skipped(&format!("skopeo: {error}"));
            false
        }
    }
}

#[test]
fn what_skopeo_pushed_is_pulled_whole() {
    let directory = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start(directory.path()) else { return };
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(n) >> 9) as u8).collect();
    let source = directory.path().join("layout");
    let pushed = write_layout(&source, &content);
    if !push(&source, &registry.host) {
        return;
    }
    let client = Client::new(RegistryConfig::default(), Credentials::none()).unwrap();
    let image: ImageRef = format!("{}/group/image:1", registry.host).parse().unwrap();
    let resolved = client.resolve(&image).unwrap();
    assert_eq!(resolved.digest, pushed.digest);
    assert_eq!(client.manifest(&image, &pushed.digest).unwrap(), resolved);
    let Document::Manifest(manifest) = resolved.document else { panic!("an index") };

    let mut bytes = Vec::new();
    client.fetch_blob(&image, &manifest.config, &mut bytes, &|_| {}).unwrap();
    let config = parse_config(&bytes).unwrap();
    let mut blob = tempfile::tempfile().unwrap();
    client.fetch_blob(&image, &manifest.layers[0], &mut blob, &|_| {}).unwrap();
    blob.flush().unwrap();
    std::io::Seek::rewind(&mut blob).unwrap();
    let mut layer = entries(blob, Purpose::Layer, Limits::default()).unwrap();
    let mut read = Vec::new();
    if let EntryKind::File { mut content, .. } = layer.next_entry().unwrap().unwrap().kind {
        content.read_to_end(&mut read).unwrap();
    }
    assert!(read == content);
    assert_eq!(layer.finish().unwrap().diff_id, Some(config.rootfs.diff_ids[0]));
}

#[test]
fn a_tag_that_is_not_there_is_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start(directory.path()) else { return };
    let client = Client::new(RegistryConfig::default(), Credentials::none()).unwrap();
    let image: ImageRef = format!("{}/none:1", registry.host).parse().unwrap();
    let error = client.resolve(&image).unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[test]
fn what_is_pushed_is_read_by_skopeo() {
    let directory = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start(directory.path()) else { return };
    // Noise, so that the blob takes several pieces.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let content: Vec<u8> = noise.take(20_000_000).collect();
    let source = directory.path().join("layout");
    let pushed = write_layout(&source, &content);
    let bytes = fs::read(source.join(layout::blob_path(&pushed.digest))).unwrap();
    let manifest = kiln_image::parse_manifest(&bytes).unwrap();
    let client = Client::new(RegistryConfig::default(), Credentials::none()).unwrap();
    let image: ImageRef = format!("{}/group/image:1", registry.host).parse().unwrap();
    let push_all = |image: &ImageRef, also_in| {
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        let push = |blob: &Descriptor| {
            let mut file = fs::File::open(source.join(layout::blob_path(&blob.digest))).unwrap();
            let content = &mut file;
            client.push_blob(Upload { image, blob, content, also_in, progress: &|_| {} }).unwrap()
        };
        blobs.map(push).collect::<Vec<_>>()
    };
    assert_eq!(push_all(&image, None), [Pushed::Sent; 2]);
    assert_eq!(push_all(&image, None), [Pushed::Present; 2]);
    client.push_manifest(&image, media_type::OCI_MANIFEST, &bytes).unwrap();
    let other: ImageRef = format!("{}/other/image:1", registry.host).parse().unwrap();
    assert_eq!(push_all(&other, Some("group/image")), [Pushed::Mounted; 2]);
    assert_eq!(client.resolve(&image).unwrap().digest, pushed.digest);
    let output = Command::new("skopeo")
        .args(["copy", "--insecure-policy", "--src-tls-verify=false"])
        .arg(format!("docker://{}/group/image:1", registry.host))
        .arg(format!("dir:{}", directory.path().join("copy").display()))
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => kiln_testkit::skipped(&format!("skopeo: {error}")),
    }
}
