//! No bytes make the archive reader panic, or the packer of what it gives out.
#![no_main]

use kiln_image::layer::{LayerError, Limits, PackOptions, Purpose, entries, pack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { entries: 1000, content_bytes: 1 << 20, ..Limits::default() };
    for purpose in [Purpose::Layer, Purpose::Archive] {
        let Ok(mut archive) = entries(bytes, purpose, limits) else { continue };
        while let Ok(Some(entry)) = archive.next_entry() {
            assert!(!entry.path.split(|b| *b == b'/').any(|part| part == b".."));
            assert!(!entry.path.starts_with(b"/") && !entry.path.contains(&0));
            // It may fail, where the archive ends in the middle of a file; it may not panic.
            drop(pack([Ok::<_, LayerError>(entry)], std::io::sink(), PackOptions::default()));
        }
    }
});
