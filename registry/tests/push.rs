//! Blobs and manifests on their way to a registry that misbehaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::io::Cursor;

use kiln_image::{Descriptor, ImageRef, Manifest, OciDigest, media_type};
use kiln_registry::{
    Client, Credential, Credentials, FakeRegistry, FaultKind, HostConfig, Login, Pushed,
    RegistryConfig, RegistryError, Upload,
};

fn client() -> Client {
    Client::new(RegistryConfig::default(), Credentials::none()).unwrap()
}

fn image(registry: &FakeRegistry) -> ImageRef {
    format!("{}/team/app:1", registry.host()).parse().unwrap()
}

fn blob(length: usize) -> (Descriptor, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
    (Descriptor::of(media_type::OCI_LAYER, &bytes), bytes)
}

fn push(
    client: &Client,
    image: &ImageRef,
    blob: &(Descriptor, Vec<u8>),
    also_in: Option<&str>,
) -> Result<Pushed, RegistryError> {
    let content = &mut Cursor::new(&blob.1);
    client.push_blob(Upload { image, blob: &blob.0, content, also_in, progress: &|_| {} })
}

fn fetch(client: &Client, image: &ImageRef, blob: &Descriptor) -> Vec<u8> {
    let mut out = Vec::new();
    client.fetch_blob(image, blob, &mut out, &|_| {}).unwrap();
    out
}

/// Method and path of the requests that reached a registry's protocol.
fn asked(registry: &FakeRegistry) -> Vec<String> {
    let seen = registry.seen().into_iter().filter(|request| request.path.starts_with("/v2/"));
    seen.map(|request| format!("{} {}", request.method, request.path)).collect()
}

fn sent_bytes(registry: &FakeRegistry) -> usize {
    registry.seen().iter().map(|request| request.body.len()).sum()
}

#[test]
fn what_was_pushed_can_be_pulled_and_is_sent_once() {
    let registry = FakeRegistry::start().unwrap();
    let (client, image, blob) = (client(), image(&registry), blob(100_000));
    assert_eq!(push(&client, &image, &blob, None).unwrap(), Pushed::Sent);
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    push(&client, &image, &(config.clone(), b"{}".to_vec()), None).unwrap();
    let manifest = Manifest::new(config, vec![blob.0.clone()]).to_bytes();
    let digest = client.push_manifest(&image, media_type::OCI_MANIFEST, &manifest).unwrap();
    assert_eq!(digest, OciDigest::of(&manifest));
    assert_eq!(client.resolve(&image).unwrap().bytes, manifest);
    assert_eq!(client.resolve(&image.with_digest(digest)).unwrap().bytes, manifest);
    assert_eq!(fetch(&client, &image, &blob.0), blob.1);

    let before = (sent_bytes(&registry), asked(&registry).len());
    assert_eq!(push(&client, &image, &blob, None).unwrap(), Pushed::Present);
    assert_eq!((sent_bytes(&registry), asked(&registry).len()), (before.0, before.1 + 1));
}

#[test]
fn a_blob_of_another_repository_is_taken_over() {
    let registry = FakeRegistry::start().unwrap();
    let (client, blob) = (client(), blob(1000));
    let other: ImageRef = format!("{}/team/base:1", registry.host()).parse().unwrap();
    push(&client, &other, &blob, None).unwrap();
    let image = image(&registry);
    assert_eq!(push(&client, &image, &blob, Some("team/base")).unwrap(), Pushed::Mounted);
    assert_eq!(sent_bytes(&registry), 1000);
    // One that is not there after all is sent.
    let missing = self::blob(500);
    assert_eq!(push(&client, &image, &missing, Some("team/base")).unwrap(), Pushed::Sent);
    assert_eq!(fetch(&client, &image, &missing.0), missing.1);
}

#[test]
fn a_large_blob_goes_in_pieces_of_which_a_lost_one_is_sent_again() {
    let registry = FakeRegistry::start().unwrap();
    let (client, image, blob) = (client(), image(&registry), blob(20 << 20));
    // The first piece is taken though nobody hears of it; another is refused twice.
    registry.fail("/blobs/uploads/0", 1, FaultKind::CutAfter(0));
    registry.fail("/blobs/uploads/0", 2, FaultKind::Status(503, Vec::new()));
    let told = Cell::new(0);
    let progress = |bytes: u64| told.set(bytes.max(told.get()));
    let content = &mut Cursor::new(&blob.1);
    let upload =
        Upload { image: &image, blob: &blob.0, content, also_in: None, progress: &progress };
    let pushed = client.push_blob(upload).unwrap();
    assert_eq!((pushed, told.get()), (Pushed::Sent, blob.0.size_bytes));
    assert_eq!(fetch(&client, &image, &blob.0), blob.1);
    let largest = registry.seen().iter().map(|request| request.body.len()).max().unwrap();
    assert_eq!(largest, 8 << 20);
    assert!(sent_bytes(&registry) < 2 * blob.1.len(), "what has arrived is not sent again");
}

#[test]
fn an_upload_that_is_forgotten_begins_anew() {
    let registry = FakeRegistry::start().unwrap();
    let (client, image, blob) = (client(), image(&registry), blob(3000));
    registry.fail("/blobs/uploads/0", 1, FaultKind::Status(503, Vec::new()));
    assert_eq!(push(&client, &image, &blob, None).unwrap(), Pushed::Sent);
    assert_eq!(fetch(&client, &image, &blob.0), blob.1);
}

#[test]
fn a_refusal_says_what_and_where() {
    let registry = FakeRegistry::start().unwrap();
    let (client, image, blob) = (client(), image(&registry), blob(10));
    registry.fail("/blobs/uploads/", 9, FaultKind::Status(405, Vec::new()));
    let error = push(&client, &image, &blob, None).unwrap_err();
    let host = registry.host();
    let expected = format!(
        "`{host}/team/app@{}` could not be sent (http://{host}: 405 Method Not Allowed)",
        blob.0.digest
    );
    let text = error.to_string();
    let without_tls = text.find("(https").map_or(text.clone(), |at| {
        let end = text.find("; ").map_or(at + 1, |end| end + 2);
        format!("{}{}", &text[..=at], &text[end..])
    });
    assert_eq!(without_tls, expected);
    let content = &mut Cursor::new(&blob.1[..5]);
    let registry = FakeRegistry::start().unwrap();
    let image = self::image(&registry);
    let upload = Upload { image: &image, blob: &blob.0, content, also_in: None, progress: &|_| {} };
    let error = client.push_blob(upload).unwrap_err();
    assert!(matches!(error, RegistryError::Read { .. }), "{error}");
}

#[test]
fn a_token_for_writing_is_asked_for() {
    let registry = FakeRegistry::start().unwrap();
    let pair = ("name".to_owned(), "hush".to_owned());
    registry.require(Login::Bearer(registry.host(), Some(pair)));
    let credential = Credential { username: "name".to_owned(), secret: "hush".to_owned() };
    let credentials = Credentials::none().with(&registry.host(), credential);
    let client = Client::new(RegistryConfig::default(), credentials).unwrap();
    let (image, blob) = (image(&registry), blob(100));
    assert_eq!(push(&client, &image, &blob, Some("team/base")).unwrap(), Pushed::Sent);
    let seen = registry.seen();
    let token = seen.iter().find(|request| request.path.starts_with("/token")).unwrap();
    let scopes =
        "scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fbase%3Apull";
    assert!(token.path.ends_with(scopes), "{}", token.path);
    // A token to read with is another one.
    fetch(&client, &image, &blob.0);
    let tokens = |scope: &str| {
        registry.seen().iter().filter(|request| request.path.ends_with(scope)).count()
    };
    assert_eq!(tokens("scope=repository%3Ateam%2Fapp%3Apull"), 1);
}

#[test]
fn an_upload_elsewhere_gets_no_credential() {
    let (registry, other) = (FakeRegistry::start().unwrap(), FakeRegistry::start().unwrap());
    registry.require(Login::Basic("name".to_owned(), "hush".to_owned()));
    let credential = Credential { username: "name".to_owned(), secret: "hush".to_owned() };
    let credentials = Credentials::none().with(&registry.host(), credential);
    let client = Client::new(RegistryConfig::default(), credentials).unwrap();
    let (image, blob) = (image(&registry), blob(100));
    let elsewhere = format!("http://{}/v2/x/blobs/uploads/7", other.host());
    let headers = vec![("Location".to_owned(), elsewhere)];
    registry.fail("/blobs/uploads/", 1, FaultKind::Status(202, headers));
    push(&client, &image, &blob, None).unwrap_err();
    let seen = other.seen();
    assert!(!seen.is_empty(), "the blob is sent where the registry wants it");
    assert!(seen.iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn mirrors_are_sent_nothing() {
    let (registry, mirror) = (FakeRegistry::start().unwrap(), FakeRegistry::start().unwrap());
    let mut config = RegistryConfig::default();
    let host = HostConfig { mirrors: vec![mirror.host()], ..HostConfig::default() };
    config.hosts.insert(registry.host(), host);
    let client = Client::new(config, Credentials::none()).unwrap();
    push(&client, &image(&registry), &blob(10), None).unwrap();
    assert_eq!(asked(&mirror), Vec::<String>::new());
}
