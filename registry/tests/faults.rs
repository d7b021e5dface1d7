//! The client against a registry that misbehaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use kiln_image::{Descriptor, ImageRef, Index, Manifest, OciDigest, media_type};
use kiln_registry::{
    Client, Credential, Credentials, FakeRegistry, FaultKind, HostConfig, Login, RegistryConfig,
    RegistryError, Resolved,
};

/// A registry with `repo:tag`, a manifest with one layer of 200,000 bytes.
struct Fixture {
    registry: FakeRegistry,
    layer: Descriptor,
    bytes: Vec<u8>,
    manifest: OciDigest,
}

fn fixture() -> Fixture {
    let registry = FakeRegistry::start().unwrap();
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    registry.put_blob(&bytes);
    let layer = Descriptor::of(media_type::OCI_LAYER, &bytes);
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    let manifest = Manifest::new(config, vec![layer.clone()]).to_bytes();
    let manifest = registry.put_manifest("repo", "tag", media_type::OCI_MANIFEST, &manifest);
    Fixture { registry, layer, bytes, manifest }
}

fn client() -> Client {
    Client::new(RegistryConfig::default(), Credentials::none()).unwrap()
}

fn image(host: &str) -> ImageRef {
    format!("{host}/repo:tag").parse().unwrap()
}

impl Fixture {
    fn image(&self) -> ImageRef {
        image(&self.registry.host())
    }

    fn resolve(&self, client: &Client) -> Result<Resolved, RegistryError> {
        client.resolve(&self.image())
    }

    fn fetch(&self, client: &Client) -> Result<Vec<u8>, RegistryError> {
        let mut out = Vec::new();
        client.fetch_blob(&self.image(), &self.layer, &mut out, &|_| {}).map(|()| out)
    }

    fn authorizations(&self) -> Vec<Option<String>> {
        let seen = self.registry.seen().into_iter();
        seen.map(|request| request.headers.get("authorization").cloned()).collect()
    }
}

/// A client that knows a credential for a host and has these mirrors for another.
fn client_with(host: &str, mirrors: &[(&str, &[&str])]) -> Client {
    let mut config = RegistryConfig::default();
    for (of, list) in mirrors {
        let mirrors = list.iter().map(|host| (*host).to_owned()).collect();
        config.hosts.insert((*of).to_owned(), HostConfig { mirrors, ..HostConfig::default() });
    }
    let credential = Credential { username: "name".to_owned(), secret: "hush".to_owned() };
    Client::new(config, Credentials::none().with(host, credential)).unwrap()
}

fn text(error: &RegistryError) -> String {
    error.to_string()
}

#[test]
fn a_tag_and_a_digest_are_resolved_and_a_blob_is_fetched() {
    let fixture = fixture();
    let client = client();
    let resolved = fixture.resolve(&client).unwrap();
    assert_eq!(resolved.digest, fixture.manifest);
    assert_eq!(resolved.media_type, media_type::OCI_MANIFEST);
    assert_eq!(client.manifest(&fixture.image(), &fixture.manifest).unwrap(), resolved);
    let steps = std::cell::RefCell::new(Vec::new());
    let mut out = Vec::new();
    let progress = |bytes| steps.borrow_mut().push(bytes);
    client.fetch_blob(&fixture.image(), &fixture.layer, &mut out, &progress).unwrap();
    assert_eq!(out, fixture.bytes);
    assert!(steps.borrow().is_sorted());
    assert_eq!(steps.borrow().last(), Some(&200_000));
}

#[test]
fn what_is_not_there_is_not_found() {
    let fixture = fixture();
    let missing = format!("{}/other:tag", fixture.registry.host()).parse().unwrap();
    let error = client().resolve(&missing).unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    assert!(text(&error).contains("unknown here"), "{error}");
    let none = Descriptor::of(media_type::OCI_LAYER, b"none");
    let error = client().fetch_blob(&fixture.image(), &none, &mut Vec::new(), &|_| {}).unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[test]
fn a_wrong_digest_is_refused() {
    let fixture = fixture();
    fixture.registry.fail("/manifests/", 1, FaultKind::Body(br#"{"schemaVersion":2}"#.to_vec()));
    let error = client().manifest(&fixture.image(), &fixture.manifest).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    fixture.registry.fail("/blobs/", 1, FaultKind::Body(vec![7; 200_000]));
    let error = fixture.fetch(&client()).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
}

#[test]
fn a_mirror_that_lied_is_not_asked_again() {
    let (upstream, liar) = (fixture(), fixture());
    liar.registry.fail("/blobs/", 99, FaultKind::Body(vec![7; 200_000]));
    let (host, mirror) = (upstream.registry.host(), liar.registry.host());
    let client = client_with("-", &[(&host, &[&mirror])]);
    assert!(matches!(upstream.fetch(&client), Err(RegistryError::DigestMismatch { .. })));
    assert_eq!(upstream.fetch(&client).unwrap(), upstream.bytes);
}

#[test]
fn a_body_that_breaks_off_is_taken_up_where_it_ended() {
    let fixture = fixture();
    fixture.registry.fail("/blobs/", 1, FaultKind::CutAfter(70_000));
    fixture.registry.fail("/blobs/", 1, FaultKind::CutAfter(50_000));
    assert_eq!(fixture.fetch(&client()).unwrap(), fixture.bytes);
    let ranges: Vec<_> =
        fixture.registry.seen().iter().filter_map(|r| r.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=70000-", "bytes=120000-"]);
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let fixture = fixture();
    fixture.registry.fail("/blobs/", 1, FaultKind::CutAfter(70_000));
    fixture.registry.fail("/blobs/", 1, FaultKind::IgnoreRange);
    assert_eq!(fixture.fetch(&client()).unwrap(), fixture.bytes);
}

#[test]
fn a_body_of_unknown_length_that_ends_early_is_noticed() {
    let fixture = fixture();
    fixture.registry.fail("/blobs/", 1, FaultKind::Body(fixture.bytes[..100].to_vec()));
    assert_eq!(fixture.fetch(&client()).unwrap(), fixture.bytes);
}

#[test]
fn a_body_that_is_too_large_is_cut_off() {
    let fixture = fixture();
    for kind in [FaultKind::Body(vec![0; 200_001]), FaultKind::NoLength] {
        fixture.registry.fail("/blobs/", 1, kind);
        let small = Descriptor { size_bytes: 1000, ..fixture.layer.clone() };
        let mut out = Vec::new();
        let error = client().fetch_blob(&fixture.image(), &small, &mut out, &|_| {}).unwrap_err();
        assert!(matches!(error, RegistryError::TooLarge { limit_bytes: 1000, .. }), "{error}");
        assert!(out.len() <= 1000);
    }
}

#[test]
fn a_manifest_of_more_than_4_mib_is_refused() {
    let fixture = fixture();
    let large = vec![b' '; (4 << 20) + 1];
    fixture.registry.put_manifest("repo", "tag", media_type::OCI_MANIFEST, &large);
    fixture.registry.fail("/manifests/", 1, FaultKind::NoLength);
    for _ in 0..2 {
        let error = fixture.resolve(&client()).unwrap_err();
        assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn what_is_no_manifest_is_refused() {
    let fixture = fixture();
    fixture.registry.put_manifest("repo", "tag", "text/html", b"<html>log in</html>");
    let error = fixture.resolve(&client()).unwrap_err();
    assert!(matches!(error, RegistryError::Document { .. }), "{error}");
}

#[test]
fn an_index_is_resolved_as_it_is() {
    let fixture = fixture();
    let index = Index::new(vec![Descriptor::of(media_type::OCI_MANIFEST, b"x")]);
    let digest =
        fixture.registry.put_manifest("repo", "tag", media_type::OCI_INDEX, &index.to_bytes());
    assert_eq!(fixture.resolve(&client()).unwrap().digest, digest);
}

#[test]
fn busy_servers_are_asked_again_for_a_bounded_time() {
    let fixture = fixture();
    for status in [429, 500, 503] {
        let wait = vec![("Retry-After".to_owned(), "0".to_owned())];
        fixture.registry.fail("/manifests/", 1, FaultKind::Status(status, wait));
    }
    fixture.resolve(&client()).unwrap();
    assert_eq!(fixture.registry.seen().len(), 4);
    fixture.registry.fail("/manifests/", 99, FaultKind::Status(503, Vec::new()));
    let start = Instant::now();
    let error = fixture.resolve(&client()).unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert!(text(&error).contains("503"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_refused_connection_is_reported_within_a_second() {
    let host = fixture().registry.host();
    let client = client();
    let start = Instant::now();
    let error = client.resolve(&image(&host)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let RegistryError::Unreachable { attempts, .. } = &error else { panic!("{error}") };
    let hosts: Vec<_> = attempts.iter().map(|attempt| attempt.host.clone()).collect();
    assert_eq!(hosts, [format!("https://{host}"), format!("http://{host}")]);
    assert!(text(&error).to_lowercase().contains("connection refused"), "{error}");
}

#[test]
fn mirrors_are_asked_in_order_and_then_the_registry() {
    let (upstream, second) = (fixture(), fixture());
    let dead = fixture().registry.host();
    let (host, mirror) = (upstream.registry.host(), second.registry.host());
    let client = client_with("-", &[(&host, &[&dead, &mirror])]);
    upstream.resolve(&client).unwrap();
    assert!(upstream.registry.seen().is_empty());
    second.registry.fail("/manifests/", 99, FaultKind::Status(404, Vec::new()));
    upstream.resolve(&client).unwrap();
    assert_eq!(upstream.registry.seen().len(), 1);
    upstream.registry.fail("/manifests/", 1, FaultKind::Status(404, Vec::new()));
    let error = upstream.resolve(&client).unwrap_err();
    let RegistryError::NotFound { attempts, .. } = &error else { panic!("{error}") };
    assert!(attempts.iter().any(|attempt| attempt.host.contains(&mirror)));
}

#[test]
fn a_blob_that_breaks_off_at_a_mirror_is_finished_by_the_registry() {
    let (upstream, mirror) = (fixture(), fixture());
    mirror.registry.fail("/blobs/", 1, FaultKind::CutAfter(60_000));
    mirror.registry.fail("/blobs/", 99, FaultKind::Status(404, Vec::new()));
    let (host, place) = (upstream.registry.host(), mirror.registry.host());
    let client = client_with("-", &[(&host, &[&place])]);
    assert_eq!(upstream.fetch(&client).unwrap(), upstream.bytes);
    assert_eq!(upstream.registry.seen()[0].headers["range"], "bytes=60000-");
}

#[test]
fn basic_and_bearer_logins_are_answered_at_the_registry_itself() {
    for is_basic in [true, false] {
        let fixture = fixture();
        let host = fixture.registry.host();
        let (name, secret) = ("name".to_owned(), "hush".to_owned());
        fixture.registry.require(match is_basic {
            true => Login::Basic(name, secret),
            false => Login::Bearer(host.clone(), Some((name, secret))),
        });
        let client = client_with(&host, &[]);
        fixture.resolve(&client).unwrap();
        let first = fixture.registry.seen().len();
        assert_eq!(fixture.fetch(&client).unwrap(), fixture.bytes);
        // The login is remembered: one request for the blob.
        assert_eq!(fixture.registry.seen().len(), first + 1);
        let denied = fixture.resolve(&self::client()).unwrap_err();
        assert!(matches!(denied, RegistryError::Unauthorised { .. }), "{denied}");
    }
}

#[test]
fn a_challenge_cannot_send_the_credential_to_another_host() {
    let (fixture, thief) = (fixture(), fixture());
    thief.registry.require(Login::Bearer(
        thief.registry.host(),
        Some(("name".to_owned(), "hush".to_owned())),
    ));
    let token = Login::Bearer(thief.registry.host(), Some(("name".to_owned(), "hush".to_owned())));
    fixture.registry.require(token);
    let host = fixture.registry.host();
    let error = fixture.resolve(&client_with(&host, &[])).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorised { .. }), "{error}");
    assert!(text(&error).contains("was not given the credential"), "{error}");
    assert_eq!(thief.authorizations(), [None]);
    // The user may allow it by name.
    let mut config = RegistryConfig::default();
    let token_hosts = vec![thief.registry.host()];
    config.hosts.insert(host.clone(), HostConfig { token_hosts, ..HostConfig::default() });
    let credential = Credential { username: "name".to_owned(), secret: "hush".to_owned() };
    let client = Client::new(config, Credentials::none().with(&host, credential)).unwrap();
    fixture.resolve(&client).unwrap();
}

#[test]
fn another_host_is_asked_for_a_token_anonymously() {
    let (fixture, other) = (fixture(), fixture());
    fixture.registry.require(Login::Bearer(other.registry.host(), None));
    fixture.resolve(&client_with(&fixture.registry.host(), &[])).unwrap();
    assert_eq!(other.authorizations(), [None]);
    assert_eq!(other.registry.seen()[0].path, "/token?service=fake&scope=repository%3Arepo%3Apull");
}

#[test]
fn a_redirect_to_another_host_goes_without_the_credential() {
    let (fixture, storage) = (fixture(), fixture());
    let host = fixture.registry.host();
    fixture.registry.require(Login::Basic("name".to_owned(), "hush".to_owned()));
    let to = format!("http://{}/v2/repo/blobs/{}", storage.registry.host(), fixture.layer.digest);
    let location = vec![("Location".to_owned(), to)];
    fixture.registry.fail("/blobs/", 9, FaultKind::Status(307, location));
    assert_eq!(fixture.fetch(&client_with(&host, &[])).unwrap(), fixture.bytes);
    assert_eq!(storage.authorizations(), [None]);
    assert!(fixture.authorizations().last().unwrap().is_some());
}

#[test]
fn redirects_end() {
    let fixture = fixture();
    let location = |to: &str| vec![("Location".to_owned(), to.to_owned())];
    for (to, says) in [
        ("/v2/repo/manifests/tag", "more than 5 times"),
        ("file:///etc/passwd", "redirects to `file`"),
        ("http://u:p@127.0.0.1/", "password"),
    ] {
        fixture.registry.fail("/manifests/", 6, FaultKind::Status(302, location(to)));
        let error = fixture.resolve(&client()).unwrap_err();
        assert!(text(&error).contains(says), "{error}");
        while fixture.resolve(&client()).is_err() {}
    }
}

#[test]
fn an_error_of_the_writer_ends_the_download() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let fixture = fixture();
    let error =
        client().fetch_blob(&fixture.image(), &fixture.layer, &mut Full, &|_| {}).unwrap_err();
    assert!(matches!(error, RegistryError::Write { .. }), "{error}");
    let reads = fixture.registry.seen().iter().filter(|r| r.path.contains("/blobs/")).count();
    assert_eq!(reads, 1);
}
