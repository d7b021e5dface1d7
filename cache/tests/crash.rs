//! Processes that are killed in the middle of whatever they do to a store, and processes that want the
//! same at once. The children are this test binary again, told by their environment what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_cache::{CacheKey, CacheMountSpec, ImageRow, LayerRef, Record, RecordStore, Store};
use kiln_ir::{CacheSharing, Digest};

const ROLE: &str = "KILN_TEST_ROLE";
const ROOT: &str = "KILN_TEST_ROOT";

fn key(text: &str) -> CacheKey {
    CacheKey::from_digest(Digest::of(text.as_bytes()))
}

fn record(name: &str) -> Record {
    Record {
        layers: vec![LayerRef::new(Digest::of(name.as_bytes()))],
        created_ms: 1,
        duration_ms: 2,
        size_bytes: 3,
        name: name.to_owned(),
    }
}

fn spec(sharing: CacheSharing) -> CacheMountSpec {
    CacheMountSpec { id: "c".to_owned(), sharing, uid: 0, gid: 0, mode: 0o755 }
}

/// Starts this binary in a role. Every line it says comes through the reader.
fn start(role: &str, root: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(ROLE, role)
        .env(ROOT, root)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// What children do; nothing when nobody told it to.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let store = Store::open(Path::new(&std::env::var_os(ROOT).unwrap())).unwrap();
    match role.as_str() {
        "write" => write_for_ever(&store),
        "hold" => hold_for_ever(&store),
        "run" => run_each_once(&store),
        role => panic!("no role `{role}`"),
    }
}

/// Gives a wait up after a while: what is never let go fails a test, and does not hold it up for ever.
fn patience() -> impl Fn() -> bool {
    let begun = Instant::now();
    move || begun.elapsed() > Duration::from_secs(60)
}

fn say(line: &str) {
    // With a line's end before it: the harness leaves its own line open.
    let mut out = std::io::stdout().lock();
    write!(out, "\nsaid {line}\n").unwrap();
    out.flush().unwrap();
}

/// Reads what the child says next.
fn hear(output: &mut BufReader<ChildStdout>) -> Option<String> {
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        if let Some(text) = line.strip_prefix("said ").and_then(|text| text.strip_suffix('\n')) {
            return Some(text.to_owned());
        }
    }
}

fn write_for_ever(store: &Store) -> ! {
    let records = store.records();
    for number in 0.. {
        let name = format!("{}-{number}", std::process::id());
        let lock = records.lock(&key(&name), &patience()).unwrap();
        std::fs::create_dir_all(store.staging_dir().join(&name).join("upper")).unwrap();
        records.put(&key(&name), &record(&name)).unwrap();
        drop(lock);
        let blob = store.put_blob(format!(r#"{{"name":"{name}"}}"#).as_bytes()).unwrap();
        let image = ImageRow {
            manifest: blob.digest,
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            manifest_size_bytes: blob.size_bytes,
            size_bytes: 1,
            created_ms: 0,
        };
        store.put_image(&format!("image{}", number % 10), &image).unwrap();
        drop(
            store
                .acquire_cache_mount(&spec(CacheSharing::Locked), &mut |_| Ok(()), &patience())
                .unwrap(),
        );
        if number % 5 == 0 {
            store.mark_durable().unwrap();
        }
        say(&format!("{name} {}", image.manifest));
    }
    unreachable!("the numbers ended");
}

fn hold_for_ever(store: &Store) -> ! {
    let _action = store.records().lock(&key("held"), &patience()).unwrap();
    let _mount = store
        .acquire_cache_mount(&spec(CacheSharing::Locked), &mut |_| Ok(()), &patience())
        .unwrap();
    say("held");
    loop {
        std::thread::park();
    }
}

fn run_each_once(store: &Store) {
    let records = store.records();
    for number in 0..50 {
        let key = key(&format!("once {number}"));
        let _lock = records.lock(&key, &patience()).unwrap();
        if records.get(&key).unwrap().is_none() {
            records.put(&key, &record("once")).unwrap();
            say(&number.to_string());
        }
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_was_told_is_stored() {
    let dir = tempfile::TempDir::new().unwrap();
    let root = dir.path().join("root");
    let mut stored: Vec<(String, String)> = Vec::new();
    for round in 0..15_u64 {
        let mut children: Vec<_> = (0..2).map(|_| start("write", &root)).collect();
        for (_, output) in &mut children {
            // The first rounds kill as early as the making of the store itself.
            for _ in 0..round {
                hear(output).expect("the writer failed");
            }
        }
        for (child, output) in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
            while let Some(line) = hear(output) {
                let (name, manifest) = line.split_once(' ').unwrap();
                stored.push((name.to_owned(), manifest.to_owned()));
            }
        }
        check_whole(&root, &stored);
    }
    assert!(!stored.is_empty());
}

/// Opens the store and looks at everything in it.
fn check_whole(root: &Path, stored: &[(String, String)]) {
    let store = Store::open(root).unwrap();
    for (name, manifest) in stored {
        let found = store.records().get(&key(name)).unwrap();
        assert_eq!(found, Some(record(name)), "{name} is lost");
        assert!(store.has_blob(manifest).unwrap(), "{name}'s blob is lost");
    }
    let index = std::fs::read_to_string(root.join("oci/index.json")).unwrap();
    for (name, image) in store.images().unwrap() {
        let bytes = store.read_blob(&image.manifest, 1000).unwrap();
        assert_eq!(bytes.len() as u64, image.manifest_size_bytes);
        assert!(index.contains(&format!("{name:?}")) && index.contains(&image.manifest));
    }
    drop(store.acquire_cache_mount(&spec(CacheSharing::Locked), &mut |_| Ok(()), &|| true));
    store.close().unwrap();
    assert_eq!(std::fs::read_dir(root.join("staging")).unwrap().count(), 0, "rubbish stays");
}

#[test]
fn locks_end_with_the_process_that_held_them() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = Store::open(&dir.path().join("root")).unwrap();
    let (mut child, mut output) = start("hold", store.root());
    hear(&mut output).expect("the holder failed");
    let now = || true;
    let locked = spec(CacheSharing::Locked);
    assert!(store.records().lock(&key("held"), &now).is_err());
    assert!(store.acquire_cache_mount(&locked, &mut |_| Ok(()), &now).is_err());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(store.records().lock(&key("held"), &now).unwrap());
    drop(store.acquire_cache_mount(&locked, &mut |_| Ok(()), &now).unwrap());
}

#[test]
fn an_action_runs_once_in_all_processes_together() {
    let dir = tempfile::TempDir::new().unwrap();
    let root = dir.path().join("root");
    let mut children: Vec<_> = (0..4).map(|_| start("run", &root)).collect();
    let mut runs = Vec::new();
    for (child, output) in &mut children {
        while let Some(number) = hear(output) {
            runs.push(number.parse::<u32>().unwrap());
        }
        assert!(child.wait().unwrap().success());
    }
    runs.sort_unstable();
    assert_eq!(runs, (0..50).collect::<Vec<_>>());
}
