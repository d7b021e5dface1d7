//! Here documents behind any line: each body ends where its delimiter first stands alone, the documents follow
//! each other, and a trigger's are the same once an image's config has stored them.
#![no_main]

use kiln_grammar::{Heredoc, InstructionKind, parse, parse_trigger};
use libfuzzer_sys::fuzz_target;

const KEYWORDS: [&str; 5] = ["RUN", "COPY", "ADD", "ONBUILD RUN", "RUNN"];

/// Whether a line of a body would have ended it.
fn ends(document: &Heredoc, line: &str) -> bool {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = if document.strip_tabs { line.trim_start_matches('\t') } else { line };
    line == document.name
}

fn check(source: &str, documents: &[Heredoc]) {
    let mut next = 0;
    for document in documents {
        let body = document.body.span;
        assert!(body.start >= next && document.span.end <= body.start);
        assert_eq!(source.get(body.start..body.end), Some(document.body.node.as_str()));
        assert!(!document.body.node.split_inclusive('\n').any(|line| ends(document, line)));
        let delimiter = source[body.end..].split_inclusive('\n').next().unwrap_or_default();
        assert!(ends(document, delimiter), "{delimiter:?}");
        next = body.end + delimiter.len();
    }
}

fuzz_target!(|input: (u8, &str, &str)| {
    let (choice, line, rest) = input;
    let keyword = KEYWORDS[usize::from(choice) % KEYWORDS.len()];
    let source = format!("FROM a\n{keyword} {line} <<E\n{rest}");
    for instruction in &parse(&source).dockerfile.instructions {
        check(&source, &instruction.heredocs);
        let InstructionKind::Onbuild(onbuild) = &instruction.kind else { continue };
        check(&source, &onbuild.trigger.heredocs);
        let stored = parse_trigger(&onbuild.stored).expect("what was read once can be read again");
        let bodies = |documents: &[Heredoc]| {
            documents.iter().map(|one| (one.name.clone(), one.body.node.clone())).collect::<Vec<_>>()
        };
        assert_eq!(bodies(&stored.heredocs), bodies(&onbuild.trigger.heredocs));
    }
});
