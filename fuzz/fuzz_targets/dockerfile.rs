//! Any text as a Dockerfile and as a trigger: no panic, no overflow, every mistake inside the text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    for error in kiln_grammar::parse(source).errors {
        assert!(source.get(error.span.start..error.span.end).is_some());
    }
    let _unused = kiln_grammar::parse_trigger(source);
});
