//! The index of packed files from another machine: any bytes are refused or read, and what was read is written
//! back the same.

#![no_main]

use kiln_cache::pack::{encode_index, parse_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(files) = parse_index(bytes) {
        assert_eq!(encode_index(&files), bytes);
    }
});
