//! Damaged stat caches whose check sum is right decode to something or to nothing, and never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = b"kiln stat cache 3\n".to_vec();
    bytes.extend_from_slice(data);
    let check = kiln_ir::Digest::of(&bytes);
    bytes.extend_from_slice(check.as_bytes());
    let cache = kiln_cache::context::StatCache::decode(bytes);
    // Counting reads every entry.
    let _count = cache.len();
    assert!(cache.encode().is_none(), "nothing was learned");
});
