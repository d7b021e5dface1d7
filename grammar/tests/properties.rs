//! What holds for every text: no panic, spans in the source, and time in proportion to its length.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "time is measured here; the crate itself knows none"
)]

mod spans;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kiln_grammar::{InstructionKind, parse, parse_trigger};
use proptest::prelude::*;

/// Fragments that mean something somewhere, in any order.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        Just("\n"),
        Just("\r\n"),
        Just(" \\\n"),
        Just("`\n"),
        Just("# escape=`\n"),
        Just("#"),
        Just("FROM a AS b\n"),
        Just("RUN "),
        Just("COPY "),
        Just("ADD "),
        Just("ENV "),
        Just("ARG "),
        Just("LABEL "),
        Just("HEALTHCHECK CMD "),
        Just("ONBUILD "),
        Just("VOLUME "),
        Just("SHELL "),
        Just("--mount=type=bind,from="),
        Just("--chown="),
        Just("--link"),
        Just("--"),
        Just("["),
        Just("\"é\\u00e9\""),
        Just(","),
        Just("]"),
        Just("'"),
        Just("\""),
        Just("\\"),
        Just("${"),
        Just("$x"),
        Just(":-"),
        Just("/"),
        Just("##"),
        Just("}"),
        Just("<<E"),
        Just("<<-'E'"),
        Just("\nE\n"),
        Just("\t"),
        Just(" "),
        Just("="),
        Just("a"),
        Just("é"),
        Just("\u{a0}"),
        Just("\u{feff}"),
    ];
    prop::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
}

proptest! {
    #[test]
    fn spans_lie_in_the_source(source in fragments()) {
        spans::check(&source, &parse(&source));
    }

    #[test]
    fn any_text_is_taken(source in any::<String>()) {
        spans::check(&source, &parse(&source));
    }

    /// What an image stores of a trigger means what was written.
    #[test]
    fn stored_triggers_parse_to_themselves(source in fragments()) {
        let source = format!("FROM a\nONBUILD {source}");
        for instruction in parse(&source).dockerfile.instructions {
            // The escape character is no part of what is stored.
            if let InstructionKind::Onbuild(onbuild) = instruction.kind {
                let again = parse_trigger(&onbuild.stored);
                prop_assert!(again.is_ok(), "{:?} of {:?}", again, onbuild.stored);
                let again = again.unwrap_or_else(|_| (*onbuild.trigger).clone());
                prop_assert_eq!(again.text, onbuild.trigger.text.clone());
                prop_assert_eq!(again.heredocs.len(), onbuild.trigger.heredocs.len());
            }
        }
    }
}

/// What this thread has computed so far. Other work on the machine does not count, as long as the system
/// tells them apart.
fn computed() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = statistics.split_whitespace().next().and_then(|field| field.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// What one parse takes.
fn time(source: &str) -> Duration {
    let start = computed();
    let parsed = parse(source);
    let taken = computed().saturating_sub(start);
    assert!(parsed.dockerfile.instructions.len() <= source.len());
    taken
}

/// A name, and a function from a length in bytes to about as long a text.
type Shape = (&'static str, fn(usize) -> String);

/// Texts of a shape that invites repeated work, as long as they are told to be.
fn shapes() -> Vec<Shape> {
    vec![
        ("instructions", |n| {
            "FROM a\n".to_owned() + &"RUN --mount=type=cache,target=/x a && b\n".repeat(n / 40)
        }),
        ("one continued line", |n| "FROM a\nRUN ".to_owned() + &"abc \\\n".repeat(n / 6)),
        ("continued words", |n| "FROM a\nENV ".to_owned() + &"a=$b \\\n".repeat(n / 7)),
        ("comments in a line", |n| "FROM a\nRUN x \\\n".to_owned() + &"# c\n".repeat(n / 4)),
        ("heredocs without an end", |n| "FROM a\n".to_owned() + &"RUN <<A\n".repeat(n / 8)),
        ("many heredocs of a line", |n| {
            "FROM a\nRUN ".to_owned() + &"<<A ".repeat(n / 6) + "\n" + &"A\n".repeat(n / 6)
        }),
        ("long heredoc", |n| {
            "FROM a\nCOPY <<A /a\n".to_owned() + &"$a \\b ${c:-'d}\n".repeat(n / 15) + "A\n"
        }),
        ("single quotes", |n| "FROM a\nENV a=".to_owned() + &"'\\'\\\n".repeat(n / 6)),
        ("open quotes", |n| "FROM a\n".to_owned() + &"ENV a='\n".repeat(n / 8)),
        ("open braces", |n| "FROM a\nENV a=".to_owned() + &"${a:-\\\n".repeat(n / 8)),
        ("brackets", |n| "FROM a\nRUN ".to_owned() + &"[\\\n".repeat(n / 3)),
        ("JSON that breaks off", |n| "FROM a\nRUN [".to_owned() + &"\"a\",\\\n".repeat(n / 6)),
        ("flags", |n| "FROM a\nRUN ".to_owned() + &"--mount=a,b=\"c\" \\\n".repeat(n / 18)),
        ("excludes", |n| "FROM a\nCOPY ".to_owned() + &"--exclude=a \\\n".repeat(n / 14)),
        ("unknown instructions", |n| "FROMM a\n".repeat(n / 8)),
        ("inline files of one name", |n| {
            "FROM a\nCOPY ".to_owned() + &"<<A ".repeat(n / 8) + " /\n" + &"x\nA\n".repeat(n / 8)
        }),
    ]
}

#[test]
fn time_is_in_proportion_to_length() {
    for (name, shape) in shapes() {
        let (short, long) = (shape(1 << 14), shape(1 << 17));
        let (short, long) = (time(&short), time(&long));
        // Eight times the text; a quadratic parser would take 64 times as long. The clock ticks every few
        // milliseconds.
        assert!(long < short * 20 + Duration::from_millis(300), "{name}: {short:?}, then {long:?}");
    }
}

#[test]
fn a_megabyte_is_no_matter() {
    let source = shapes()[0].1(1 << 20);
    let taken = time(&source);
    assert!(parse(&source).errors.is_empty());
    assert!(taken < Duration::from_secs(20), "{taken:?}, even unoptimised");
}
