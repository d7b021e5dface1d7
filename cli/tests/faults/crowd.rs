//! A hundred builds that begin at the same moment, in a store that none of them has seen.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::bed::{BASE, Bed, Said};

/// Builds at once.
const BUILDS: usize = 100;
/// Different Dockerfiles among them, with a step in common; each is built as often as the others.
const VARIANTS: usize = 25;
/// By then all have ended, or one waits for something that never comes.
const PATIENCE: Duration = Duration::from_secs(240);
/// A file that no result holds, in which each command that runs leaves a line.
const NOTES: &str = "--mount=type=cache,id=notes,target=/notes";

fn dockerfile(variant: usize) -> String {
    format!(
        "{BASE}RUN {NOTES} echo shared | tee -a /notes/ran > /shared\n\
         RUN {NOTES} echo {variant} | tee -a /notes/ran > /variant\n\
         FROM scratch\nCOPY --from=0 /shared /variant /\n"
    )
}

/// Builds of these numbers that begin when all of them are there; answers the ids of their images. Each process waits
/// for its Dockerfile before it opens the store.
fn at_once(bed: &Bed, store: &str, numbers: Range<usize>) -> Vec<String> {
    let iid = |number: usize| format!("iid-{store}-{number}");
    let start = |number: usize| {
        let fixed = ["build", "--progress=quiet", "--build-arg=SOURCE_DATE_EPOCH=1", "-f", "-"];
        let mut command = bed.kiln(&fixed);
        let tag = format!("app{}", number % VARIANTS);
        command.args(["-t", &tag, "--iidfile", &iid(number), "ctx"]);
        command.env("KILN_ROOT", bed.path(store)).stdin(Stdio::piped()).spawn().unwrap()
    };
    let mut builds: Vec<(usize, Child)> = numbers.map(|number| (number, start(number))).collect();
    for (number, build) in &mut builds {
        let mut input = build.stdin.take().unwrap();
        input.write_all(dockerfile(*number % VARIANTS).as_bytes()).unwrap();
    }
    end(&mut builds);
    let ended = builds.into_iter().map(|(number, build)| {
        let said = Said::of(build.wait_with_output().unwrap(), bed.dir());
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "build {number}");
        fs::read_to_string(bed.path(&iid(number))).unwrap()
    });
    ended.collect()
}

/// Waits until all have ended, for a while.
fn end(builds: &mut [(usize, Child)]) {
    let begun = Instant::now();
    let mut runs = |(_, build): &mut (usize, Child)| build.try_wait().unwrap().is_none();
    while let Some(at) = builds.iter_mut().position(&mut runs) {
        if begun.elapsed() > PATIENCE {
            builds.iter_mut().for_each(|(_, build)| build.kill().unwrap());
            panic!("build {} has not ended after {PATIENCE:?}", builds[at].0);
        }
        sleep(Duration::from_millis(10));
    }
}

/// How often each command ran, by what it wrote.
fn notes(bed: &Bed) -> BTreeMap<String, usize> {
    let dockerfile =
        format!("{BASE}RUN {NOTES} cp /notes/ran /ran\nFROM scratch\nCOPY --from=0 /ran /\n");
    let said = bed.build(&dockerfile, &["-o", "type=local,dest=notes"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(bed.path("notes/ran")).unwrap().lines() {
        *counts.entry(line.to_owned()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn a_hundred_builds_at_once_in_a_new_store_end_well() {
    let Some(bed) = Bed::new() else { return };
    let alone = (0..VARIANTS).flat_map(|number| at_once(&bed, "other", number..number + 1));
    let expected: Vec<String> = alone.collect();
    let begun = Instant::now();
    let ids = at_once(&bed, "store", 0..BUILDS);
    let took = begun.elapsed();
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(*id, expected[number % VARIANTS], "build {number}");
    }
    let images = bed.kiln(&["images", "-q"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&images.stdout).lines().count(), VARIANTS, "images");
    bed.left_nothing();
    bed.is_sound();
    bed.was_never_damaged();
    let ran = notes(&bed);
    let (different, times) = (ran.len(), ran.values().sum::<usize>());
    eprintln!(
        "{BUILDS} builds at once of {VARIANTS} Dockerfiles took {took:?}; of {} commands ran {times}, {different} different",
        2 * BUILDS
    );
    let mut once: BTreeMap<String, usize> = (0..VARIANTS).map(|v| (v.to_string(), 1)).collect();
    once.insert("shared".to_owned(), 1);
    assert_eq!(ran, once, "each step runs once, whoever needs it");
    bed.is_whole();
}
