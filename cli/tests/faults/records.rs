//! What is kept of builds, damaged: it is told, set right, and stands in nobody's way.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::bed::{BASE, Bed, Said, names};

/// Bytes that are changed, and lengths that are left.
const DAMAGES: usize = 40;

/// A store with four builds; the files of what is kept of them, the first build's first.
fn built() -> Option<(Bed, Vec<PathBuf>)> {
    let bed = Bed::new()?;
    for text in ["one", "two", "three", "four"] {
        let said = bed.build(&format!("{BASE}RUN echo {text} | tee /file\n"), &["-t", text]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
    }
    bed.left_nothing();
    let builds = bed.path("store/builds");
    let files: Vec<_> = names(&builds).iter().map(|id| builds.join(id).join("events")).collect();
    assert_eq!(files.len(), 4);
    Some((bed, files))
}

fn check(bed: &Bed, more: &[&str]) -> Said {
    bed.run(&[&["system", "check"], more].concat())
}

/// The lines of `kiln history ls` and `kiln system df`, which are of JSON.
fn lines(bed: &Bed, arguments: &[&str]) -> Vec<Value> {
    let output = bed.kiln(&[arguments, &["--format", "json"]].concat()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each build's status, the latest build first.
fn statuses(bed: &Bed) -> Vec<String> {
    let builds = lines(bed, &["history", "ls"]);
    builds.iter().map(|build| build["status"].as_str().unwrap().to_owned()).collect()
}

/// That a check tells of one build, that the repair sets it right, and that nothing is wrong afterwards.
fn is_set_right(bed: &Bed, what: &str) {
    let told = check(bed, &[]);
    assert_eq!(told.code, Some(6), "{what}: {}", told.stderr);
    assert!(told.stderr.contains(what) && told.stderr.contains("--repair"), "{}", told.stderr);
    let repaired = check(bed, &["--repair"]);
    assert_eq!(repaired.code, Some(0), "{what}: {}", repaired.stderr);
    assert!(repaired.stderr.contains("; set right"), "{}", repaired.stderr);
    assert_eq!(check(bed, &[]).stderr, "", "{what}, after the repair");
}

#[test]
fn each_kind_of_damage_is_told_and_set_right() {
    let Some((bed, files)) = built() else { return };
    assert_eq!(check(&bed, &[]).stderr, "");
    assert_eq!(statuses(&bed), ["Completed"; 4]);
    // A line in the middle is none: what comes before it stays.
    let text = fs::read_to_string(&files[0]).unwrap();
    let count = text.lines().count();
    fs::write(&files[0], text.replacen("{\"line\":\"event\"", "{\"lime\":\"event\"", 1)).unwrap();
    is_set_right(&bed, "nothing can be read from its line");
    let left = fs::read_to_string(&files[0]).unwrap();
    assert!(text.starts_with(&left) && left.lines().count() < count && !left.is_empty());
    assert_eq!(statuses(&bed)[3], "Killed");
    // The end is lost, as with the power.
    let text = fs::read(&files[1]).unwrap();
    fs::write(&files[1], &text[..text.len() - 10]).unwrap();
    is_set_right(&bed, "the end of its record is missing");
    assert_eq!(statuses(&bed)[2], "Killed");
    // Zeros, as a loss of power may leave them.
    fs::write(&files[2], vec![0; 1000]).unwrap();
    is_set_right(&bed, "it cannot be read");
    assert_eq!(statuses(&bed).len(), 3);
    fs::remove_file(&files[3]).unwrap();
    is_set_right(&bed, "there is nothing of it");
    assert_eq!(statuses(&bed), ["Killed", "Killed"]);
    // A later Kiln's is nobody's damage.
    let text = fs::read_to_string(&files[0]).unwrap();
    fs::write(&files[0], text.replacen("\"v\":1", "\"v\":2", 1)).unwrap();
    assert_eq!(check(&bed, &["--repair"]).stderr, "");
    assert!(files[0].exists());
    bed.is_whole();
}

#[test]
fn a_list_that_is_lost_is_made_from_the_files() {
    let Some((bed, _)) = built() else { return };
    fs::remove_file(bed.path("store/kiln.db")).unwrap();
    fs::remove_file(bed.path("store/kiln.db-wal")).unwrap();
    let repaired = check(&bed, &["--repair"]);
    assert_eq!(repaired.code, Some(0), "{}", repaired.stderr);
    assert_eq!(repaired.stderr.matches("it ended, and is not listed; set right").count(), 4);
    assert_eq!(statuses(&bed), ["Completed"; 4]);
    // So does whoever asks for the list.
    fs::remove_file(bed.path("store/kiln.db")).unwrap();
    fs::remove_file(bed.path("store/kiln.db-wal")).unwrap();
    assert_eq!(statuses(&bed), ["Completed"; 4]);
    assert_eq!(check(&bed, &[]).stderr, "");
    bed.is_whole();
}

/// As after a kill between the last line of a build's file and its row.
#[test]
fn a_build_that_is_not_listed_yet_is_nothing_wrong() {
    let Some((bed, _)) = built() else { return };
    let database = rusqlite::Connection::open(bed.path("store/kiln.db")).unwrap();
    assert_eq!(database.execute("DELETE FROM builds", []).unwrap(), 4);
    drop(database);
    let checked = check(&bed, &[]);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    assert_eq!(statuses(&bed), ["Completed"; 4]);
}

/// As after a kill in a build's first second, long ago.
#[test]
fn a_build_that_was_killed_before_its_first_line_is_nothing_wrong() {
    let Some((bed, files)) = built() else { return };
    let database = rusqlite::Connection::open(bed.path("store/kiln.db")).unwrap();
    assert_eq!(database.execute("DELETE FROM builds", []).unwrap(), 4);
    drop(database);
    fs::remove_file(&files[0]).unwrap();
    fs::write(&files[1], "").unwrap();
    let text = fs::read(&files[2]).unwrap();
    fs::write(&files[2], &text[..20]).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(86_400);
    for file in &files[..3] {
        let dir = fs::File::open(file.parent().unwrap()).unwrap();
        dir.set_modified(long_ago).unwrap();
    }
    for more in [&[][..], &["--repair"]] {
        let checked = check(&bed, more);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        // That of the fourth is no damage either, but the row is written again.
        let told = checked.stderr.lines().filter(|line| !line.contains("is not listed; set right"));
        assert_eq!(told.count(), 0, "{}", checked.stderr);
    }
    assert_eq!(statuses(&bed), ["Completed", "Killed", "Killed", "Killed"]);
    bed.write("kiln.toml", "[history]\nmax-entries = 1\n");
    let prune = ["--config", "kiln.toml", "builder", "prune", "--all", "--force"];
    let said = bed.run(&prune);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(names(&bed.path("store/builds")).len() < 4, "they go with the others");
}

#[test]
fn any_byte_may_be_another_and_any_length_be_left() {
    let Some((bed, files)) = built() else { return };
    let sound = fs::read(&files[0]).unwrap();
    let mut state = 0x9e37_79b9_u32;
    let mut told = 0;
    for round in 0..DAMAGES {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (at, mut bytes) = (state as usize % sound.len(), sound.clone());
        if round % 4 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << (state >> 29);
        }
        fs::create_dir_all(files[0].parent().unwrap()).unwrap();
        fs::write(&files[0], bytes).unwrap();
        for arguments in [&["history", "ls"][..], &["history", "logs", "^3"], &["graph", "^3"]] {
            let said = bed.run(arguments);
            assert!(said.code.is_some_and(|code| code < 100), "{round}: {said:?}");
        }
        let repaired = check(&bed, &["--repair"]);
        assert_eq!(repaired.code, Some(0), "{round}: {}", repaired.stderr);
        told += usize::from(!repaired.stderr.is_empty());
        assert_eq!(check(&bed, &[]).stderr, "", "{round}");
    }
    eprintln!("{told} of {DAMAGES} damages were told, all others are in texts for people");
    assert!(told > DAMAGES / 4, "{told} of {DAMAGES}");
    bed.is_whole();
}

#[test]
fn what_the_history_takes_is_shown_and_goes_over_its_limits_alone() {
    let Some((bed, files)) = built() else { return };
    let is_history = |kind: &Value| kind["Type"] == "History";
    let history = |bed: &Bed| lines(bed, &["system", "df"]).into_iter().find(is_history).unwrap();
    let shown = history(&bed);
    let size = shown["Size"].as_u64().unwrap();
    let written: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(size >= written && size < written + (1 << 20), "{shown}");
    assert_eq!((&shown["TotalCount"], &shown["Reclaimable"]), (&4.into(), &0.into()));
    let prune = |more: &[&str]| {
        let said = bed.run(&[more, &["builder", "prune", "--all", "--force"]].concat());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
    };
    prune(&[]);
    assert_eq!(history(&bed)["TotalCount"], 4, "within its limits it stays");
    bed.write("kiln.toml", "[history]\nmax-entries = 1\n");
    let output = bed.kiln(&["--config", "kiln.toml", "system", "df", "--format", "json"]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let mut kinds = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let shown = kinds.find(is_history).unwrap();
    let (all, over) = (shown["Size"].as_u64().unwrap(), shown["Reclaimable"].as_u64().unwrap());
    assert!(over > 0 && over < all, "{shown}");
    prune(&["--config", "kiln.toml"]);
    assert_eq!(history(&bed)["TotalCount"], 1);
    bed.is_whole();
}
