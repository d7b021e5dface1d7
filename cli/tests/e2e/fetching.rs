//! ADD from servers of HTTP: what lands in the image, and what is asked of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_testkit::{Answer, Asked, Server};

use super::support::Work;
use super::support::build::Kiln;
use super::support::image::Image;

const TIME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A server of one file, which may be changed; it honours `If-None-Match`.
fn server_of(changed: &Arc<AtomicBool>) -> Server {
    let changed = Arc::clone(changed);
    Server::start(move |asked| {
        let (tag, body) = if changed.load(Ordering::SeqCst) {
            ("\"2\"", "changed")
        } else {
            ("\"1\"", "as it was")
        };
        match asked.header("if-none-match") {
            Some(known) if known == tag => Answer::status(304),
            _ => Answer::ok(body).header("ETag", tag).header("Last-Modified", TIME),
        }
    })
}

fn headers(asked: &[Asked], name: &str) -> Vec<Option<String>> {
    asked.iter().map(|asked| asked.header(name).map(str::to_owned)).collect()
}

#[test]
fn a_download_is_roots_alone_and_has_the_servers_time() {
    let work = Work::new();
    let server = server_of(&Arc::default());
    let text = format!(
        "FROM scratch\nADD {} /etc/\nADD --chmod=644 --chown=7:8 {} /f\n",
        server.url("/a%20b.conf?x=1"),
        server.url("/g")
    );
    let context = work.context("context", &text);
    let layout = work.path("layout");
    let kiln = Kiln::at(work.path("store"));
    kiln.build(&context).into_layout(&layout).run();
    let image = Image::of(&layout);
    let listing = image.listing(0);
    assert!(listing.contains("-rw-------  0/0 "), "{listing}");
    assert!(listing.contains("1994-11-06 08:49 etc/a b.conf"), "{listing}");
    let listing = image.listing(1);
    assert!(
        listing.contains("-rw-r--r--  7/8 ") && listing.contains("1994-11-06 08:49 f"),
        "{listing}"
    );
}

#[test]
fn an_unchanged_download_is_asked_for_and_keeps_everything_cached() {
    let work = Work::new();
    let changed = Arc::new(AtomicBool::new(false));
    let server = server_of(&changed);
    let context = work
        .context("context", &format!("FROM scratch\nADD {} /f\nWORKDIR /w\n", server.url("/f")));
    let kiln = Kiln::at(work.path("store"));
    let build = || {
        let steps = kiln.build(&context).run();
        steps.ran().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(build().len(), 2);
    assert_eq!(build(), Vec::<String>::new());
    changed.store(true, Ordering::SeqCst);
    assert_eq!(build().len(), 2);
    // `--no-cache` takes nothing on trust.
    kiln.build(&context).arg("--no-cache").run();
    let tags = headers(&server.asked(), "if-none-match");
    let tag = |text: &str| Some(text.to_owned());
    assert_eq!(tags, [None, tag("\"1\""), tag("\"1\""), None]);
}

#[test]
fn a_body_that_is_the_same_again_leaves_what_follows_cached() {
    let work = Work::new();
    let server = Server::start(|_| Answer::ok("the same"));
    let context = work
        .context("context", &format!("FROM scratch\nADD {} /f\nWORKDIR /w\n", server.url("/f")));
    let kiln = Kiln::at(work.path("store"));
    kiln.build(&context).run();
    assert!(kiln.build(&context).run().ran().is_empty());
    assert_eq!(server.asked().len(), 2, "without a tag or a date it is fetched again");
}

#[test]
fn a_checksum_is_checked_and_saves_the_request() {
    let work = Work::new();
    let server = Server::start(|_| Answer::ok("abc"));
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let text =
        |sum: &str| format!("FROM scratch\nADD --checksum=sha256:{sum} {} /f\n", server.url("/f"));
    let kiln = Kiln::at(work.path("store"));
    let context = work.context("context", &text(sum));
    kiln.build(&context).run();
    assert!(kiln.build(&context).run().ran().is_empty());
    assert_eq!(server.asked().len(), 1);
    let wrong = sum.replace("ba78", "0000");
    let said = kiln.build(&work.context("wrong", &text(&wrong))).fails(1);
    assert!(said.contains(&format!("has the checksum sha256:{sum}, not sha256:{wrong}")), "{said}");
    assert!(said.contains(&format!("write `--checksum=sha256:{sum}`")), "{said}");
    assert!(said.contains("Dockerfile:2"), "{said}");
}

#[test]
fn a_token_goes_to_its_host_and_into_no_output() {
    let work = Work::new();
    let other = Server::start(|_| Answer::ok("there"));
    let target = other.url("/elsewhere");
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some("Bearer hunter2") if asked.target == "/moved" => {
            Answer::status(302).header("Location", &target)
        }
        Some("Bearer hunter2") => Answer::ok("private"),
        _ => Answer::status(401),
    });
    let text = format!("FROM scratch\nADD {} {} /d/\n", server.url("/f"), server.url("/moved"));
    let context = work.context("context", &text);
    let kiln = Kiln::at(work.path("store"));
    let said = kiln.build(&context).fails(5);
    assert!(said.contains("--secret id=HTTP_AUTH_TOKEN_127.0.0.1"), "{said}");
    let token = work.write("token", "hunter2\n");
    let secret = format!("--secret=id=HTTP_AUTH_TOKEN_127.0.0.1,src={}", token.display());
    let layout = work.path("layout");
    kiln.build(&context).arg(&secret).into_layout(&layout).run();
    assert_eq!(Image::of(&layout).names(0), ["d/", "d/f", "d/moved"]);
    assert_eq!(headers(&other.asked(), "authorization"), [None]);
    let header = work.write("header", "Bearer hunter2");
    let secret = format!("--secret=id=HTTP_AUTH_HEADER_127.0.0.1,src={}", header.display());
    Kiln::at(work.path("other")).build(&context).arg(secret).run();
}

#[test]
fn an_archive_is_unpacked_when_that_is_asked_for() {
    let work = Work::new();
    work.write("tree/dir/file", "x");
    let archive = super::support::tar(&work, "tree", "gzip");
    let server = Server::start(move |_| Answer::ok(archive.clone()));
    let url = server.url("/a.tar.gz");
    let text = format!("FROM scratch\nADD {url} /kept/\nADD --unpack=true {url} /out/\n");
    let layout = work.path("layout");
    Kiln::at(work.path("store")).build(&work.context("context", &text)).into_layout(&layout).run();
    let image = Image::of(&layout);
    assert_eq!(image.names(0), ["kept/", "kept/a.tar.gz"]);
    assert!(image.names(1).contains(&"out/dir/file".to_owned()), "{:?}", image.names(1));
}

#[test]
fn failures_have_a_place_a_cause_and_a_way_out() {
    let work = Work::new();
    let server = Server::start(|_| Answer::status(404));
    let kiln = Kiln::at(work.path("store"));
    let build = |source: &str, code: i32| {
        let text = format!("FROM scratch\n\nADD {source} /f\n");
        let said = kiln.build(&work.context("context", &text)).fails(code);
        assert!(said.contains("Dockerfile:3"), "{said}");
        said
    };
    let said = build(&server.url("/gone?token=hunter2"), 4);
    assert!(said.contains("404"), "{said}");
    let said = build("http://127.0.0.1:1/f", 5);
    assert!(said.contains("the network up?"), "{said}");
    let said = build("file:///etc/passwd", 1);
    assert!(said.contains("`file://` is not fetched"), "{said}");
}
