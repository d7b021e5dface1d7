//! Who gets which directory of a cache mount.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kiln_ir::CacheSharing;

use super::*;

fn spec(id: &str, sharing: CacheSharing) -> CacheMountSpec {
    CacheMountSpec { id: id.to_owned(), sharing, uid: 0, gid: 0, mode: 0o755 }
}

fn take(store: &Store, spec: &CacheMountSpec) -> Result<CacheMountGuard, CacheError> {
    store.acquire_cache_mount(spec, &mut |_| Ok(()), &|| true)
}

fn slot(guard: &CacheMountGuard) -> &str {
    guard.path().file_name().unwrap().to_str().unwrap()
}

#[test]
fn what_is_in_it_stays() {
    let (_dir, store) = store();
    let spec = spec("../odd id\n", CacheSharing::Shared);
    let guard = take(&store, &spec).unwrap();
    std::fs::write(guard.path().join("wheel"), "w").unwrap();
    drop(guard);
    let again = take(&store, &spec).unwrap();
    assert_eq!(std::fs::read(again.path().join("wheel")).unwrap(), b"w");
    assert_eq!(std::fs::read(again.path().join("../id")).unwrap(), b"../odd id\n");
    assert!(again.path().starts_with(store.mounts_dir()));
    assert!(again.path().canonicalize().unwrap().starts_with(store.mounts_dir()));
    assert_eq!(listing(&store.mounts_dir()).len(), 1);
}

#[test]
fn sharers_share_and_the_others_get_their_own() {
    let (_dir, store) = store();
    let (shared, private) = (spec("c", CacheSharing::Shared), spec("c", CacheSharing::Private));
    let one = take(&store, &shared).unwrap();
    let two = take(&store, &shared).unwrap();
    assert_eq!((slot(&one), slot(&two)), ("0", "0"));
    let alone = take(&store, &private).unwrap();
    let too = take(&store, &private).unwrap();
    assert_eq!((slot(&alone), slot(&too)), ("1", "2"));
    drop((one, two, alone));
    let alone = take(&store, &private).unwrap();
    assert_eq!(slot(&alone), "0", "the usual one is free again");
    assert_eq!(slot(&take(&store, &shared).unwrap()), "1");
    assert_eq!(slot(&take(&store, &spec("d", CacheSharing::Private)).unwrap()), "0");
}

#[test]
fn a_locked_one_is_waited_for() {
    let (_dir, store) = store();
    let locked = spec("c", CacheSharing::Locked);
    let first = take(&store, &locked).unwrap();
    assert!(matches!(take(&store, &locked), Err(CacheError::Cancelled { .. })));
    std::thread::scope(|scope| {
        let (sender, waits) = std::sync::mpsc::channel();
        let waiter = scope.spawn(|| {
            let mut asked = move || sender.send(()).is_err();
            let asked = std::cell::RefCell::new(&mut asked);
            let guard =
                store.acquire_cache_mount(&locked, &mut |_| Ok(()), &|| (asked.borrow_mut())());
            slot(&guard.unwrap()).to_owned()
        });
        waits.recv().unwrap();
        drop(first);
        assert_eq!(waiter.join().unwrap(), "0");
        drop(waits);
    });
}

#[test]
fn a_new_one_is_filled_before_it_is_seen() {
    let (_dir, store) = store();
    let spec = CacheMountSpec { mode: 0o1770, ..spec("c", CacheSharing::Shared) };
    let failed =
        store.acquire_cache_mount(&spec, &mut |_| Err(std::io::Error::other("no")), &patience());
    assert!(matches!(failed, Err(CacheError::Io { .. })), "{failed:?}");
    let mut seeds = 0;
    for _ in 0..2 {
        let mut seed = |path: &Path| {
            seeds += 1;
            std::fs::write(path.join("first"), "1")
        };
        let guard = store.acquire_cache_mount(&spec, &mut seed, &patience()).unwrap();
        assert_eq!(listing(guard.path()), ["first"]);
        let meta = guard.path().metadata().unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o1770);
    }
    assert_eq!(seeds, 1);
}

#[test]
fn a_new_one_has_its_owner() {
    if !rustix::process::geteuid().is_root() {
        kiln_testkit::skipped("only root can give a directory away");
        return;
    }
    let (_dir, store) = store();
    let spec = CacheMountSpec { uid: 33, gid: 44, ..spec("c", CacheSharing::Shared) };
    let meta = take(&store, &spec).unwrap().path().metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid()), (33, 44));
}

#[test]
fn many_at_once_see_one_whole_directory() {
    let (_dir, store) = store();
    let spec = spec("c", CacheSharing::Shared);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut seed = |path: &Path| std::fs::write(path.join("first"), "1");
                let guard = store.acquire_cache_mount(&spec, &mut seed, &patience()).unwrap();
                assert_eq!(listing(guard.path()), ["first"]);
            });
        }
    });
}
