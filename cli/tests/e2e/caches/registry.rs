//! Debian's registry as the way between two machines.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_testkit::{Answer, Asked, Server};

use super::super::support::have;
use super::super::support::servers::Registry;
use super::{Bed, sent};

#[test]
fn a_registry_carries_what_is_needed_and_is_sent_it_once() {
    if !have(&["docker-registry"]) {
        return;
    }
    let Some(bed) = Bed::new() else { return };
    let registry = Registry::start(&bed.work);
    let name = format!("{}/team/app:cache", registry.host);
    let to = format!("--cache-to=type=registry,ref={name},mode=max");
    let (steps, made) = bed.run("a", &[&to]);
    assert!(sent(&steps).0 > 8);
    let (steps, _) = bed.run("a", &[&to]);
    assert_eq!(sent(&steps), (0, 0));
    let (steps, used) = bed.run("b", &["--cache-from", &name]);
    assert_eq!(steps.ran(), Vec::<&str>::new());
    assert_eq!(used, made);
    assert!(bed.layers("a").len() > bed.layers("b").len(), "what nothing reads is not fetched");
    // Another repository of the registry takes it over: nothing but the document goes over the line.
    let other = format!("--cache-to=type=registry,ref={}/team/other:cache,mode=max", registry.host);
    let build = bed.build("c").arg("--cache-from").arg(&name).arg(other);
    let steps = build.arg("--output=type=cacheonly").run();
    assert!(sent(&steps).1 < 10_000, "{:?}", sent(&steps));
    assert!(bed.layers("c").is_empty(), "{:?}", bed.layers("c"));
    let from = format!("--cache-from=type=registry,ref={}/team/other:cache", registry.host);
    let (steps, used) = bed.run("d", &[&from]);
    assert_eq!((steps.ran(), used), (Vec::new(), made));
    bed.work.assert_no_mounts();
}

#[test]
fn a_registry_that_is_down_is_a_warning() {
    let Some(bed) = Bed::new() else { return };
    // A port that was free a moment ago.
    let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let name = format!("{host}/team/app:cache");
    let to = format!("--cache-to=type=registry,ref={name}");
    let (steps, _) = bed.run("a", &["--cache-from", &name, &to]);
    let warnings = steps.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("is not used: "), "{warnings:?}");
    assert!(warnings[1].contains("the cache is not exported to"), "{warnings:?}");
    bed.build("a").arg(format!("{to},ignore-error=false")).fails(5);
}

/// A registry that takes all it is sent and says under `/uploads` whether it was sent anything.
fn taking() -> Server {
    let uploads = AtomicUsize::new(0);
    Server::start(move |asked: &Asked| match asked.method.as_str() {
        "GET" if asked.target == "/uploads" => {
            Answer::status(if uploads.load(Ordering::SeqCst) > 0 { 200 } else { 404 })
        }
        "GET" | "HEAD" => Answer::status(404),
        "POST" => Answer::status(202).header("Location", "/v2/cache/blobs/uploads/1"),
        _ => {
            uploads.fetch_add(1, Ordering::SeqCst);
            Answer::status(201)
        }
    })
}

#[test]
fn a_layer_is_sent_while_the_next_step_runs() {
    let Some(bed) = Bed::new() else { return };
    for mode in ["min", "max"] {
        let server = taking();
        let host = server.host();
        // The second step ends when something of the first has arrived, and gives up after a while.
        let text = format!(
            "FROM base\nRUN echo one > /one\nRUN n=0; until wget -q -O /got http://{host}/uploads; \
             do n=$((n + 1)); [ $n -lt 300 ] || exit 9; sleep 0.1; done; rm /got\n"
        );
        bed.work.context("context", &text);
        let to = format!("--cache-to=type=registry,ref={host}/cache:latest,mode={mode}");
        bed.run("a", &[&to, "--no-cache"]);
    }
}
