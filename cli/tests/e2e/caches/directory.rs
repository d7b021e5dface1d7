//! A directory as the way between two machines.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::support::image::Image;
use super::{Bed, names, sent};

#[test]
fn nothing_runs_that_another_machine_ran_and_the_image_is_the_same() {
    let Some(bed) = Bed::new() else { return };
    let (steps, made) = bed.run("a", &[&bed.at("--cache-to=type=local,mode=max,dest", "cache")]);
    assert_eq!(steps.ran().len(), steps.count());
    // With the times of the first machine, to the bit.
    let result = bed.work.path("layout");
    let build = bed.build("b").arg(bed.at("--cache-from=type=local,src", "cache"));
    assert_eq!(build.into_layout(&result).run().ran(), Vec::<&str>::new());
    assert_eq!(bed.machine("b").digest("app"), made);
    // What nothing reads is not fetched: of the other stage no layer is here.
    assert_eq!(bed.layers("b").len(), Image::of(&result).layers().len());
    assert!(bed.layers("a").len() > bed.layers("b").len());
    // Times of files are whole, and not those of an archive.
    let times = |machine: &str| {
        let layers = bed.layers("b").into_iter();
        let time = |layer: String| {
            let made = bed.work.path(machine).join("layers").join(layer).join("fs/opt/made");
            made.metadata().ok().map(|meta| meta.modified().unwrap())
        };
        layers.filter_map(time).next().unwrap()
    };
    assert_eq!(times("b"), times("a"));
    bed.work.assert_no_mounts();
}

#[test]
fn what_changed_runs_on_what_is_fetched() {
    let Some(bed) = Bed::new() else { return };
    let to = bed.at("--cache-to=type=local,mode=max,dest", "cache");
    bed.run_at_epoch("a", &[&to]);
    bed.work.write("context/main.txt", "other\n");
    let from = bed.at("--cache-from=type=local,src", "cache");
    let (steps, with_cache) = bed.run_at_epoch("b", &[&from]);
    let ran = steps.ran();
    assert_eq!(ran.len(), 4, "{ran:?}");
    assert!(!ran.iter().any(|name| name.contains("WORKDIR") || name.contains("FROM")), "{ran:?}");
    let (_, without) = bed.run_at_epoch("c", &[]);
    assert_eq!(with_cache, without);
    // What was fetched whole is the machine's own from then on.
    let (steps, _) = bed.run_at_epoch("b", &[]);
    assert_eq!(steps.ran(), Vec::<&str>::new());
    bed.work.assert_no_mounts();
}

#[test]
fn only_what_lacks_is_sent() {
    let Some(bed) = Bed::new() else { return };
    let to = bed.at("--cache-to=type=local,mode=max,dest", "cache");
    let (steps, _) = bed.run("a", &[&to]);
    let (blobs, bytes) = sent(&steps);
    assert!(blobs > 8 && bytes > 1000, "{blobs} {bytes}");
    let before = names(&bed.work.path("cache/blobs/sha256"));
    let (steps, _) = bed.run("a", &[&to]);
    assert_eq!(sent(&steps), (0, 0));
    assert_eq!(names(&bed.work.path("cache/blobs/sha256")), before);
    // Another time for all files is no reason to send what is there, nor is another machine.
    let (steps, _) = bed.run_at_epoch("a", &[&to]);
    assert!(sent(&steps).0 <= 1, "{:?}", sent(&steps));
    let from = bed.at("--cache-from=type=local,src", "cache");
    let (steps, _) = bed.run("b", &[&from, &to]);
    assert!(sent(&steps).0 <= 1, "{:?}", sent(&steps));
    assert!(bed.layers("a").len() > bed.layers("b").len(), "nothing is fetched to be sent");
    // To a new place it goes without being unpacked here.
    let (steps, _) = bed.run("b", &[&from, &bed.at("--cache-to=type=local,mode=max,dest", "copy")]);
    assert_eq!(sent(&steps).0, blobs);
    let (steps, _) = bed.run("c", &[&bed.at("--cache-from=type=local,src", "copy")]);
    assert_eq!(steps.ran(), Vec::<&str>::new());
}

#[test]
fn every_compression_serves() {
    let Some(bed) = Bed::new() else { return };
    let (_, made) = bed.run("a", &[]);
    for compression in
        ["zstd", "zstd,compression-level=19", "uncompressed", "gzip,compression-level=1"]
    {
        let to = format!("--cache-to=type=local,mode=max,compression={compression},dest");
        bed.run("a", &[&bed.at(&to, "cache")]);
        let (steps, used) = bed.run("b", &[&bed.at("--cache-from=type=local,src", "cache")]);
        assert_eq!(steps.ran(), Vec::<&str>::new(), "{compression}");
        assert_eq!(used, made, "{compression}");
        bed.forget("b");
    }
}

#[test]
fn a_small_cache_has_the_result_alone() {
    let Some(bed) = Bed::new() else { return };
    let (steps, made) = bed.run_at_epoch("a", &[&bed.at("--cache-to=type=local,dest", "min")]);
    let small = sent(&steps);
    let (steps, _) =
        bed.run_at_epoch("a", &[&bed.at("--cache-to=type=local,mode=max,dest", "max")]);
    assert!(small.0 < sent(&steps).0);
    // The stage that is copied from runs, and gives what the result was made from.
    let (steps, used) = bed.run_at_epoch("b", &[&bed.at("--cache-from=type=local,src", "min")]);
    let ran = steps.ran();
    assert!(ran.iter().all(|name| name.starts_with("[build ")), "{ran:?}");
    assert_eq!((ran.len(), used), (3, made));
}

#[test]
fn several_caches_and_tags_are_used_together() {
    let Some(bed) = Bed::new() else { return };
    let tagged = |name: &str, tag: &str| format!("{},tag={tag}", bed.at(name, "cache"));
    bed.run_at_epoch("a", &[&tagged("--cache-to=type=local,mode=max,dest", "one")]);
    bed.work.write("context/main.txt", "other\n");
    bed.run_at_epoch("b", &[&tagged("--cache-to=type=local,mode=max,dest", "two")]);
    let from = ["one", "two", "none"].map(|tag| tagged("--cache-from=type=local,src", tag));
    let from: Vec<&str> = from.iter().map(String::as_str).collect();
    let (steps, _) = bed.run_at_epoch("c", &from);
    assert_eq!(steps.ran(), Vec::<&str>::new());
    assert!(steps.warnings()[0].contains("there is none"), "{:?}", steps.warnings());
    bed.work.write("context/main.txt", "hello\n");
    let (steps, _) = bed.run_at_epoch("d", &from);
    assert_eq!(steps.ran(), Vec::<&str>::new());
}

#[test]
fn a_directory_that_cannot_be_written_fails_the_build_only_where_that_is_asked_for() {
    let Some(bed) = Bed::new() else { return };
    bed.work.write("file", "");
    let to = bed.at("--cache-to=type=local,dest", "file/cache");
    let (steps, _) = bed.run("a", &[&to]);
    let warnings = steps.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("the cache is not exported to"), "{warnings:?}");
    let said = bed.build("a").arg(format!("{to},ignore-error=false")).fails(6);
    assert!(said.contains("the cache cannot be exported to"), "{said}");
}

/// Makes all blobs of a directory older than what another program may be about to list.
fn age(blobs: &Path) {
    let old = SystemTime::now() - Duration::from_secs(7200);
    for name in names(blobs) {
        fs::File::open(blobs.join(name)).unwrap().set_modified(old).unwrap();
    }
}

#[test]
fn what_no_cache_of_the_directory_needs_any_more_goes() {
    let Some(bed) = Bed::new() else { return };
    let to = |tag: &str| bed.at(&format!("--cache-to=type=local,mode=max,tag={tag},dest"), "cache");
    let blobs = bed.work.path("cache/blobs/sha256");
    bed.run("a", &[&to("kept")]);
    let first = names(&blobs);
    bed.work.write("context/main.txt", "second\n");
    bed.run("a", &[&to("moved")]);
    let second = names(&blobs);
    bed.work.write("context/main.txt", "third\n");
    // Young blobs stay, and so do all beside somebody who uses the directory.
    bed.run("a", &[&to("moved")]);
    let third = names(&blobs);
    assert!(second.iter().all(|blob| third.contains(blob)) && third.len() > second.len());
    age(&blobs);
    fs::write(blobs.join(".tmpKilled"), "").unwrap();
    fs::write(blobs.join("notes"), "somebody's").unwrap();
    age(&blobs);
    let user = fs::File::open(bed.work.path("cache/blobs")).unwrap();
    user.lock_shared().unwrap();
    bed.run("a", &[&to("moved")]);
    assert!(third.iter().all(|blob| names(&blobs).contains(blob)), "taken away beside a user");
    drop(user);
    bed.run("a", &[&bed.at("--cache-from=type=local,tag=moved,src", "cache"), &to("moved")]);
    let left = names(&blobs);
    assert!(first.iter().all(|blob| left.contains(blob)), "the other tag's are needed");
    let gone: Vec<_> = third.iter().filter(|blob| !left.contains(*blob)).collect();
    assert!(!gone.is_empty() && gone.iter().all(|blob| second.contains(blob)), "{gone:?}");
    assert!(left.contains(&"notes".to_owned()) && !left.contains(&".tmpKilled".to_owned()));
    for (machine, tag, text) in [("b", "moved", "third\n"), ("c", "kept", "hello\n")] {
        bed.work.write("context/main.txt", text);
        let from = bed.at(&format!("--cache-from=type=local,tag={tag},src"), "cache");
        assert_eq!(bed.run(machine, &[&from]).0.ran(), Vec::<&str>::new(), "{tag}");
    }
}

#[test]
fn where_a_document_of_the_directory_cannot_be_read_all_stays() {
    let Some(bed) = Bed::new() else { return };
    let to = |tag: &str| bed.at(&format!("--cache-to=type=local,mode=max,tag={tag},dest"), "cache");
    let blobs = bed.work.path("cache/blobs/sha256");
    bed.run("a", &[&to("damaged")]);
    let index = fs::read(bed.work.path("cache/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    fs::write(blobs.join(&digest["sha256:".len()..]), "{}").unwrap();
    age(&blobs);
    let before = names(&blobs);
    bed.run("a", &[&to("other")]);
    assert!(before.iter().all(|blob| names(&blobs).contains(blob)));
}
