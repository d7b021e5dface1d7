//! No address makes its reader panic, and none that is read could be taken for an option by git.
#![no_main]

use kiln_frontend::{Address, parse_context_address, redact};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _shown = redact(text);
    match parse_context_address(text) {
        Ok(Some(Address::Git(git))) => {
            let source = git.source(false);
            assert!(!source.remote.starts_with('-'));
            assert!(!source.remote.contains(char::is_control));
            if !source.remote.contains("://") {
                let (place, _) = source.remote.split_once(':').expect("a path behind a colon");
                assert!(place.split('@').all(|part| !part.starts_with('-')));
            }
            if let Some(reference) = source.reference {
                assert!(!reference.starts_with(['-', '+']));
                assert!(!reference.contains([':', ' ', '^', '*']));
            }
        }
        Ok(Some(Address::Http(http))) => {
            assert!(!http.filename.contains(['/', '\0']));
            assert!(!matches!(http.filename.as_str(), "" | "." | ".."));
        }
        Ok(None) | Err(_) => {}
    }
});
