//! No `WWW-Authenticate` header makes its reader panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for challenge in kiln_registry::parse_challenges(text) {
        assert!(!challenge.scheme.is_empty());
    }
});
