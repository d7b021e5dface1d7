//! `kill -9` in the middle of a command, of the commit of its layer, and anywhere in a build.

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::bed::{BASE, Bed};

/// Kills of each kind.
const KILLS: u32 = 16;
/// Kills of builds at moments that nobody chose.
const ANYWHERE: u32 = 152;
/// Only fills the cache: the build ends with the last commit.
const NO_IMAGE: [&str; 2] = ["-o", "type=cacheonly"];

/// Starts a build that does not use recorded results; returns when its step said `word`.
fn start(bed: &Bed, word: &str, output: &[&str]) -> Child {
    let arguments = [&["build", "--no-cache", "--progress", "plain"], output, &["ctx"]].concat();
    let mut child = bed.kiln(&arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = lines.by_ref().any(|line| line.unwrap().ends_with(word));
    assert!(said, "the step says `{word}`");
    // The rest is read, so that the build is not held up.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// Kills builds at moments spread over the time that they take after `word`; answers how many of them
/// had not ended by then.
fn kill_many(bed: &Bed, word: &str, output: &[&str], usual: Duration) -> u32 {
    let mut alive = 0;
    for round in 0..KILLS {
        let mut child = start(bed, word, output);
        sleep(usual * round / KILLS);
        alive += u32::from(child.try_wait().unwrap().is_none());
        // SIGKILL, which nothing can prepare for.
        let _ended = child.kill();
        child.wait().unwrap();
        bed.left_nothing();
    }
    alive
}

#[test]
fn killed_in_the_middle_of_a_command() {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = format!(
        "{BASE}RUN echo begun; i=0; while true; do i=$((i + 1)); mkdir -p /d$i; echo $i > /d$i/f; \
         done\n"
    );
    bed.write("ctx/Dockerfile", dockerfile);
    let alive = kill_many(&bed, "begun", &NO_IMAGE, Duration::from_millis(400));
    assert_eq!(alive, KILLS, "the command does not end by itself");
    bed.was_never_damaged();
    bed.is_whole();
}

/// A build whose last step leaves `files` small files and a large one, killed from the step's end on.
fn killed_after_the_command(files: u32, output: &[&str]) {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = format!(
        "{BASE}RUN for d in $(seq {}); do mkdir /d$d; for f in $(seq 50); do echo $d $f > /d$d/f$f; \
         done; done; head -c 5000000 /dev/zero > /big; echo written\n",
        files / 50
    );
    bed.write("ctx/Dockerfile", dockerfile);
    let mut whole = start(&bed, "written", output);
    let begun = Instant::now();
    assert!(whole.wait().unwrap().success());
    let usual = begun.elapsed();
    bed.left_nothing();
    let alive = kill_many(&bed, "written", output, usual);
    eprintln!("{alive} of {KILLS} builds were killed in the {usual:?} from the command to the end");
    assert!(alive >= KILLS / 2, "only {alive} builds were killed before their end");
    bed.was_never_damaged();
    bed.is_whole();
}

#[test]
fn killed_in_the_middle_of_a_commit() {
    killed_after_the_command(4000, &NO_IMAGE);
}

#[test]
fn killed_in_the_middle_of_an_export() {
    killed_after_the_command(500, &[]);
}

/// Some of it is there from the builds before, some of it is new in each round.
const DOCKERFILE: &str = "RUN echo always > /always\n\
    ARG ROUND\n\
    RUN --mount=type=cache,target=/cache echo $ROUND > /cache/round; mkdir /d; \
    for i in $(seq 60); do echo $i $ROUND > /d/$i; done\n\
    RUN rm -r /d/1*; mv /always /moved\n\
    FROM scratch\nCOPY --from=0 /d /d\nCOPY --from=0 /moved /\n";

#[test]
fn killed_anywhere() {
    let Some(bed) = Bed::new() else { return };
    bed.write("ctx/Dockerfile", format!("{BASE}{DOCKERFILE}"));
    let build = |store: &str, round: u32| {
        let round = format!("--build-arg=ROUND={round}");
        let fixed = ["build", "--progress=quiet", "--build-arg=SOURCE_DATE_EPOCH=1", "-t", "app"];
        let mut command = bed.kiln(&fixed);
        command.args([&round, "--iidfile", "iid", "ctx"]).env("KILN_ROOT", bed.path(store));
        command
    };
    let id = |store, round| {
        let output = build(store, round).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(bed.path("iid")).unwrap()
    };
    id("store", ANYWHERE);
    let begun = Instant::now();
    id("store", ANYWHERE + 1);
    let usual = begun.elapsed();
    let (mut state, mut alive) = (0x9e37_79b9_u32, 0);
    for round in 0..ANYWHERE {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut child = build("store", round).spawn().unwrap();
        sleep(usual.mul_f64(f64::from(state) / f64::from(u32::MAX)));
        alive += u32::from(child.try_wait().unwrap().is_none());
        // SIGKILL, which nothing can prepare for.
        let _ended = child.kill();
        child.wait().unwrap();
        bed.left_nothing();
    }
    eprintln!("{alive} of {ANYWHERE} builds were killed in the {usual:?} that they take");
    assert!(alive >= ANYWHERE / 3, "only {alive} builds were killed before their end");
    for round in [0, ANYWHERE / 2, ANYWHERE - 1] {
        assert_eq!(id("store", round), id("other", round), "round {round}");
    }
    bed.is_sound();
    bed.was_never_damaged();
    bed.is_whole();
}
