//! A store on a filesystem that runs full.

use std::io::Write as _;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::*;
use crate::RecordStore;

/// A filesystem of two megabytes, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::TempDir::new().unwrap();
        let options = c"size=2m";
        match mount("kiln-test", dir.path(), "tmpfs", MountFlags::empty(), options) {
            Ok(()) => Some(Self(dir)),
            Err(error) => {
                kiln_testkit::skipped(&format!("cannot mount a small filesystem: {error}"));
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.0.path(), UnmountFlags::DETACH).unwrap();
    }
}

/// Fills what is left, and gives the file that does.
fn fill(disk: &SmallDisk) -> PathBuf {
    let path = disk.0.path().join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    for block in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![1; block]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_is_said_and_breaks_nothing() {
    let Some(disk) = SmallDisk::new() else { return };
    let root = disk.0.path().join("root");
    let store = Store::open(&root).unwrap();
    let mut wide = record(&[]);
    wide.name = "x".repeat(50_000);
    store.records().put(&key("before"), &wide).unwrap();

    let mut writer = store.blob_writer().unwrap();
    let mut blob = Ok(());
    while blob.is_ok() {
        blob = writer.write_all(&[7; 100_000]);
    }
    let blob = CacheError::io("write the blob", "blob")(blob.unwrap_err());
    assert!(blob.is_disk_full(), "{blob:?}");
    drop(writer);

    let filler = fill(&disk);
    let mut put = Ok(());
    for number in 0..100 {
        put = put.and_then(|()| store.records().put(&key(&number.to_string()), &wide));
    }
    let put = put.unwrap_err();
    assert!(put.is_disk_full(), "{put:?}");
    if let Err(error) = Store::open(&root).map(drop) {
        assert!(error.is_disk_full(), "{error:?}");
    }

    std::fs::remove_file(filler).unwrap();
    store.records().put(&key("after"), &record(&[])).unwrap();
    store.close().unwrap();
    let store = Store::open(&root).unwrap();
    assert_eq!(store.records().get(&key("before")).unwrap(), Some(wide));
    assert!(store.records().get(&key("after")).unwrap().is_some());
}

#[test]
fn a_damaged_database_is_made_anew_once_there_is_space() {
    let Some(disk) = SmallDisk::new() else { return };
    let root = disk.0.path().join("root");
    let store = Store::open(&root).unwrap();
    let records: Vec<_> = (0..100).map(|n| (key(&n.to_string()), record(&["layer"]))).collect();
    store.records().put_all(records.iter().map(|(key, record)| (key, record))).unwrap();
    store.close().unwrap();
    std::fs::remove_file(root.join("ballast")).unwrap();
    super::super::damage::note(&root, "played");
    let filler = fill(&disk);
    let error = Store::open_or_rebuild(&root).unwrap_err();
    assert!(error.is_disk_full(), "{error:?}");
    std::fs::remove_file(filler).unwrap();
    let (store, rebuilt) = Store::open_or_rebuild(&root).unwrap();
    assert_eq!(rebuilt.map(|rebuilt| rebuilt.records), Some(100));
    assert_eq!(store.records().get(&key("7")).unwrap(), Some(record(&["layer"])));
}
