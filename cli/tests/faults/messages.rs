//! Mistakes of whoever wrote the Dockerfile or the command line.

use super::bed::{BASE, Bed, Said};

#[test]
fn a_line_that_is_no_syntax() {
    let Some(bed) = Bed::new() else { return };
    bed.build("FROM scratch\nENV a=\"b\n", &[]).is("syntax.txt", &[]);
    bed.is_whole();
}

#[test]
fn an_unknown_instruction_names_the_nearest() {
    let Some(bed) = Bed::new() else { return };
    bed.build("FROM scratch\nCOPPY a b\n", &[]).is("unknown-instruction.txt", &[]);
    bed.is_whole();
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = "\
FROM scratch AS base
RUN --mont=type=cache true
COPY --form=base a b
ENV x
HEALTHCHECK NON
RUN <<END
echo
";
    bed.build(dockerfile, &[]).is("several.txt", &[]);
    let dockerfile = "\
FROM scratch
EXPOSE 99999
STOPSIGNAL SIGSTIP
COPY --chmod=8 busybox /
RUN --mount=type=cash true
";
    bed.build(dockerfile, &[]).is("several-values.txt", &[]);
    bed.is_whole();
}

#[test]
fn mistakes_in_included_files_are_told_with_their_own_lines() {
    let Some(bed) = Bed::new() else { return };
    std::fs::create_dir(bed.path("ctx/parts")).unwrap();
    bed.write("ctx/parts/shell", "# For all stages.\nRUN echo fine\n\nRUN echo wrong && false\n");
    let dockerfile = format!("# syntax=kiln\n{BASE}INCLUDE parts/shell\n");
    bed.build(&dockerfile, &[]).is("included-step.txt", &[]);
    bed.write("ctx/parts/shell", "RUN true\nEXPOSE 99999\n");
    bed.build(&dockerfile, &[]).is("included-value.txt", &[]);
    bed.build("# syntax=kiln\nFROM scratch\nINCLUDE parts/shel\n", &[])
        .is("included-none.txt", &[]);
    std::os::unix::fs::symlink("/etc/hostname", bed.path("ctx/outside")).unwrap();
    bed.build("# syntax=kiln\nFROM scratch\nINCLUDE outside\n", &[])
        .is("included-outside.txt", &[]);
    bed.build("FROM scratch\nINCLUDE parts/shell\n", &[]).is("include.txt", &[]);
    bed.is_whole();
}

#[test]
fn a_missing_source_names_the_nearest() {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = format!("{BASE}COPY --chmod=755 \\\n    busybax /bin/\n");
    bed.build(&dockerfile, &[]).is("missing-source.txt", &[]);
    bed.build("FROM scratch\nCOPY no/such/thing /\n", &[]).is("missing-source-far.txt", &[]);
    bed.write("ctx/.dockerignore", "secret\n");
    bed.write("ctx/secret", "");
    bed.build("FROM scratch\nCOPY secret /\n", &[]).is("ignored-source.txt", &[]);
    let dockerfile = format!("{BASE}FROM scratch\nCOPY --from=0 /bin/busibox /\n");
    bed.build(&dockerfile, &[]).is("missing-source-stage.txt", &[]);
    bed.is_whole();
}

#[test]
fn a_failing_command_shows_its_line_and_its_last_output() {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = format!(
        "{BASE}\n# Counts.\nRUN for i in $(seq 40); do echo line $i; done >&2; \\\n    \
         echo no such luck >&2; exit 23\n"
    );
    bed.build(&dockerfile, &[]).is("failing-run.txt", &[]);
    bed.build(&format!("{BASE}RUN kill -9 $$\n"), &[]).is("killed-run.txt", &[]);
    bed.build("FROM scratch\nRUN make\n", &[]).is("no-shell.txt", &[]);
    bed.build(&format!("{BASE}RUN [\"/bin/make\", \"all\"]\n"), &[]).is("no-program.txt", &[]);
    bed.build(&format!("{BASE}USER joe\nRUN true\n"), &[]).is("unknown-user.txt", &[]);
    bed.is_whole();
}

#[test]
fn other_steps_that_run_are_stopped_by_a_failure() {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = format!(
        "{BASE}FROM 0 AS slow\nRUN sleep 1000\nFROM 0 AS bad\nRUN sleep 1; exit 5\n\
         FROM scratch\nCOPY --from=slow / /\nCOPY --from=bad / /\n"
    );
    // Stages are named, not numbered, in FROM.
    let dockerfile = dockerfile.replacen("FROM scratch", "FROM scratch AS base", 1);
    let said = bed.build(&dockerfile.replace("FROM 0", "FROM base"), &["--jobs", "4"]);
    said.is("failing-beside.txt", &[]);
    bed.is_whole();
}

#[test]
fn who_keeps_going_meets_every_failure_and_finishes_the_rest() {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = format!(
        "{BASE}FROM base AS first\nRUN exit 5\nFROM base AS second\nRUN sleep 1; exit 6\n\
         FROM base AS third\nRUN sleep 2; echo finished\nFROM scratch\nCOPY --from=first / /\n\
         COPY --from=second / /\nCOPY --from=third / /\n"
    );
    let dockerfile = dockerfile.replacen("FROM scratch", "FROM scratch AS base", 1);
    let said = bed.build(&dockerfile, &["--jobs", "4", "--keep-going"]);
    said.is("keeps-going.txt", &[]);
    // What was finished is there for the next build.
    let fixed = dockerfile.replace("exit 5", "true").replace("exit 6", "true");
    bed.write("ctx/Dockerfile", &fixed);
    let said = bed.run(&["build", "--progress", "plain", "--jobs", "4", "ctx"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let of_third = |line: &&str| line.contains("[third 1/1]");
    let number = said.stderr.lines().find(of_third).and_then(|line| line.split(' ').next());
    let cached = format!("{} CACHED", number.unwrap());
    assert!(said.stderr.lines().any(|line| line == cached), "{}", said.stderr);
    bed.is_whole();
}

#[test]
fn a_secret_that_is_missing() {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = format!("{BASE}RUN --mount=type=secret,id=token,required=true true\n");
    bed.build(&dockerfile, &[]).is("no-secret.txt", &[]);
    bed.build(&dockerfile, &["--secret", "id=token,src=nowhere"]).is("no-secret-file.txt", &[]);
    bed.build(&dockerfile, &["--secret", "id=token,env=TOKEN"]).is("no-secret-variable.txt", &[]);
    bed.is_whole();
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let Some(bed) = Bed::new() else { return };
    bed.run(&["build", "--progres", "plain", "ctx"]).is("unknown-flag.txt", &[]);
    bed.run(&["build", "--progress", "plan", "ctx"]).is("unknown-value.txt", &[]);
    bed.run(&["biuld", "ctx"]).is("unknown-verb.txt", &[]);
    bed.run(&["build", "-o", "type=oci,dst=x", "ctx"]).is("unknown-field.txt", &[]);
    bed.run(&["build", "-t", "A b", "ctx"]).is("bad-tag.txt", &[]);
    bed.run(&["build"]).is("no-context.txt", &[]);
    bed.is_whole();
}

#[test]
fn files_that_are_not_there() {
    let Some(bed) = Bed::new() else { return };
    let build =
        |arguments: &[&str]| bed.run(&[&["build", "--progress", "quiet"], arguments].concat());
    build(&["ctx"]).is("no-dockerfile.txt", &[]);
    build(&["nowhere"]).is("no-directory.txt", &[]);
    build(&["ctx/busybox"]).is("no-directory-but-file.txt", &[]);
    bed.build("FROM scratch\n", &["--target", "test"]).is("no-stage.txt", &[]);
    build(&["--config", "nowhere.toml", "ctx"]).is("no-configuration.txt", &[]);
    bed.write("kiln.toml", "[registry.\"docker.io\"]\nmirror = []\n");
    build(&["--config", "kiln.toml", "ctx"]).is("bad-configuration.txt", &[]);
    bed.is_whole();
}

#[test]
fn results_that_cannot_be_written() {
    let Some(bed) = Bed::new() else { return };
    let said = bed.build(BASE, &["-o", "type=oci,dest=ctx/busybox/image.tar"]);
    said.is("no-place-for-output.txt", &[]);
    bed.build(BASE, &["--iidfile", "ctx/busybox/id"]).is("no-place-for-id.txt", &[]);
    let said = bed.run(&["--root", "ctx/busybox", "images"]);
    said.is("store-is-a-file.txt", &[]);
    bed.is_whole();
}

#[test]
fn the_standard_output_is_whole_or_it_is_said() {
    let Some(bed) = Bed::new() else { return };
    let numbers =
        "RUN for i in $(seq 40); do seq $i 9000 > /$i; done; printf 'no end of line' > /x\n";
    let said = bed.build(&format!("{BASE}{numbers}"), &["-o", "type=tar,dest=whole.tar"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let whole = std::fs::read(bed.path("whole.tar")).unwrap();
    let ways = [
        &["build", "--progress", "quiet", "-o", "-", "ctx"][..],
        &["history", "export", "^1"],
        &["history", "logs", "^1"],
    ];
    for way in ways {
        let piped = bed.kiln(way).output().unwrap();
        assert!(piped.status.success(), "{way:?}: {}", String::from_utf8_lossy(&piped.stderr));
        let file = std::fs::File::create(bed.path("out")).unwrap();
        assert!(bed.kiln(way).stdout(file).status().unwrap().success(), "{way:?}");
        // What the history says of the latest build changes with each.
        let written = std::fs::read(bed.path("out")).unwrap();
        assert!(!written.is_empty() && written == piped.stdout, "{way:?}");
        assert!(way[0] == "history" || written == whole, "{way:?}");
    }
    let printed: [&[&str]; 4] =
        [&["images"], &["history", "ls"], &["system", "df"], &["build", "-q", "-t", "x", "ctx"]];
    for way in ways[..2].iter().chain(&printed) {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = bed.kiln(way).stdout(full).output().unwrap();
        let said = Said::of(output, bed.dir());
        assert_ne!(said.code, Some(0), "{way:?}");
        assert!(said.stderr.contains("no space left on device"), "{way:?}: {}", said.stderr);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = bed.kiln(way).stdout(writer).status().unwrap();
        assert!(status.success() || !printed.contains(way), "{way:?}: nobody reads");
    }
    bed.is_whole();
}

#[test]
fn progress_that_nobody_reads_is_no_trouble() {
    let Some(bed) = Bed::new() else { return };
    bed.write("ctx/Dockerfile", format!("{BASE}RUN seq 100000\nRUN echo done > /done\n"));
    for mode in ["plain", "tty", "rawjson", "auto"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut kiln = bed.kiln(&["build", "--no-cache", "--progress", mode, "ctx"]);
        let status = kiln.stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(0), "{mode}");
    }
    bed.is_whole();
}

#[test]
fn a_build_that_goes_well_warns_nobody() {
    let Some(bed) = Bed::new() else { return };
    bed.write("ctx/Dockerfile", format!("{BASE}RUN true\nRUN echo x > /x\nRUN true again\n"));
    let mut build = bed.kiln(&["build", "--progress=quiet", "-o", "type=cacheonly", "ctx"]);
    let said = Said::of(build.env("KILN_LOG", "warn").output().unwrap(), bed.dir());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    bed.is_whole();
}
