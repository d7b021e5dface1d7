//! The manifest beside a layer: any bytes are refused or read, and what was read is written back the same.

#![no_main]

use kiln_cache::tree::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::decode(bytes) {
        let again = Manifest::decode(&manifest.encode()).expect("what was written can be read");
        assert_eq!(again, manifest);
    }
});
