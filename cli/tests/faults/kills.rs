//! `kill -9` in the middle of a command, of the commit of its layer, and anywhere in a build.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
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

/// Kills a build after a time; answers how long it took if it ended before.
fn kill_after(mut child: Child, delay: Duration) -> Option<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < delay && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(1));
    }
    // SIGKILL, which nothing can prepare for.
    let _ended = child.kill();
    let was_killed = child.wait().unwrap().signal() == Some(nix::libc::SIGKILL);
    (!was_killed).then(|| begun.elapsed())
}

/// Kills builds at moments spread over the time that they take after `word`. One that ends before tells how
/// long they take now: what the machine does besides changes it.
fn kill_many(bed: &Bed, word: &str, output: &[&str], mut usual: Duration) {
    for round in 0..KILLS {
        while let Some(took) = kill_after(start(bed, word, output), usual * round / KILLS) {
            usual = usual.min(took);
            bed.left_nothing();
        }
        bed.left_nothing();
    }
    eprintln!(
        "the last of {KILLS} builds was killed in the {usual:?} that they take from `{word}`"
    );
}

#[test]
fn killed_in_the_middle_of_a_command() {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = format!(
        "{BASE}RUN echo begun; i=0; while true; do i=$((i + 1)); mkdir -p /d$i; echo $i > /d$i/f; \
         done\n"
    );
    bed.write("ctx/Dockerfile", dockerfile);
    kill_many(&bed, "begun", &NO_IMAGE, Duration::from_millis(400));
    bed.was_never_damaged();
    bed.is_whole();
}

/// A build whose last step leaves `files` small files and a large one, which differs each time and so is packed
/// each time, killed after it has said `word`.
fn killed_after(word: &str, files: u32, output: &[&str]) {
    let Some(bed) = Bed::new() else { return };
    let dockerfile = format!(
        "{BASE}RUN for d in $(seq {}); do mkdir /d$d; for f in $(seq 50); do echo $d $f > /d$d/f$f; \
         done; done; head -c 5000000 /dev/urandom > /big; echo written\n",
        files / 50
    );
    bed.write("ctx/Dockerfile", dockerfile);
    let mut whole = start(&bed, word, output);
    let begun = Instant::now();
    assert!(whole.wait().unwrap().success());
    let usual = begun.elapsed();
    bed.left_nothing();
    kill_many(&bed, word, output, usual);
    bed.was_never_damaged();
    bed.is_whole();
}

#[test]
fn killed_in_the_middle_of_a_commit() {
    killed_after("written", 4000, &NO_IMAGE);
}

#[test]
fn killed_in_the_middle_of_an_export() {
    killed_after("exporting to image", 500, &[]);
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
    let mut usual = begun.elapsed();
    let (mut state, mut alive) = (0x9e37_79b9_u32, ANYWHERE);
    for round in 0..ANYWHERE {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let child = build("store", round).spawn().unwrap();
        let delay = usual.mul_f64(f64::from(state) / f64::from(u32::MAX));
        if let Some(took) = kill_after(child, delay) {
            alive -= 1;
            usual = usual.min(took);
        }
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
