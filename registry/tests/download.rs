//! Downloads from a server that redirects, wants a credential, breaks off, or says that nothing changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use kiln_registry::{
    Client, Credentials, DownloadRequest, Downloaded, RegistryConfig, RegistryError, Validators,
};
use kiln_testkit::{Answer, Server};

/// Where a download goes.
#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn request(url: &str) -> DownloadRequest<'_> {
    DownloadRequest {
        url,
        shown: "the file",
        authorization: None,
        validators: Validators::default(),
        limit_bytes: 1000,
    }
}

fn download(wanted: &DownloadRequest<'_>) -> Result<(Downloaded, Vec<u8>), RegistryError> {
    let client = Client::new(RegistryConfig::default(), Credentials::default()).unwrap();
    let out = Out::default();
    let mut open = || {
        out.0.lock().unwrap().clear();
        Ok(Box::new(out.clone()) as Box<dyn Write>)
    };
    let downloaded = client.download(wanted, &mut open, &|_, _| {})?;
    let bytes = out.0.lock().unwrap().clone();
    Ok((downloaded, bytes))
}

#[test]
fn what_is_known_is_asked_for_with_conditions() {
    let server = Server::start(|asked| match asked.header("if-none-match") {
        Some("\"1\"") => Answer::status(304),
        _ => Answer::ok("body").header("ETag", "\"1\"").header("Last-Modified", "yesterday"),
    });
    let url = server.url("/f?q=1#fragment");
    let (downloaded, bytes) = download(&request(&url)).unwrap();
    let Downloaded::Fresh(validators) = downloaded else { panic!("nothing was known") };
    assert_eq!(bytes, b"body");
    assert_eq!(validators.last_modified.as_deref(), Some("yesterday"));
    let again = DownloadRequest { validators, ..request(&url) };
    assert_eq!(download(&again).unwrap(), (Downloaded::Unchanged, Vec::new()));
    let asked = server.asked();
    assert_eq!(asked[0].target, "/f?q=1");
    assert_eq!(asked[0].header("if-modified-since"), None);
    assert_eq!(asked[1].header("if-modified-since"), None, "the tag is the surer one");
    let dated = Validators { etag: None, last_modified: Some("yesterday".to_owned()) };
    download(&DownloadRequest { validators: dated, ..request(&url) }).unwrap();
    assert_eq!(server.asked()[2].header("if-modified-since"), Some("yesterday"));
}

#[test]
fn a_304_that_nobody_asked_for_is_no_file() {
    let server = Server::start(|_| Answer::status(304));
    let error = download(&request(&server.url("/f"))).unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
}

#[test]
fn a_credential_does_not_follow_a_redirect_to_another_server() {
    let other = Server::start(|_| Answer::ok("there"));
    let target = other.url("/g");
    let server = Server::start(move |asked| match asked.target.as_str() {
        "/here" => Answer::status(302).header("Location", "/again"),
        _ => Answer::status(302).header("Location", &target),
    });
    let url = server.url("/here");
    let wanted = DownloadRequest { authorization: Some(b"Bearer secret\n"), ..request(&url) };
    assert_eq!(download(&wanted).unwrap().1, b"there");
    let sent = |server: &Server| {
        let asked = server.asked();
        asked.iter().map(|a| a.header("authorization").map(str::to_owned)).collect::<Vec<_>>()
    };
    let secret = || Some("Bearer secret".to_owned());
    assert_eq!(sent(&server), [secret(), secret()]);
    assert_eq!(sent(&other), [None]);
}

#[test]
fn a_password_in_the_address_is_sent_as_a_header() {
    let server = Server::start(|_| Answer::ok("x"));
    let url = server.url("/f").replace("http://", "http://us%20er:p%40ss@");
    download(&request(&url)).unwrap();
    assert_eq!(server.asked()[0].header("authorization"), Some("Basic dXMgZXI6cEBzcw=="));
}

#[test]
fn what_breaks_off_is_fetched_anew() {
    let tries = AtomicU32::new(0);
    let server = Server::start(move |_| {
        let told_length = (tries.fetch_add(1, Ordering::SeqCst) == 0).then_some(100);
        Answer { told_length, ..Answer::ok("whole") }
    });
    assert_eq!(download(&request(&server.url("/f"))).unwrap().1, b"whole");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn limits_and_refusals_name_the_file_and_no_secret() {
    let server = Server::start(|asked| match asked.target.as_str() {
        "/large" => Answer::ok(vec![0; 1001]),
        "/gone" => Answer::status(404),
        "/mine" => Answer::status(403),
        _ => Answer::status(302).header("Location", "file:///etc/passwd"),
    });
    let fail = |path: &str| {
        let url = server.url(path).replace("http://", "http://u:hunter2@");
        let error = download(&request(&url)).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        error
    };
    let is_large =
        |error: &RegistryError| matches!(error, RegistryError::TooLarge { limit_bytes: 1000, .. });
    assert!(is_large(&fail("/large")));
    assert!(matches!(fail("/gone"), RegistryError::NotFound { .. }));
    assert!(matches!(fail("/mine"), RegistryError::Unauthorised { .. }));
    assert!(fail("/redirect").to_string().contains("redirects to `file`"));
    for url in ["file:///etc/passwd", "ftp://h/x", "http:///", "data:text/plain,x", "x"] {
        let error = download(&request(url)).unwrap_err();
        assert!(!matches!(error, RegistryError::NotFound { .. }), "{url}: {error}");
    }
    assert!(matches!(
        download(&request("file:///etc/passwd")).unwrap_err(),
        RegistryError::Address { .. }
    ));
}
