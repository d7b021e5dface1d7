//! No bytes make the readers of documents and names panic; what they accept, they accept again.
#![no_main]

use kiln_image::{ImageRef, OciDigest, Platform, docker_archive, layout};
use kiln_image::{parse_config, parse_document, parse_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = parse_config(bytes) {
        assert_eq!(parse_config(&config.to_bytes()).ok(), Some(config));
    }
    drop(parse_document(bytes, ""));
    if let Ok(index) = parse_index(bytes) {
        drop(layout::select(&index, None));
        drop(index.select(&Platform::host()));
    }
    drop(docker_archive::parse(bytes));
    drop(layout::check_marker(bytes));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = text.parse::<ImageRef>() {
        assert_eq!(name.to_string().parse::<ImageRef>().ok(), Some(name));
    }
    drop((text.parse::<Platform>(), text.parse::<OciDigest>()));
});
