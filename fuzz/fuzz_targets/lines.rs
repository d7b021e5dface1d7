//! The physical layer: continuations, comments, directives and here documents of any text. What an instruction
//! covers lies in the text, in order, and nothing overlaps.
#![no_main]

use kiln_grammar::{LineIndex, line_column};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // A keyword that takes here documents stands on every line that does not continue one.
    let source = format!("FROM a\nRUN {}", text.replace("\n\n", "\nCOPY "));
    let parsed = kiln_grammar::parse(&source);
    let lines = LineIndex::of(&source);
    let mut end = 0;
    for instruction in &parsed.dockerfile.instructions {
        assert!(instruction.span.start >= end, "{:?}", instruction.span);
        end = instruction.span.end;
        for document in &instruction.heredocs {
            let at = document.body.span;
            assert!(at.start >= end, "{at:?}");
            assert_eq!(source.get(at.start..at.end), Some(document.body.node.as_str()));
            end = at.end;
        }
        let line = lines.line(instruction.span.start);
        assert_eq!(line, line_column(&source, instruction.span.start).0);
    }
});
