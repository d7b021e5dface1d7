//! A database that is damaged: what is read of it is right or not there, and it is made anew.

use std::fs;

use super::*;
use crate::RecordStore;
use crate::check::{Part, Repair, check};
use crate::gc::{EntryKind, Sum};

/// Rows of each kind: enough for a tree of pages.
const ROWS: usize = 48;
/// Places at which bytes are changed.
const FLIPS: u64 = 150;

fn digest(number: usize) -> Digest {
    Digest::of(number.to_string().as_bytes())
}

fn name(number: usize) -> String {
    format!("docker.io/library/image-{number}:1")
}

/// The record of a step whose layer is there.
fn expected_record(number: usize) -> Record {
    let mut record = record(&[]);
    record.layers = vec![LayerRef { digest: digest(number), blob: Some(blob_ref("blob")) }];
    record
}

/// What every layer is packed as.
fn blob(store: &Store) -> BlobRef {
    let stored = store.put_blob(b"packed").unwrap();
    BlobRef { digest: stored.digest, ..blob_ref("packed") }
}

/// A store with many rows of each kind, all of them in the database and none in its log.
fn filled(root: &Path) {
    let store = Store::open(root).unwrap();
    for number in 0..ROWS {
        fs::create_dir(store.layers_dir().join(digest(number).to_string())).unwrap();
        let record = expected_record(number);
        store.records().put(&key(&number.to_string()), &record).unwrap();
        store.put_packed(&digest(number), "gzip", &blob(&store)).unwrap();
        store.put_unpacked(&digest(number).to_string(), &digest(number)).unwrap();
        let row = RemoteRow {
            version: Some(format!("\"{number}\"")),
            last_modified: None,
            layer: digest(number),
        };
        store.put_remote(&digest(number), &row).unwrap();
        store.put_image(&name(number), &image(&store, number)).unwrap();
    }
    store.mark_durable().unwrap();
    store.db.fold_log(0).unwrap();
    store.close().unwrap();
}

fn image(store: &Store, number: usize) -> ImageRow {
    let manifest = store.put_blob(format!("{{\"number\":{number}}}").as_bytes()).unwrap();
    ImageRow {
        size_bytes: manifest.size_bytes,
        manifest_size_bytes: manifest.size_bytes,
        manifest: manifest.digest,
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        created_ms: 1,
    }
}

/// What a look at all rows found.
#[derive(Debug, Default)]
struct Seen {
    records: usize,
    images: usize,
}

/// Asks for all that the store should hold. What it answers must be right.
fn look(store: &Store) -> Result<Seen, CacheError> {
    let mut seen = Seen::default();
    for number in 0..ROWS {
        if let Some(found) = store.records().get(&key(&number.to_string()))? {
            assert_eq!(found, expected_record(number));
            seen.records += 1;
        }
        if let Some(found) = store.packed(&digest(number), "gzip")? {
            assert_eq!(found, blob(store));
        }
        if let Some(layer) = store.unpacked(&digest(number).to_string())? {
            let right = layer == digest(number);
            assert!(right || !store.layers_dir().join(layer.to_string()).exists(), "{layer}");
        }
        if let Some(row) = store.remote(&digest(number))? {
            let right = (row.version, row.layer);
            assert_eq!(right, (Some(format!("\"{number}\"")), digest(number)));
        }
        if let Some(found) = store.image(&name(number))? {
            assert_eq!(found.manifest, image(store, number).manifest);
        }
    }
    let names: Vec<_> = (0..ROWS).map(name).collect();
    for (found, _) in store.images()? {
        assert!(names.contains(&found), "{found}");
        seen.images += 1;
    }
    store.builds()?;
    store.usage()?;
    Ok(seen)
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Changes the bytes of a database.
type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

/// A store that is damaged again and again.
struct Bench {
    dir: TempDir,
    database: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        // What is synced there takes no time, where there is such a filesystem.
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        filled(&dir.path().join("sound"));
        let database = fs::read(dir.path().join("sound/kiln.db")).unwrap();
        Self { dir, database }
    }

    fn damaged(&self, damage: Damage<'_>) -> PathBuf {
        let root = self.dir.path().join("damaged");
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        copy_tree(&self.dir.path().join("sound"), &root);
        let mut database = self.database.clone();
        damage(&mut database);
        fs::write(root.join("kiln.db"), database).unwrap();
        root
    }

    /// Damages the store, uses it, repairs it, and uses it again; answers whether the damage was met.
    fn survives(&self, what: &str, damage: Damage<'_>) -> bool {
        let root = self.damaged(damage);
        let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
        let mut met = rebuilt.is_some();
        let store = match look(&store) {
            Err(error) if error.is_damaged_store() => {
                drop(store);
                assert!(Store::open(&root).unwrap_err().is_damaged_store(), "{what}: not noted");
                let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
                let rebuilt = rebuilt.unwrap();
                met = true;
                assert!(!rebuilt.found.is_empty() && !rebuilt.lost_images, "{what}: {rebuilt:?}");
                assert!(rebuilt.set_aside.unwrap().join("kiln.db").is_file(), "{what}");
                store
            }
            looked => {
                looked.unwrap();
                store
            }
        };
        look(&store).unwrap_or_else(|error| panic!("{what}: {error}"));
        store.close().unwrap();
        let (_, repaired) = check(&root, Repair::Yes).unwrap();
        let database = |fault: &&crate::check::Fault| fault.part == Part::Database;
        met |= repaired.faults.iter().any(|fault| database(&fault));
        let left: Vec<_> = check(&root, Repair::No).unwrap().1.faults;
        assert_eq!(left.iter().find(database), None, "{what}");
        let store = Store::open(&root).unwrap();
        assert_eq!(look(&store).unwrap().images, ROWS, "{what}: names of images are lost");
        store.put_image("new", &image(&store, 1)).unwrap();
        store.close().unwrap();
        met
    }
}

fn needs(connection: &rusqlite::Connection) -> rusqlite::Result<usize> {
    let mut needs = connection.prepare("SELECT 1 FROM needs")?;
    let rows = needs.query_map([], |_| Ok(()))?;
    Ok(rows.count())
}

fn page_bytes(database: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([database[16], database[17]]))
}

#[test]
fn any_page_may_be_zeros_or_noise() {
    let bench = Bench::new();
    let page = page_bytes(&bench.database);
    let pages = bench.database.len() / page;
    let mut met = 0;
    for number in 0..pages {
        let at = number * page..(number + 1) * page;
        let zeros: Damage<'_> = &|bytes| bytes[at.clone()].fill(0);
        let noise: Damage<'_> = &|bytes| {
            for (place, byte) in bytes[at.clone()].iter_mut().enumerate() {
                *byte = (place * 31 + number * 7) as u8 ^ 0xa5;
            }
        };
        met += u32::from(bench.survives(&format!("page {number} is zeros"), zeros));
        met += u32::from(bench.survives(&format!("page {number} is noise"), noise));
    }
    eprintln!("{met} of {} damaged pages were met", 2 * pages);
    assert!(met as usize >= pages, "{met} of {}", 2 * pages);
}

#[test]
fn any_byte_may_be_another() {
    let bench = Bench::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut met = 0;
    for round in 0..FLIPS {
        // The header and the schema on every third round: they are small.
        let below = if round % 3 == 0 { 1024 } else { bench.database.len() };
        let (at, mask) = (next(below), 1 << next(8));
        let flip: Damage<'_> = &|bytes| bytes[at] ^= mask;
        met += u32::from(bench.survives(&format!("byte {at} ^ {mask}"), flip));
    }
    eprintln!("{met} of {FLIPS} changed bytes were met");
    assert!(met > 0);
}

#[test]
fn any_length_may_be_left() {
    let bench = Bench::new();
    let (page, whole) = (page_bytes(&bench.database), bench.database.len());
    for length in [0, 1, 50, 100, page - 1, page, page + 1, whole / 3, whole - page, whole - 1] {
        let cut: Damage<'_> = &|bytes| bytes.truncate(length);
        assert!(bench.survives(&format!("{length} bytes are left"), cut), "{length} of {whole}");
    }
}

#[test]
fn a_database_that_is_gone_is_made_from_the_files() {
    let bench = Bench::new();
    let root = bench.damaged(&|_| {});
    fs::remove_file(root.join("kiln.db")).unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(matches!(error, CacheError::DamagedStore { .. }), "{error}");
    let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
    let rebuilt = rebuilt.unwrap();
    assert_eq!((rebuilt.set_aside, rebuilt.images_from_index.len()), (None, ROWS));
    let (_, found) = store.images().unwrap().remove(0);
    let expected = image(&store, 0);
    // When it was made is not in the index.
    assert_eq!(ImageRow { created_ms: 1, ..found }, expected);
    assert_eq!(look(&store).unwrap().records, 0);
}

/// SQLite passes over the rest of a log from the first frame on that is not as written.
#[test]
fn a_database_that_lost_its_latest_changes_is_not_believed() {
    let bench = Bench::new();
    let root = bench.damaged(&|_| {});
    let store = Store::open(&root).unwrap();
    let (moved, gone) = (name(1), name(2));
    let new = image(&store, 7);
    store.put_image(&moved, &new).unwrap();
    assert!(store.remove_image(&gone).unwrap());
    store.put_image("new", &new).unwrap();
    store.records().put(&key("new"), &record(&[])).unwrap();
    store.close().unwrap();
    fs::remove_file(root.join("kiln.db-wal")).unwrap();
    let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
    let rebuilt = rebuilt.unwrap();
    assert!(rebuilt.found.contains("newer") && rebuilt.lost_records, "{rebuilt:?}");
    assert_eq!(rebuilt.images_from_index, [moved.clone(), "new".to_owned()]);
    let manifest = |name: &str| store.image(name).unwrap().map(|row| row.manifest);
    assert_eq!(manifest(&moved), Some(new.manifest.clone()));
    assert_eq!(manifest("new"), Some(new.manifest.clone()));
    assert_eq!(manifest(&gone), None);
    assert_eq!(store.images().unwrap().len(), ROWS);
    assert!(store.records().get(&key("3")).unwrap().is_some());
    store.close().unwrap();
    assert_eq!(
        check(&root, Repair::No).unwrap().1.faults.first().map(|fault| fault.part),
        Some(Part::Layer)
    );
}

#[test]
fn what_lies_around_a_damaged_page_is_saved() {
    let bench = Bench::new();
    let root = bench.damaged(&|bytes| {
        // A leaf of the records: pages above leaves are older, and so further to the front.
        let found = bytes.windows(11).rposition(|bytes| bytes == b"[{\"digest\":").unwrap();
        let page = page_bytes(bytes);
        bytes[found / page * page..][..8].fill(0xff);
    });
    let (store, _) = Store::open_or_rebuild(&root).unwrap();
    let error = look(&store).unwrap_err();
    assert!(error.is_damaged_store());
    drop(store);
    let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
    let rebuilt = rebuilt.unwrap();
    let seen = look(&store).unwrap();
    assert!(rebuilt.lost_records && rebuilt.images_from_index.is_empty(), "{rebuilt:?}");
    assert!(seen.records > ROWS / 2 && seen.records < ROWS, "{seen:?}");
    assert_eq!(rebuilt.records, seen.records as u64);
    // A collection knows what the saved records need.
    let usage = store.usage().unwrap();
    let count = |kind| usage.entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!(count(EntryKind::Step), seen.records);
    assert_eq!(count(EntryKind::Leftover), 0, "what was fetched needs the other layers");
    assert_eq!(store.db.read("look", needs).unwrap(), seen.records * 2);
}

/// A changed byte in front of a number may make it any other.
#[test]
fn numbers_that_cannot_be_are_not_taken_over() {
    let bench = Bench::new();
    for spoil in [
        "UPDATE state SET epoch = 9223372036854775807",
        "UPDATE state SET durable_epoch = 9223372036854775807",
        "UPDATE state SET durable_epoch = -1",
        "UPDATE state SET generation = 9223372036854775807",
        "UPDATE layers SET epoch = 9223372036854775807
            WHERE digest = (SELECT min(digest) FROM layers)",
        "UPDATE blobs SET epoch = 9223372036854775807, size_bytes = -1
            WHERE digest = (SELECT min(digest) FROM blobs)",
        "UPDATE records SET epoch = 9223372036854775807
            WHERE key = (SELECT min(key) FROM records)",
        "INSERT INTO builds VALUES ('0000000000000', '', 'error', 1, 1, -1, 1, NULL, 1)",
        "INSERT INTO builds VALUES ('0000000000000', '', 'error', 1, 1, 1, 1, NULL, 9223372036854775807),
            ('0000000000001', '', 'error', 1, 1, 1, 1, NULL, 9223372036854775807)",
    ] {
        let root = bench.damaged(&|_| {});
        let store = Store::open(&root).unwrap();
        store.db.write("spoil", |transaction| transaction.execute(spoil, [])).unwrap();
        store.close().unwrap();
        super::super::damage::note(&root, "played");
        let (store, _) = Store::open_or_rebuild(&root).unwrap();
        assert_eq!(look(&store).unwrap().images, ROWS, "{spoil}");
        store.records().put(&key("new"), &record(&[])).unwrap();
        store.put_image("new", &image(&store, 1)).unwrap();
        store.mark_durable().unwrap();
        let limits = BuildLimits {
            count: 1,
            age: std::time::Duration::from_secs(1),
            size_bytes: 1,
        };
        store.trim_builds(&limits).unwrap();
        store.close().unwrap();
        let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
        assert_eq!(rebuilt, None, "{spoil}");
        assert!(store.records().get(&key("new")).unwrap().is_some(), "{spoil}");
    }
}

#[test]
fn nobody_makes_it_anew_beside_others() {
    let bench = Bench::new();
    let root = bench.damaged(&|_| {});
    let user = Store::open(&root).unwrap();
    super::super::damage::note(&root, "played");
    let error = Store::open_or_rebuild(&root).unwrap_err();
    assert!(matches!(error, CacheError::DamagedStoreInUse { .. }), "{error}");
    assert_eq!(look(&user).unwrap().records, ROWS, "who has it open goes on");
    user.close().unwrap();
    let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
    assert_eq!(rebuilt.unwrap().found, "played");
    let seen = look(&store).unwrap();
    assert_eq!((seen.records, seen.images), (ROWS, ROWS), "nothing was damaged, nothing is lost");
}

#[test]
fn of_many_who_meet_the_damage_one_repairs_it() {
    let bench = Bench::new();
    let root = bench.damaged(&|bytes| bytes[..100].fill(0));
    let rebuilt = std::thread::scope(|scope| {
        let open = || {
            let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
            assert_eq!(look(&store).unwrap().images, ROWS);
            store.close().unwrap();
            rebuilt.is_some()
        };
        let openers: Vec<_> = (0..6).map(|_| scope.spawn(open)).collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(rebuilt.iter().filter(|rebuilt| **rebuilt).count(), 1, "{rebuilt:?}");
}

/// An attempt that was killed leaves what the next one needs.
#[test]
fn an_attempt_that_was_cut_short_is_made_again() {
    let bench = Bench::new();
    let page = page_bytes(&bench.database);
    let damage: Damage<'_> = &|bytes| bytes[page * 3..page * 4].fill(0);
    let link = |root: &Path, part: &str| {
        fs::hard_link(root.join(part), root.join("rebuild").join(part)).unwrap();
    };
    let noted: &dyn Fn(&Path) = &|root| super::super::damage::note(root, "played");
    let aside = |root: &Path| {
        noted(root);
        link(root, "kiln.db");
    };
    let replaced = |root: &Path| {
        aside(root);
        fs::remove_file(root.join("kiln.db")).unwrap();
        // As if it were the new one: it is not looked at.
        fs::write(root.join("kiln.db"), "").unwrap();
    };
    for (step, cut) in [noted, &aside, &replaced].into_iter().enumerate() {
        let root = bench.damaged(damage);
        cut(&root);
        let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
        let rebuilt = rebuilt.unwrap();
        assert_eq!(rebuilt.found, "played", "{step}");
        assert_eq!(look(&store).unwrap().images, ROWS, "{step}");
        let kept = fs::read(rebuilt.set_aside.unwrap().join("kiln.db")).unwrap();
        assert_eq!(kept.len(), bench.database.len(), "{step}");
        let Sum { count, active, size_bytes, reclaimable_bytes } = store.usage().unwrap().set_aside;
        assert_eq!((count, active, reclaimable_bytes), (1, 0, 0), "{step}");
        assert!(size_bytes >= kept.len() as u64, "{step}: {size_bytes}");
        assert!(!root.join("rebuild").exists(), "{step}");
        store.close().unwrap();
    }
}
