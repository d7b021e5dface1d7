//! A store whose database is damaged: a build gets on and is right, or says what to do, and that works.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::{scope, sleep};
use std::time::Instant;

use serde_json::Value;

use super::bed::{BASE, Bed, Said, wait_until_unused};

/// Commands that are killed while they make a database anew.
const KILLS: u32 = 16;
/// Builds at the same time, and how often.
const BUILDERS: usize = 5;
const ROUNDS: usize = 8;
/// Bytes that are changed in the database, and in its log.
const FLIPS: usize = 60;

/// Numbers that look like chance and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// A sound store with builds and images in it, and what its builds give.
struct Damaged {
    bed: Bed,
    expected: String,
    /// Damages of which a word was said.
    told: usize,
    rounds: usize,
}

/// Files of the store that hold the database.
const DATABASE: &str = "kiln.db";
const LOG: &str = "kiln.db-wal";

impl Damaged {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        bed.write("ctx/Base", format!("{BASE}RUN echo first > /base\n"));
        let mut damaged = Self { bed, expected: String::new(), told: 0, rounds: 0 };
        damaged.build_base();
        damaged.bed.left_nothing();
        fold(&damaged.bed.path("store"));
        // No build folds the log, however long it becomes: somebody reads what was before it.
        let reader = reader(&damaged.bed.path("store"));
        // The name moves: whoever is sent back to the first image builds something else.
        damaged.bed.write("ctx/Base", format!("{BASE}RUN echo second > /base\n"));
        damaged.build_base();
        damaged.bed.write(
            "ctx/Dockerfile",
            "FROM base AS made\nRUN for i in $(seq 40); do echo $i > /f$i; done\nRUN rm /f1\n\
             FROM scratch\nCOPY --from=made / /\n",
        );
        damaged.expected = damaged.build().unwrap();
        damaged.bed.left_nothing();
        damaged.copy("store", "sound");
        drop(reader);
        Some(damaged)
    }

    fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.bed.path(from), self.bed.path(to));
        if to.exists() {
            wait_until_unused(&to);
            fs::remove_dir_all(&to).unwrap();
        }
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }

    fn build_base(&self) {
        let fixed = "--build-arg=SOURCE_DATE_EPOCH=1";
        let said = self.bed.run(&["build", "-q", fixed, "-t", "base", "-f", "ctx/Base", "ctx"]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
    }

    /// The id of the image, or what was said instead.
    fn build(&mut self) -> Result<String, String> {
        let fixed = "--build-arg=SOURCE_DATE_EPOCH=1";
        let arguments = ["build", "--progress=quiet", fixed, "-t", "app", "--iidfile=iid", "ctx"];
        let said = self.bed.run(&arguments);
        assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
        self.told += usize::from(!said.stderr.is_empty());
        if said.code == Some(0) {
            return Ok(fs::read_to_string(self.bed.path("iid")).unwrap());
        }
        assert_eq!(said.code, Some(6), "{}", said.stderr);
        Err(said.stderr)
    }

    /// Damages the store, and builds.
    fn round(&mut self, what: &str, damage: impl FnOnce(&Path)) {
        self.copy("sound", "store");
        damage(&self.bed.path("store"));
        self.rounds += 1;
        let expected = self.expected.clone();
        match self.build() {
            Ok(id) => assert_eq!(id, expected, "{what}"),
            Err(said) => {
                assert!(said.contains("`kiln system check --repair`"), "{what}: {said}");
                let said = self.bed.run(&["system", "check", "--repair"]);
                assert_eq!(said.code, Some(0), "{what}: {}", said.stderr);
            }
        }
        let said = self.bed.run(&["system", "check", "--repair"]);
        assert_eq!(said.code, Some(0), "{what}: {}", said.stderr);
        assert_eq!(self.build(), Ok(expected), "{what}, after the repair");
        self.bed.is_sound();
        self.bed.left_nothing();
    }

    fn change(&mut self, what: &str, file: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        self.round(what, |store| {
            let mut bytes = fs::read(store.join(file)).unwrap();
            damage(&mut bytes);
            fs::write(store.join(file), bytes).unwrap();
        });
    }

    /// How many databases `kiln system df` counts as set aside, and whether they are as large as the sound one.
    fn set_aside(&self) -> (u64, bool) {
        let output = self.bed.kiln(&["system", "df", "--format=json"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut kinds = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let row = kinds.find(|kind| kind["Type"] == "Set Aside").unwrap();
        let is_as_large = row["Size"].as_u64().unwrap() >= self.length(DATABASE) as u64;
        (row["TotalCount"].as_u64().unwrap(), is_as_large)
    }

    fn length(&self, file: &str) -> usize {
        usize::try_from(fs::metadata(self.bed.path("sound").join(file)).unwrap().len()).unwrap()
    }

    fn end(self) {
        eprintln!("{} of {} damages were told, all others did no harm", self.told, self.rounds);
        assert!(self.told > self.rounds / 8, "the damages are met");
        self.bed.is_whole();
    }
}

/// Folds the log into the database, so that all is in the one file.
fn fold(store: &Path) {
    let connection = rusqlite::Connection::open(store.join(DATABASE)).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

/// In the middle of reading.
fn reader(store: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(store.join(DATABASE)).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    connection.query_row("SELECT count(*) FROM records", [], |_| Ok(())).unwrap();
    connection
}

#[test]
fn damaged_anywhere_in_the_database() {
    let Some(mut damaged) = Damaged::new() else { return };
    fold(&damaged.bed.path("sound"));
    let length = damaged.length(DATABASE);
    let page = 4096;
    for number in 0..length / page {
        let at = number * page..(number + 1) * page;
        damaged.change(&format!("page {number}"), DATABASE, |bytes| bytes[at].fill(0));
    }
    let mut dice = Dice(7);
    for round in 0..FLIPS {
        let (at, mask) =
            (dice.below(if round % 2 == 0 { 200 } else { length }), 1 << dice.below(8));
        damaged.change(&format!("byte {at} ^ {mask}"), DATABASE, |bytes| bytes[at] ^= mask);
    }
    for left in [0, 99, page / 2, length / 2 + 1, length - 1] {
        damaged.change(&format!("{left} bytes"), DATABASE, |bytes| bytes.truncate(left));
    }
    damaged.round("no database", |store| fs::remove_file(store.join(DATABASE)).unwrap());
    damaged.end();
}

#[test]
fn damaged_anywhere_in_the_log() {
    let Some(mut damaged) = Damaged::new() else { return };
    let length = damaged.length(LOG);
    assert!(length > 10 * 4096, "the log is used: {length}");
    let mut dice = Dice(11);
    for round in 0..FLIPS {
        let at = dice.below(if round % 4 == 0 { 56 } else { length });
        damaged.change(&format!("byte {at}"), LOG, |bytes| bytes[at] ^= 0x11);
    }
    for left in [0, 31, length / 2 + 1, length - 1] {
        damaged.change(&format!("{left} bytes"), LOG, |bytes| bytes.truncate(left));
    }
    damaged.round("no log", |store| fs::remove_file(store.join(LOG)).unwrap());
    damaged.end();
}

/// The file with the first page of a table's as zeros.
fn without_root(store: &Path, table: &str) {
    let file = store.join(DATABASE);
    let connection = rusqlite::Connection::open(&file).unwrap();
    let query = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let page: usize = connection
        .query_row(query, [table], |row| row.get::<_, i64>(0))
        .map(|page| usize::try_from(page).unwrap())
        .unwrap();
    drop(connection);
    let mut bytes = fs::read(&file).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0);
    fs::write(&file, bytes).unwrap();
}

#[test]
fn damage_that_a_build_meets_on_its_way_is_told() {
    let Some(mut damaged) = Damaged::new() else { return };
    fold(&damaged.bed.path("sound"));
    damaged.copy("sound", "store");
    without_root(&damaged.bed.path("store"), "records");
    let said = damaged.bed.run(&["build", "--progress=quiet", "--iidfile=iid", "ctx"]);
    said.is("damaged-store.txt", &[]);
    let kept = damaged.bed.path("store/set-aside/kiln.db");
    assert_eq!(fs::metadata(kept).unwrap().len(), damaged.length(DATABASE) as u64);
    let said = damaged.bed.run(&["build", "--progress=quiet", "ctx"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "it is told once");
    assert_eq!(damaged.set_aside(), (1, true), "it is counted");
    damaged.copy("sound", "store");
    assert_eq!(damaged.set_aside(), (0, false), "there is none");
    // Before the first step.
    damaged.copy("sound", "store");
    fs::write(damaged.bed.path("store").join(DATABASE), "").unwrap();
    damaged.bed.run(&["images", "-q"]).is("lost-store.txt", &[]);
    // A context that can be read but once.
    damaged.copy("sound", "store");
    without_root(&damaged.bed.path("store"), "records");
    let mut tar = Command::new("tar");
    tar.args(["-cf", "context.tar", "-C", "ctx", "."]).current_dir(damaged.bed.dir());
    assert!(tar.status().unwrap().success());
    let build = || {
        let mut command = damaged.bed.kiln(&["build", "--progress=quiet", "-"]);
        command.stdin(fs::File::open(damaged.bed.path("context.tar")).unwrap());
        Said::of(command.output().unwrap(), damaged.bed.dir())
    };
    build().is("damaged-store-once.txt", &[]);
    assert_eq!(build().code, Some(0));
    // Beside somebody who has the database open.
    damaged.copy("sound", "store");
    fs::write(damaged.bed.path("store").join(DATABASE), "").unwrap();
    let user = fs::File::open(damaged.bed.path("store/locks/database")).unwrap();
    user.lock_shared().unwrap();
    damaged.bed.run(&["images", "-q"]).is("damaged-store-in-use.txt", &[]);
    drop(user);
    assert_eq!(damaged.bed.run(&["images", "-q"]).code, Some(0));
    // Looked for, told, and left.
    damaged.copy("sound", "store");
    without_root(&damaged.bed.path("store"), "records");
    damaged.bed.run(&["system", "check"]).is("damaged-store-check.txt", &[]);
    damaged.bed.run(&["system", "check", "--repair"]).is("damaged-store-repair.txt", &[]);
    damaged.expected = damaged.build().unwrap();
    damaged.bed.is_whole();
}

#[test]
fn builds_that_meet_the_damage_together_all_get_on() {
    let Some(mut damaged) = Damaged::new() else { return };
    fold(&damaged.bed.path("sound"));
    let (mut told, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        damaged.copy("sound", "store");
        let table = ["records", "images", "layers", "packed"][round % 4];
        without_root(&damaged.bed.path("store"), table);
        let build = |builder: usize| {
            let (fixed, iid) = ("--build-arg=SOURCE_DATE_EPOCH=1", format!("iid{builder}"));
            let arguments =
                ["build", "--progress=quiet", fixed, "-t", "app", "--iidfile", &iid, "ctx"];
            let said = damaged.bed.run(&arguments);
            (said, fs::read_to_string(damaged.bed.path(&iid)).unwrap_or_default())
        };
        let ended: Vec<_> = scope(|scope| {
            let builders: Vec<_> =
                (0..BUILDERS).map(|builder| scope.spawn(move || build(builder))).collect();
            builders.into_iter().map(|builder| builder.join().unwrap()).collect()
        });
        for (said, id) in ended {
            told += usize::from(said.stderr.contains("was damaged and is made anew"));
            if said.code == Some(0) {
                assert_eq!(id, damaged.expected, "{table}: {}", said.stderr);
            } else {
                refused += 1;
                assert_eq!(said.code, Some(6), "{table}: {}", said.stderr);
                assert!(said.stderr.contains("kiln system check --repair"), "{}", said.stderr);
            }
        }
        let expected = damaged.expected.clone();
        assert_eq!(damaged.build(), Ok(expected), "{table}");
        // What no build met.
        let said = damaged.bed.run(&["system", "check", "--repair"]);
        assert_eq!(said.code, Some(0), "{table}: {}", said.stderr);
        damaged.bed.is_sound();
        damaged.bed.left_nothing();
    }
    eprintln!(
        "{told} of {} builds made a database anew, {refused} did not get on",
        ROUNDS * BUILDERS
    );
    assert!(told > 0 && refused < ROUNDS, "{told} {refused}");
}

#[test]
fn killed_while_the_database_is_made_anew() {
    let Some(mut damaged) = Damaged::new() else { return };
    fold(&damaged.bed.path("sound"));
    let damage = |damaged: &Damaged| {
        damaged.copy("sound", "store");
        without_root(&damaged.bed.path("store"), "images");
    };
    damage(&damaged);
    let begun = Instant::now();
    assert_eq!(damaged.bed.run(&["images"]).code, Some(6), "it is met");
    assert_eq!(damaged.bed.run(&["images"]).code, Some(0));
    let usual = begun.elapsed();
    let (mut dice, mut alive) = (Dice(5), 0);
    for round in 0..KILLS {
        damage(&damaged);
        assert_eq!(damaged.bed.run(&["images"]).code, Some(6), "it is met");
        let mut child = damaged.bed.kiln(&["images"]).spawn().unwrap();
        sleep(usual.mul_f64(dice.below(1000) as f64 / 1000.0));
        alive += u32::from(child.try_wait().unwrap().is_none());
        // SIGKILL, which nothing can prepare for.
        let _ended = child.kill();
        child.wait().unwrap();
        let expected = damaged.expected.clone();
        assert_eq!(damaged.build(), Ok(expected), "{round}");
        damaged.bed.left_nothing();
        damaged.bed.is_sound();
        assert!(!damaged.bed.path("store/rebuild").exists());
    }
    eprintln!("{alive} of {KILLS} were killed before their end");
    assert!(alive > 0, "only {alive} were killed before their end");
}
