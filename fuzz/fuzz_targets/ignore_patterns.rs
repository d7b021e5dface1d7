//! Ignore files: any text is refused or matched against, in bounded time. The first line is the path.

#![no_main]

use kiln_ir::{PatternSet, read_ignore_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (path, file) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(patterns) = PatternSet::parse(read_ignore_file(file).iter().map(String::as_str)) {
        std::hint::black_box(patterns.excluded(path));
        std::hint::black_box(patterns.may_reinclude_below(path));
    }
});
