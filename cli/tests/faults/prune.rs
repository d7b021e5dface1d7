//! `kiln builder prune` beside builds, and killed in the middle.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Instant;

use super::bed::{BASE, Bed};

/// Processes that build at the same time, and builds of each.
const BUILDERS: usize = 20;
const BUILDS: usize = 10;
/// Different Dockerfiles, with some steps in common.
const VARIANTS: usize = 3;
/// Prunes that are killed.
const KILLS: u32 = 12;

fn dockerfile(variant: usize) -> String {
    format!(
        "{BASE}RUN echo shared > /shared\n\
         RUN --mount=type=cache,target=/cache echo {variant} >> /cache/{variant}; mkdir /d; \
         for i in $(seq 40); do echo $i > /d/$i; done\n\
         RUN echo {variant} > /variant\n\
         FROM scratch\nCOPY --from=0 /d /d\nCOPY --from=0 /variant /shared /\n"
    )
}

/// Builds a variant; answers the image's id, or what was said instead.
fn build(bed: &Bed, variant: usize, who: &str, store: &str) -> Result<String, String> {
    let (file, iid) = (format!("Dockerfile{variant}"), format!("iid-{who}"));
    let arguments = [
        "build",
        "--progress=plain",
        "--build-arg=SOURCE_DATE_EPOCH=1",
        "-t",
        &format!("app{variant}"),
        "-f",
        &file,
        "--iidfile",
        &iid,
        "ctx",
    ];
    let output = bed.kiln(&arguments).env("KILN_ROOT", bed.path(store)).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(fs::read_to_string(bed.path(&iid)).unwrap())
}

fn prune(bed: &Bed) -> bool {
    let output = bed.kiln(&["builder", "prune", "--all", "--force"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("Total reclaimed:"), "{said}");
    !said.contains("Total reclaimed:  0B")
}

fn bed() -> Option<Bed> {
    let bed = Bed::new()?;
    (0..VARIANTS).for_each(|v| bed.write(&format!("Dockerfile{v}"), dockerfile(v)));
    Some(bed)
}

#[test]
fn builds_beside_prunes_give_what_they_give_alone() {
    let Some(bed) = bed() else { return };
    let expected: Vec<_> =
        (0..VARIANTS).map(|v| build(&bed, v, "alone", "other").unwrap()).collect();
    let done = AtomicBool::new(false);
    let (mut prunes, mut useful) = (0, 0);
    scope(|scope| {
        let builders: Vec<_> = (0..BUILDERS)
            .map(|builder| {
                let (bed, expected) = (&bed, &expected);
                scope.spawn(move || {
                    for round in 0..BUILDS {
                        let variant = (builder + round) % VARIANTS;
                        let id = build(bed, variant, &builder.to_string(), "store");
                        assert_eq!(id.as_ref(), Ok(&expected[variant]), "variant {variant}");
                    }
                })
            })
            .collect();
        let pruner = scope.spawn(|| {
            let mut counts = (0, 0);
            while !done.load(Ordering::SeqCst) {
                counts = (counts.0 + 1, counts.1 + u32::from(prune(&bed)));
            }
            counts
        });
        let ended: Vec<_> = builders.into_iter().map(|builder| builder.join()).collect();
        done.store(true, Ordering::SeqCst);
        (prunes, useful) = pruner.join().unwrap();
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    eprintln!("{} builds beside {prunes} prunes, {useful} took something", BUILDERS * BUILDS);
    assert!(useful > 1, "the prunes took nothing");
    bed.left_nothing();
    bed.is_sound();
    prune(&bed);
    assert_eq!(super::bed::names(&bed.path("store/layers")), Vec::<String>::new(), "layers stay");
    assert_eq!(build(&bed, 0, "after", "store"), Ok(expected[0].clone()));
    bed.was_never_damaged();
    bed.is_whole();
}

#[test]
fn killed_in_the_middle_of_a_prune() {
    let Some(bed) = bed() else { return };
    let expected = build(&bed, 0, "alone", "other").unwrap();
    let fill = || assert_eq!(build(&bed, 0, "fill", "store").as_ref(), Ok(&expected));
    // The shortest of some: the machine does other things too.
    let measured = (0..4).map(|_| {
        fill();
        bed.left_nothing();
        let begun = Instant::now();
        prune(&bed);
        begun.elapsed()
    });
    let usual = measured.min().unwrap_or_default();
    let mut alive = 0;
    for round in 0..KILLS {
        fill();
        let mut child = bed.kiln(&["builder", "prune", "--all", "--force"]).spawn().unwrap();
        sleep(usual * round / KILLS);
        alive += u32::from(child.try_wait().unwrap().is_none());
        // SIGKILL, which nothing can prepare for.
        let _ended = child.kill();
        child.wait().unwrap();
        bed.left_nothing();
        bed.is_sound();
    }
    eprintln!("{alive} of {KILLS} prunes were killed in the {usual:?} that they take");
    assert!(alive >= KILLS / 3, "only {alive} prunes were killed before their end");
    fill();
    bed.was_never_damaged();
    bed.is_whole();
}

#[test]
fn the_cache_is_listed_summed_and_pruned_by_filters() {
    let Some(bed) = bed() else { return };
    build(&bed, 1, "one", "store").unwrap();
    let said = |arguments: &[&str]| {
        let output = bed.kiln(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let du = said(&["builder", "du"]);
    assert!(
        du.starts_with("ID ") && du.contains("RUN echo shared") && du.contains("Total:"),
        "{du}"
    );
    let mounts = said(&["builder", "du", "--filter", "type=exec.cachemount", "--format", "json"]);
    assert!(mounts.lines().count() == 1 && mounts.contains("cache mount"), "{mounts}");
    let df = said(&["system", "df"]);
    for line in ["Images        1      1", "Cache Mounts  1      0", "Contexts"] {
        assert!(df.contains(line), "{df}");
    }
    let young = said(&["builder", "prune", "--all", "--force", "--filter", "until=1h"]);
    assert_eq!(young, "Total reclaimed:  0B\n");
    let dry = said(&["builder", "prune", "--dry-run", "--filter", "type=exec.cachemount"]);
    assert!(dry.contains("cache mount") && !dry.contains("RUN echo"), "{dry}");
    let some = said(&["builder", "prune"]);
    assert!(some.contains("RUN echo shared") && !some.contains("COPY --from=0 /d"), "{some}");
    let again = said(&["builder", "du"]);
    assert!(again.contains("COPY --from=0 /d") && !again.contains("RUN echo shared"), "{again}");
    assert_eq!(said(&["rmi", "app1"]), "Untagged: app1:latest\n");
    assert_eq!(bed.run(&["rmi", "app1"]).code, Some(4));
    said(&["builder", "prune", "-af"]);
    assert_eq!(super::bed::names(&bed.path("store/oci/blobs/sha256")), Vec::<String>::new());
    bed.write("kiln.toml", "[gc]\nmax = 0\nreserved = 0\n");
    let configured = ["--config", "kiln.toml", "build", "-q", "-f", "Dockerfile0", "ctx"];
    assert_eq!(bed.run(&configured).code, Some(0));
    bed.left_nothing();
    let left = super::bed::names(&bed.path("store/layers"));
    assert_eq!(left, Vec::<String>::new(), "over the cap after a build");
}
