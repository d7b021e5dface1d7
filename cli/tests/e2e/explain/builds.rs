//! `kiln build --explain` and `kiln explain` over builds of all kinds: what ran, what failed, what was reused.

use serde_json::Value;

use super::{Bed, assert_says};

const DOCKERFILE: &str = "\
FROM base
ARG LEVEL=1
COPY src /src
RUN cat /src/* > /all
RUN wc -l /all > /lines
";

fn bed() -> Option<Bed> {
    let bed = Bed::new(DOCKERFILE)?;
    bed.write("src/a", "one\n");
    Some(bed)
}

#[test]
fn builds_of_the_past_are_explained_as_they_were() {
    let Some(bed) = bed() else { return };
    bed.explained(&[]);
    bed.write("src/a", "one\ntwo\n");
    bed.explained(&[]);
    bed.explained(&["--build-arg=LEVEL=2"]);
    bed.explained(&["--build-arg=LEVEL=2"]);

    let first = bed.asked(&["^3"]);
    assert_says(
        &first,
        &["  ctx, ", "\n\nall 4 steps ran\n", "no earlier build of it is known:\n"],
    );
    let changed = [
        "3 of 4 steps ran, because of `[2/4] COPY src /src`",
        "      ~ src/a  content (4 → 8 bytes)",
        "  then ran because of it:\n    [3/4] RUN cat /src/* > /all\n    [4/4] RUN wc -l",
        "cached, since all that they read is as it was:\n  [1/4] FROM base  made ",
    ];
    assert_says(&bed.asked(&["^2"]), &changed);
    let argument = "the build argument `LEVEL` changed from `1` to `2`";
    assert_says(&bed.asked(&["^1"]), &[argument, "each differs from its result made "]);
    assert_says(&bed.asked(&[]), &["all 4 steps were cached"]);

    // A build by its id, a step by its name, its place and its line.
    let id = bed.asked(&["^2"]).split_once("  ").unwrap().0.to_owned();
    for step in ["RUN wc", "4/4", "Dockerfile:5", ":5"] {
        let said = bed.asked(&[&id, step]);
        assert_says(
            &said,
            &["[4/4] RUN wc -l /all > /lines  (", "  key ", "at the root of it:", changed[1]],
        );
    }
    assert_says(
        &bed.asked(&["^1", "COPY"]),
        &["cached: its command, variables and mounts and all that"],
    );
    bed.work.assert_no_mounts();
}

#[test]
fn what_is_asked_for_and_not_there_is_said_with_what_is() {
    let Some(bed) = bed() else { return };
    let fails = |arguments: &[&str], lines: &[&str]| {
        let output = bed.kiln.command(&[&["explain"], arguments].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        assert_says(&String::from_utf8(output.stderr).unwrap(), lines);
    };
    fails(&[], &["error: no build `^0` is recorded", "= help: no build is recorded yet"]);
    bed.explained(&[]);
    fails(
        &["^0", "COPY srcs /src"],
        &["the build has no step `COPY srcs /src`", "= help: did you mean"],
    );
    fails(&["^0", "RUN"], &["several steps of the build are meant by `RUN`", "= help: "]);
    fails(&["^7"], &["error: no build `^7` is recorded", "= help: "]);
}

#[test]
fn programs_are_told_of_each_step_in_one_object() {
    let Some(bed) = bed() else { return };
    bed.explained(&[]);
    bed.write("src/a", "1\n");
    bed.explained(&[]);
    let said = bed.asked(&["--format", "json"]);
    let steps: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| {
        steps.iter().find(|step| step["name"].as_str().unwrap().contains(name)).unwrap()
    };
    assert_eq!(of("FROM")["outcome"], "cached");
    let copy = of("COPY");
    assert_eq!((&copy["outcome"], &copy["reason"]), (&"ran".into(), &"differs".into()));
    let change = serde_json::json!([{"what": "content", "was_bytes": 4, "is_bytes": 2}]);
    assert_eq!(copy["differences"][0]["files"][0]["changes"], change);
    assert_eq!(of("RUN wc")["causes"], serde_json::json!([copy["vertex"]]));
    // One step alone is the same object.
    let alone = bed.asked(&["^0", "COPY", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&alone).unwrap(), *copy);
    // A build with events as JSON has the same lines at its end.
    let output = bed.build_with_progress("rawjson", &[]);
    let last: Value = serde_json::from_str(output.text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["outcome"]), (&"why".into(), &"cached".into()));
}

#[test]
fn another_base_is_named_by_its_digest() {
    let Some(bed) = Bed::new("FROM base\nRUN ls / > /list\n") else { return };
    bed.explained(&[]);
    bed.work.context("other", "FROM base\nRUN touch /new\n");
    let layout = bed.work.path("layout");
    let other = bed.kiln.build(&bed.work.path("other")).layout("base", &bed.base);
    other.tag("other").into_layout(&layout).run();
    let from = format!("--build-context=base=oci-layout://{}", layout.display());
    let said = bed.explained(&[&from]);
    assert_says(
        &said,
        &[
            "all 2 steps ran, because of `[1/2] FROM base`",
            "[1/2] FROM base  (",
            "    the base image's manifest changed from `sha256:",
            "  then ran because of it:\n    [2/2] RUN ls / > /list",
        ],
    );
    // Both are known now; a new step on the one is compared with the same step on the other.
    bed.write("Dockerfile", "FROM base\nRUN ls / > /list\nRUN true\n");
    bed.explained(&[]);
    let said = bed.explained(&[&from]);
    assert_says(
        &said,
        &[
            "1 of 3 steps ran",
            "the filesystem that it begins with is not what it was: it is by `[1/3] FROM base`, which was \
             cached\n      the base image's manifest changed from `sha256:",
        ],
    );
    bed.work.assert_no_mounts();
}

#[test]
fn files_of_another_stage_are_named_with_all_that_changed_of_them() {
    let made = "mkdir /out; cd /out; echo a > f; chmod 644 f; ln -s f l; touch gone";
    let other = "mkdir /out; cd /out; echo bc > f; chmod 755 f; chown 7:8 f; ln -s g l; touch come";
    let dockerfile = |command: &str| {
        format!("FROM base AS one\nRUN {command}\nFROM base\nCOPY --from=one /out /out\n")
    };
    let Some(bed) = Bed::new(&dockerfile(made)) else { return };
    bed.explained(&[]);
    bed.write("Dockerfile", &dockerfile(other));
    bed.explained(&[]);
    assert_says(
        &bed.asked(&["^0", "COPY"]),
        &[
            "what is copied of `out` changed: `[one 2/2] RUN mkdir /out",
            "      + out/come\n",
            "      ~ out/f     content (2 → 3 bytes), mode 0644 → 0755, owner 0:0 → 7:8\n",
            "      - out/gone\n",
            "      ~ out/l     link to f → g\n",
        ],
    );
    bed.work.assert_no_mounts();
}

#[test]
fn what_was_passed_over_or_collected_is_said() {
    let Some(bed) =
        Bed::new("FROM base\nRUN cat /proc/sys/kernel/random/uuid > /now\nRUN wc -c /now\n")
    else {
        return;
    };
    bed.explained(&[]);
    let said = bed.explained(&["--no-cache"]);
    assert_says(&said, &["recorded results were passed over, by `--no-cache`:\n  [2/3] RUN cat"]);
    bed.kiln.print(&["builder", "prune", "--force", "--all"]);
    let said = bed.explained(&[]);
    assert_says(&said, &["the result was collected to save space:\n", "  [2/3] RUN cat /proc"]);
    bed.work.assert_no_mounts();
}

#[test]
fn a_failed_build_explains_what_it_came_to() {
    let Some(bed) = bed() else { return };
    bed.explained(&[]);
    bed.write("src/a", "one\nmore\n");
    bed.write("Dockerfile", &DOCKERFILE.replace("RUN cat", "RUN grep none /src/a; cat"));
    bed.write("Dockerfile", &DOCKERFILE.replace("> /all", "> /all && test -e /none"));
    let said = bed.build(&["--explain"]);
    assert_eq!(said.code, Some(1), "{}", said.text);
    let lines = [
        "2 of 4 steps ran; the build ended before one was looked up\n",
        "      ~ src/a  content (4 → 9 bytes)",
        "      - cat /src/* > /all\n      + cat /src/* > /all && test -e /none\n",
        "cached, since all that they read is as it was:\n  [1/4] FROM base",
    ];
    assert_says(&said.text, &lines);
    let (explained, error) = (said.text.find(lines[0]), said.text.find("error: `[3/4]"));
    assert!(explained.unwrap() < error.unwrap(), "an error stands at the end:\n{}", said.text);
    // What is kept of it says the same.
    assert_says(&bed.asked(&[]), &lines);
    assert_says(&bed.asked(&[]), &["; it failed\n\n"]);
    assert_says(&bed.asked(&["^0", "4/4"]), &["  the build ended before it was looked up"]);

    // The same again: nothing differs from a result, for there is none.
    let said = bed.build(&["--explain"]);
    let again =
        ["1 of 4 steps ran; ", "begun before, and it failed or was interrupted then:\n  [3/4] RUN"];
    assert_says(&said.text, &again);
    assert_says(&bed.asked(&[]), &again);

    // And for programs.
    let said = bed.build_with_progress("rawjson", &[]);
    assert_eq!(said.code, Some(1), "{}", said.text);
    let why = said.text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let outcomes: Vec<Value> =
        why.filter(|line| line["event"] == "why").map(|line| line["outcome"].clone()).collect();
    assert!(
        outcomes.contains(&"not-reached".into()) && outcomes.contains(&"ran".into()),
        "{outcomes:?}"
    );
    bed.work.assert_no_mounts();
}

#[test]
fn a_step_that_cannot_be_looked_up_is_no_step_that_ran() {
    let Some(bed) = Bed::new("FROM base\nRUN true\nCOPY absent /\nRUN echo\n") else { return };
    let said = bed.build(&["--explain"]);
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert_says(&said.text, &["2 of 4 steps ran; the build ended before 2 were looked up\n"]);
    assert_says(&bed.asked(&[]), &["2 of 4 steps ran; the build ended before 2 were looked up\n"]);
    assert_says(&bed.asked(&["^0", "COPY"]), &["the build ended before it was looked up"]);
    // Without `--explain` there is none.
    assert!(!bed.build(&[]).text.contains("steps ran"));
}

#[test]
fn what_another_failure_lets_run_is_explained_too() {
    let Some(bed) = Bed::new(
        "FROM base AS one\nRUN false\nFROM base\nRUN sleep 0.3; echo two\nCOPY --from=one /etc /e\n",
    ) else {
        return;
    };
    let said = bed.build(&["--explain", "--keep-going"]);
    assert_eq!(said.code, Some(1), "{}", said.text);
    let ran = ["3 of 4 steps ran; ", "  [one 2/2] RUN false  (", "  [stage-1 2/3] RUN sleep"];
    assert_says(&said.text, &ran);
}

#[test]
fn another_part_of_a_result_and_another_result_are_told_apart() {
    let dockerfile = "FROM base AS one\nRUN cat /proc/sys/kernel/random/uuid > /a; cp /a /b\n\
        FROM base\nRUN --mount=type=bind,from=one,source=/a,target=/m cat /m\n";
    let Some(bed) = Bed::new(dockerfile) else { return };
    bed.explained(&[]);
    bed.explained(&["--target=one", "--no-cache"]);
    let said = bed.explained(&[]);
    assert_says(
        &said,
        &[
            "1 of 3 steps ran\n",
            "what the mount `/m` shows changed: `[one 2/2] RUN cat /proc",
            "` was made anew since and gave another result",
        ],
    );
    bed.write("Dockerfile", &dockerfile.replace("source=/a", "source=/etc/passwd"));
    let said = bed.explained(&[]);
    assert_says(
        &said,
        &["what the mount `/m` shows is not what it was: another part of what `[one 2/2]"],
    );
    bed.work.assert_no_mounts();
}
