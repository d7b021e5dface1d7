//! A cache from another machine: any bytes are refused or read, and what was read is written back the same.

#![no_main]

use kiln_cache::Portable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Portable::parse(bytes) {
        for (_, record) in &document.records {
            assert_eq!(document.record(record).layers.len(), record.layers.len());
        }
        let again = Portable::parse(&document.to_bytes()).expect("what was written can be read");
        assert_eq!(again, document);
    }
});
