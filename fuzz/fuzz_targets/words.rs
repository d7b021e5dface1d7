//! Any text as a word, with either escape character: it is refused inside the text or has parts.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for escape in ['\\', '`'] {
        match kiln_grammar::parse_word(text, escape) {
            Ok(word) => assert_eq!(word.raw, text),
            Err(error) => assert!(text.get(error.span.start..error.span.end).is_some()),
        }
    }
});
