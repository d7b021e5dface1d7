//! What people and programs are told, from explanations made by hand.

use std::path::Path;

use kiln_engine::{
    CacheKey, Change, Changed, Distinction, ExplainedStep, Explanation, Gone, How, Nearest, Place,
    ReadCause, ReadDistinction, Reason, Shown, StepOutcome,
};
use kiln_ir::Digest;
use kiln_testkit::check;

use super::*;

fn key(text: &str) -> CacheKey {
    CacheKey::from_digest(Digest::of(text.as_bytes()))
}

fn step(vertex: usize, name: &str, outcome: StepOutcome) -> ExplainedStep {
    let place = Place { file: "Dockerfile".to_owned(), line: vertex + 1, source: name.to_owned() };
    ExplainedStep {
        vertex,
        name: name.to_owned(),
        place: Some(place),
        key: Some(key(name)),
        outcome,
    }
}

fn differs(name: &str, differences: Vec<Distinction>) -> StepOutcome {
    let (key, name) = (key("earlier"), name.to_owned());
    StepOutcome::Missed(Reason::Differs(Nearest { key, name, made_ms: 60_000, differences }))
}

fn field(what: &str, name: &str, was: Option<&str>, is: Option<&str>) -> Distinction {
    let text = |text: &str| Shown::Text(text.to_owned());
    Distinction::Field {
        what: what.to_owned(),
        name: name.to_owned(),
        aspect: String::new(),
        was: was.map(text),
        is: is.map(text),
    }
}

fn shell(was: &str, is: &str) -> Distinction {
    let list = |text: &str| Shown::List(["/bin/sh", "-c", text].map(str::to_owned).to_vec());
    let (what, name, aspect) = ("command".to_owned(), String::new(), String::new());
    Distinction::Field { what, name, aspect, was: Some(list(was)), is: Some(list(is)) }
}

fn read(how: How, name: &str, cause: ReadCause, files: Option<Vec<Change>>) -> Distinction {
    let name = name.to_owned();
    Distinction::Read(ReadDistinction { how, name, was_name: None, cause, files })
}

fn change(path: &str, what: Vec<Changed>) -> Change {
    Change { path: path.to_owned(), what }
}

fn ran(step: usize) -> ReadCause {
    ReadCause::Ran { step, same_action: false }
}

fn cached() -> StepOutcome {
    StepOutcome::Cached { made_ms: Some(0), duration_ms: 1_250 }
}

fn missed(reason: Reason) -> StepOutcome {
    StepOutcome::Missed(reason)
}

/// A build in which a bit of everything happened.
fn rich() -> Explanation {
    let files = vec![
        change("src/a.c", vec![Changed::Content { was_bytes: 10, is_bytes: 12 }]),
        change("src/dir", vec![Changed::Added]),
        change("src/dir/one", vec![Changed::Added]),
        change("src/dir/two", vec![Changed::Added]),
        change("src/ln", vec![Changed::Target { was: "a".to_owned(), is: "b".to_owned() }]),
        change("src/old.c", vec![Changed::Removed]),
        change(
            "src/run\u{1b}[31m.sh",
            vec![
                Changed::Mode { was: 0o644, is: 0o755 },
                Changed::Owner { was: (0, 0), is: (5, 6) },
            ],
        ),
    ];
    let copy = "[build 3/6] COPY src/ /src";
    let make = "[build 4/6] RUN make";
    let steps = vec![
        step(0, "[build 1/6] FROM base", cached()),
        step(1, "[build 2/6] RUN apk add gcc", cached()),
        step(2, copy, differs(copy, vec![read(How::Copy, "/src", ReadCause::Itself, Some(files))])),
        step(3, make, differs(make, vec![read(How::Root, "", ran(2), None)])),
        step(
            4,
            "[build 5/6] RUN make test",
            differs(
                "[build 5/6] RUN make check",
                vec![
                    shell("make check\nls -l", "make test\nls -l"),
                    field("build argument", "VERSION", Some("1"), Some("2")),
                    field("variable", "CC", None, Some("clang")),
                    Distinction::Order { what: "variable".to_owned() },
                    read(How::Root, "", ran(3), None),
                ],
            ),
        ),
        step(
            5,
            "[build 6/6] RUN make install",
            differs("[build 6/6] RUN make install", vec![read(How::Root, "", ran(4), None)]),
        ),
        step(6, "[lint 1/2] RUN lint", missed(Reason::Gone(Gone::Collected))),
        step(7, "[lint 2/2] RUN lint more", missed(Reason::Gone(Gone::Collected))),
        step(8, "[docs 1/1] RUN docs", missed(Reason::First)),
        step(9, "[stage-3 2/2] COPY --from=build /out /", StepOutcome::NotReached),
    ];
    Explanation { steps }
}

fn ago(made_ms: i64) -> String {
    format!("{} s ago", made_ms / 1000)
}

fn golden(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/cli/why");
    check(&folder.join(name), text);
}

#[test]
fn a_build_is_explained_from_its_causes() {
    golden("summary.txt", &summary(&rich(), Detail::Brief, &ago));
}

#[test]
fn each_step_is_explained_down_to_its_root() {
    let explanation = rich();
    let text: Vec<String> =
        (0..explanation.steps.len()).map(|index| super::step(&explanation, index, &ago)).collect();
    golden("steps.txt", &text.join("\n"));
}

#[test]
fn what_may_not_run_is_named_with_what_waits_for_it() {
    let mut explanation = rich();
    for step in &mut explanation.steps[3..] {
        step.outcome = StepOutcome::NotReached;
    }
    golden("refusal.txt", &refusal(&explanation, &ago));
}

#[test]
fn programs_are_told_the_same() {
    golden("lines.json", &lines(&rich()));
}

/// What is said of one difference, on one line.
fn told(difference: Distinction) -> String {
    let base = step(0, "[1/2] FROM base", cached());
    let steps = vec![base, step(1, "[2/2] RUN x", differs("[2/2] RUN x", vec![difference]))];
    let text = super::step(&Explanation { steps }, 1, &ago);
    let lines: Vec<&str> = text.lines().skip(3).map(str::trim).collect();
    lines.join(" / ")
}

fn aspect(what: &str, name: &str, aspect: &str, was: Shown, is: Shown) -> Distinction {
    let (what, name, aspect) = (what.to_owned(), name.to_owned(), aspect.to_owned());
    Distinction::Field { what, name, aspect, was: Some(was), is: Some(is) }
}

fn text(text: &str) -> Shown {
    Shown::Text(text.to_owned())
}

#[test]
fn fields_in_sentences() {
    let sealed = |text: &str| Shown::Sealed(Digest::of(text.as_bytes()));
    for (difference, expected) in [
        (field("user", "", Some("root"), Some("app")), "the user changed from `root` to `app`"),
        (field("mount", "/m", Some("/m"), None), "the mount `/m` is gone"),
        (field("mount", "/m", None, Some("/m")), "the mount `/m` is new"),
        (field("user", "", Some(""), Some("app")), "the user changed from nothing to `app`"),
        (
            aspect("variable", "TOKEN", "", sealed("a"), sealed("b")),
            "the variable `TOKEN` changed; its name is that of a credential, so its values are not \
             kept",
        ),
        (
            aspect("mount", "/m", "access", text("read-only"), text("read-write")),
            "the mount `/m`: access changed from `read-only` to `read-write`",
        ),
        (
            aspect("image", "", "manifest", text("sha256:1"), text("sha256:2")),
            "the base image's manifest changed from `sha256:1` to `sha256:2`",
        ),
        (field("file", "/f", Some("a\nb\n"), Some("a\nc\n")), "the file `/f` changed: / - b / + c"),
    ] {
        assert_eq!(told(difference), expected);
    }
}

#[test]
fn what_is_read_in_sentences() {
    let base = aspect("image", "", "manifest", text("sha256:1"), text("sha256:2"));
    let other = ReadCause::Cached {
        step: 0,
        was: Some("[1/2] FROM other".to_owned()),
        differences: vec![base],
    };
    let again = ReadCause::Ran { step: 0, same_action: true };
    let bytes = Changed::Content { was_bytes: 3, is_bytes: 3 };
    for (difference, expected) in [
        (
            read(How::Secret, "token", ReadCause::Itself, None),
            "the value of the secret `token` changed",
        ),
        (
            read(How::Root, "", other, None),
            "the filesystem that it begins with is not what it was: it is by `[1/2] FROM base`, which was \
             cached; then it was by `[1/2] FROM other` / the base image's manifest changed from `sha256:1` to `sha256:2`",
        ),
        (
            read(How::Root, "", again, Some(vec![change("log", vec![bytes])])),
            "the filesystem that it begins with changed: `[1/2] FROM base` ran again and gave another result, \
             though nothing of it changed: / ~ log  content (still 3 bytes)",
        ),
        (
            read(How::Bind, "/src", ReadCause::Unknown, None),
            "what the mount `/src` shows is not what it was",
        ),
        (
            read(How::Bind, "/src", ReadCause::OtherPart { step: 0 }, None),
            "what the mount `/src` shows is not what it was: another part of what `[1/2] FROM base` gave",
        ),
        (
            read(How::Root, "", ReadCause::MadeAnew { step: 0 }, None),
            "the filesystem that it begins with changed: `[1/2] FROM base` was made anew since and gave \
             another result",
        ),
        (
            read(How::Secret, "token", ReadCause::New, None),
            "the value of the secret `token` counts from now on (`cache=hmac`)",
        ),
        (
            read(How::Secret, "token", ReadCause::Gone, None),
            "the value of the secret `token` counts no more (no `cache=hmac`)",
        ),
    ] {
        assert_eq!(told(difference), expected);
    }
}

#[test]
fn another_number_is_no_other_step() {
    for (was, is, same) in [
        ("[build  2/12] RUN make", "[build 11/12] RUN make", true),
        ("[2/3] RUN make", "[3/3] RUN make", true),
        ("[build 2/3] RUN make", "[test 2/3] RUN make", false),
        ("[2/3] RUN make", "[2/3] RUN make test", false),
        ("[context a] load", "[context a] load", true),
    ] {
        let difference = || field("user", "", None, Some("x"));
        let steps = vec![step(0, is, differs(was, vec![difference()]))];
        let said = super::step(&Explanation { steps }, 0, &ago);
        assert_eq!(said.contains("differs from its result"), same, "{said}");
    }
}

#[test]
fn builds_that_ended_early() {
    let of = |outcomes: &[StepOutcome]| {
        let steps = outcomes.iter().enumerate();
        let steps = steps.map(|(n, outcome)| step(n, "[1/1] RUN x", outcome.clone()));
        let text = summary(&Explanation { steps: steps.collect() }, Detail::Brief, &ago);
        text.lines().next().unwrap_or_default().to_owned()
    };
    let (first, refused) = (|| missed(Reason::First), || missed(Reason::Refused));
    let left = || StepOutcome::NotReached;
    for (outcomes, expected) in [
        (vec![cached(), left()], "no step ran; the build ended before one was looked up"),
        (
            vec![first(), left(), left()],
            "1 of 3 steps ran; the build ended before 2 were looked up",
        ),
        (vec![first(), first()], "all 2 steps ran"),
        (
            vec![cached(), refused(), left()],
            "1 of 3 steps was not cached, and none was to run; the build ended before one was looked up",
        ),
        (vec![refused(), refused()], "2 of 2 steps were not cached, and none was to run"),
        (vec![StepOutcome::Unrecorded, cached()], "the step was cached"),
    ] {
        assert_eq!(of(&outcomes), expected);
    }
}

#[test]
fn long_lists_are_cut_in_a_summary_alone() {
    let files: Vec<_> =
        (0..40).map(|n| change(&format!("f{n:02}"), vec![Changed::Links])).collect();
    let name = "[1/1] COPY . .";
    let outcome = differs(name, vec![read(How::Copy, "/", ReadCause::Itself, Some(files))]);
    let explanation = Explanation { steps: vec![step(0, name, outcome)] };
    let brief = summary(&explanation, Detail::Brief, &ago);
    assert!(brief.contains("f19") && !brief.contains("f20"), "{brief}");
    assert!(brief.contains("… and 20 more"), "{brief}");
    assert!(super::step(&explanation, 0, &ago).contains("f39"));
}

#[test]
fn builds_in_which_nothing_ran() {
    let of = |count: usize| Explanation {
        steps: (0..count).map(|n| step(n, "[1/1] RUN x", cached())).collect(),
    };
    let texts: Vec<_> = (0..3).map(|n| summary(&of(n), Detail::Brief, &ago)).collect();
    let expected = [
        "the build has no step that could be cached\n",
        "the step was cached\n",
        "all 2 steps were cached\n",
    ];
    assert_eq!(texts, expected);
}
