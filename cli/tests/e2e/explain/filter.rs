//! Stages whose recorded results are passed over.

use super::{Bed, assert_says};

const DOCKERFILE: &str = "\
FROM base AS deps
RUN cat /proc/sys/kernel/random/uuid > /stamp; echo same > /same
FROM base AS other
RUN echo other > /other
FROM deps
COPY --from=other /other /
RUN cat /same > /copy
";

#[test]
fn the_steps_of_a_named_stage_run_again() {
    let Some(bed) = Bed::new(DOCKERFILE) else { return };
    bed.explained(&[]);
    let passed_over = "recorded results of its stage were passed over, by `--no-cache-filter`";
    // Whatever follows from what they give runs, and nothing else.
    for filter in ["deps", "DEPS", "0"] {
        let said = bed.explained(&["--no-cache-filter", filter]);
        assert_says(
            &said,
            &[
                "3 of 5 steps ran, because of `[deps 2/2] RUN cat /proc",
                &format!("{passed_over}:\n  [deps 2/2] RUN cat /proc"),
                "then ran because of it:\n    [stage-2 1/2] COPY --from=other",
                "  [other 2/2] RUN echo other > /other  made",
            ],
        );
        assert_says(&bed.asked(&[]), &[passed_over]);
        let again = "ran again and gave another result, though nothing of it changed:";
        assert_says(&bed.asked(&["^0", "COPY"]), &[again, "~ stamp  content (still 37 bytes)"]);
    }
    // A stage that gives the same again leaves what reads it cached.
    let said = bed.explained(&["--no-cache-filter=other"]);
    assert_says(&said, &["1 of 5 steps ran\n", "  [other 2/2] RUN echo other > /other  ("]);
    // Several at once, and one without a name as its steps call it.
    let said = bed.explained(&["--no-cache-filter=other,deps", "--no-cache-filter", "stage-2"]);
    assert_says(&said, &["4 of 5 steps ran"]);
    assert_eq!(bed.explained(&[]), "\nall 5 steps were cached\n");
    bed.work.assert_no_mounts();
}

#[test]
fn a_name_that_no_stage_has_is_a_warning() {
    let Some(bed) = Bed::new(DOCKERFILE) else { return };
    bed.explained(&[]);
    let said = bed.build_with_progress("plain", &["--no-cache-filter=dep,7,other"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_says(
        &said.text,
        &[
            "warning[unused-no-cache-filter]: `--no-cache-filter` names a stage `dep`, and there is none",
            "= help: did you mean `deps`?",
            "names a stage `7`, and there is none",
            "1 of 5 steps ran\n",
        ],
    );
    assert!(!said.text.contains("names a stage `other`"), "{}", said.text);
    let shown = bed.kiln.print(&["history", "inspect"]);
    assert!(shown.contains("dep, 7, other"), "{shown}");
}

#[test]
fn it_does_not_go_with_what_says_otherwise() {
    let Some(bed) = Bed::new(DOCKERFILE) else { return };
    for other in ["--no-cache", "--require-cached"] {
        let said = bed.build(&["--no-cache-filter=deps", other]);
        assert_eq!(said.code, Some(2), "{}", said.text);
        assert_says(&said.text, &["cannot be used with"]);
    }
    assert_eq!(bed.build(&["--no-cache-filter="]).code, Some(2));
}
