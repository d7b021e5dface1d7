//! Base images that cannot be had.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use super::bed::{BASE, Bed, Said};

/// A registry that has nothing; answers its `host:port`. It ends with the test.
fn empty_registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            // A client that only tries is gone by now.
            let Ok(length) = stream.read(&mut request) else { continue };
            if request[..length].starts_with(b"GET /v2/") || request[..length].starts_with(b"HEAD ")
            {
                let body = "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}";
                let _gone = write!(
                    stream,
                    "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n\
                     Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        }
    });
    host
}

#[test]
fn an_image_that_the_registry_does_not_have() {
    let Some(bed) = Bed::new() else { return };
    let host = empty_registry();
    let dockerfile = format!("# A base.\nFROM {host}/team/base:1.2\nRUN true\n");
    bed.build(&dockerfile, &[]).is("no-image.txt", &[(&host, "HOST")]);
    let dockerfile = format!("{BASE}COPY --from={host}/tools:1 /bin/tool /bin/\n");
    bed.build(&dockerfile, &[]).is("no-image-copied-from.txt", &[(&host, "HOST")]);
    bed.is_whole();
}

#[test]
fn a_registry_that_is_down() {
    let Some(bed) = Bed::new() else { return };
    // A port that was free a moment ago.
    let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let start = Instant::now();
    let said = bed.build(&format!("FROM {host}/team/base:1.2\n"), &[]);
    assert!(start.elapsed() < Duration::from_secs(8), "it took {:?}", start.elapsed());
    said.is("registry-down.txt", &[(&host, "HOST")]);
    bed.is_whole();
}

#[test]
fn a_stage_that_is_misspelt_is_named() {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = "\
FROM scratch AS builder
COPY busybox /
FROM scratch
COPY --from=bulider /busybox /
";
    bed.write("ctx/Dockerfile", dockerfile);
    // A proxy that is down, so that the test asks nobody outside.
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut kiln = bed.kiln(&["build", "--progress", "quiet", "ctx"]);
    let output = kiln.env("HTTPS_PROXY", format!("http://{proxy}")).output().unwrap();
    Said::of(output, bed.dir()).is("misspelt-stage.txt", &[(&proxy, "PROXY")]);
    bed.is_whole();
}

#[test]
fn a_layout_that_is_not_there() {
    let Some(bed) = Bed::new() else { return };
    bed.build("FROM oci-layout://nowhere\n", &[]).is("no-layout.txt", &[]);
    bed.is_whole();
}
