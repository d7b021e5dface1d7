//! From upper directories to layers.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use kiln_ir::Digest;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::{Home, TIME, bytes, chmod, disk as listing, is_root, open};
use crate::CacheError;
use crate::layer::{Staging, disk};
use crate::tree::{Manifest, Mtime, Node};

#[test]
fn nothing_changed_makes_the_empty_layer_once() {
    let home = Home::new();
    let first = home.store.commit_upper(home.store.stage().unwrap(), &[]).unwrap();
    let made = fs::metadata(home.store.path(&first)).unwrap().ino();
    let second = home.store.commit_upper(home.store.stage().unwrap(), &[]).unwrap();
    assert_eq!(first, Manifest::default().digest());
    assert_eq!(second, first);
    assert_eq!(fs::metadata(home.store.path(&first)).unwrap().ino(), made);
    assert_eq!(home.staged(), 0);
}

/// Fills an upper directory with one of everything.
fn fill(upper: &Path) {
    fs::create_dir_all(upper.join("d/e")).unwrap();
    fs::write(upper.join("d/plain"), "hello").unwrap();
    fs::write(upper.join("d/empty"), "").unwrap();
    fs::write(upper.join("d/e/large"), vec![7; 700_000]).unwrap();
    fs::write(upper.join(bytes(b"not \xff utf8\n")), "x").unwrap();
    fs::write(upper.join("z"), "linked").unwrap();
    fs::hard_link(upper.join("z"), upper.join("d/z")).unwrap();
    symlink("../../../../etc/passwd", upper.join("d/link")).unwrap();
    fs::write(upper.join("suid"), "s").unwrap();
    chmod(&upper.join("suid"), 0o6755);
    let sparse = File::create(upper.join("sparse")).unwrap();
    sparse.set_len(5_000_000).unwrap();
    let xattr = |name: &str, value: &[u8]| {
        let path = upper.join("d/plain");
        rustix::fs::setxattr(&path, name, value, XattrFlags::empty()).unwrap();
    };
    xattr("user.kept", b"value");
    xattr("user.overlay.origin", b"noise");
    drop(UnixListener::bind(upper.join("d/socket")).unwrap());
    chmod(&upper.join("d/plain"), 0o000);
    for path in ["d/e", "d"] {
        let dir = File::open(upper.join(path)).unwrap();
        rustix::fs::futimens(&dir, &disk::times(TIME)).unwrap();
    }
}

#[test]
fn everything_that_a_command_leaves_is_in_the_layer() {
    if !is_root("everything_that_a_command_leaves_is_in_the_layer") {
        return;
    }
    let home = Home::new();
    let commit = || {
        let staging = home.store.stage().unwrap();
        let upper = staging.upper();
        fill(&upper);
        let node = |name: &str, kind, device| {
            rustix::fs::mknodat(CWD, upper.join(name), kind, Mode::RUSR, device).unwrap();
        };
        node("fifo", FileType::Fifo, 0);
        node("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
        node("loop", FileType::BlockDevice, rustix::fs::makedev(7, 9));
        chmod(&upper, 0o700);
        let plain = File::open(upper.join("d/plain")).unwrap();
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        disk_capability(&plain, &capability);
        rustix::fs::futimens(&plain, &disk::times(TIME)).unwrap();
        home.store.commit_upper(staging, &[]).unwrap()
    };
    let layer = commit();
    let manifest = home.store.manifest(&layer).unwrap();
    let get = |path: &[u8]| manifest.get(path).unwrap();
    let content =
        |bytes: &[u8]| Node::File { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 };
    assert_eq!(get(b"d/plain").node, content(b"hello"));
    assert_eq!(get(b"d/plain").meta.mode, 0);
    assert_eq!(get(b"d/plain").mtime, TIME);
    let xattrs: Vec<_> = get(b"d/plain").meta.xattrs.keys().map(Vec::as_slice).collect();
    assert_eq!(xattrs, [&b"security.capability"[..], b"user.kept"]);
    assert_eq!(get(b"d").mtime, TIME, "removing the socket does not show");
    assert_eq!(get(b"d/e/large").node, content(&vec![7; 700_000]));
    assert_eq!(get(b"not \xff utf8\n").node, content(b"x"));
    assert_eq!(get(b"sparse").node, content(&vec![0; 5_000_000]));
    assert_eq!(get(b"d/z").node, content(b"linked"));
    assert_eq!(get(b"z").node, Node::Hardlink { to: b"d/z".to_vec() });
    assert_eq!(get(b"suid").meta.mode, 0o6755);
    assert_eq!(get(b"fifo").node, Node::Fifo);
    assert_eq!(get(b"null").node, Node::CharDevice { major: 1, minor: 3 });
    assert_eq!(get(b"loop").node, Node::BlockDevice { major: 7, minor: 9 });
    assert!(manifest.get(b"d/socket").is_none());

    let fs_dir = home.store.path(&layer);
    let on_disk = listing(&fs_dir);
    assert_eq!(on_disk.len(), manifest.entries().len());
    assert_eq!((on_disk["d"].3, on_disk["d"].4), (TIME.secs, i64::from(TIME.nanos)));
    assert_eq!(fs::metadata(&fs_dir).unwrap().mode() & 0o7777, 0o755);
    assert!(fs::metadata(fs_dir.join("sparse")).unwrap().blocks() < 100);
    let mut names = [0; 256];
    let length = rustix::fs::listxattr(fs_dir.join("d/plain"), &mut names[..]).unwrap();
    assert!(!String::from_utf8_lossy(&names[..length]).contains("overlay"));

    let inode = fs::metadata(&fs_dir).unwrap().ino();
    assert_eq!(commit(), layer);
    assert_eq!(fs::metadata(&fs_dir).unwrap().ino(), inode, "the earlier layer is kept");
    assert_eq!(home.staged(), 0);
    // Another process reads the same from disk.
    assert_eq!(open(home.dir.path()).manifest(&layer).unwrap(), manifest);
}

fn disk_capability(file: &File, value: &[u8]) {
    rustix::fs::fsetxattr(file.as_fd(), "security.capability", value, XattrFlags::empty()).unwrap();
}

#[test]
fn many_files_give_the_same_layer_whoever_reads_them_first() {
    let home = Home::new();
    let commit = |threads: usize| {
        let staging = home.store.stage().unwrap();
        for dir in 0..20 {
            let dir = staging.upper().join(format!("d{dir}/deeper"));
            fs::create_dir_all(&dir).unwrap();
            for file in 0..100 {
                fs::write(dir.join(format!("f{file}")), format!("{file}")).unwrap();
            }
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| home.store.commit_upper(staging, &[])).unwrap()
    };
    let layer = commit(1);
    assert_eq!(home.store.manifest(&layer).unwrap().entries().len(), 20 * 102);
    assert_eq!(commit(4), layer);
}

#[test]
fn an_unfinished_layer_leaves_nothing_and_a_damaged_one_is_made_again() {
    let home = Home::new();
    let staging = home.store.stage().unwrap();
    fs::write(staging.upper().join("a"), "a").unwrap();
    drop(staging);
    assert_eq!(home.staged(), 0);

    let commit = |store: &crate::layer::LayerStore| {
        let staging = store.stage().unwrap();
        fs::write(staging.upper().join("a"), "a").unwrap();
        store.commit_upper(staging, &[]).unwrap()
    };
    let layer = commit(&home.store);
    let manifest = home.dir.path().join("layers").join(layer.to_string()).join("manifest");
    fs::write(&manifest, "").unwrap();
    let other = open(home.dir.path());
    assert!(matches!(other.manifest(&layer), Err(CacheError::DamagedLayer { .. })));
    assert_eq!(commit(&other), layer);
    assert!(open(home.dir.path()).manifest(&layer).is_ok());
    let absent = Digest::of(b"absent");
    assert!(!other.contains(&absent).unwrap());
    assert!(matches!(other.manifest(&absent), Err(CacheError::MissingLayer { .. })));
    other.settle();
    assert_eq!(home.staged(), 0);
}

#[test]
fn a_tree_too_deep_for_a_path_is_refused_and_removed() {
    let home = Home::new();
    let staging = home.store.stage().unwrap();
    super::remove::deepen(&staging.upper(), 2100);
    let refused = home.store.commit_upper(staging, &[]);
    assert!(matches!(refused, Err(CacheError::BadEntry { .. })), "{refused:?}");
    assert_eq!(home.staged(), 0);
}

#[test]
fn a_whiteout_alone_is_dropped_when_it_hides_nothing() {
    if !is_root("a_whiteout_alone_is_dropped_when_it_hides_nothing") {
        return;
    }
    let home = Home::new();
    let base = home.layer(&[], &["d/", "d/a=1"]);
    let commit = |lowers: &[Digest]| {
        let staging = home.store.stage().unwrap();
        let dir = staging.upper().join("d");
        fs::create_dir(&dir).unwrap();
        let node = FileType::CharacterDevice;
        rustix::fs::mknodat(CWD, dir.join("a"), node, Mode::empty(), 0).unwrap();
        let open = File::open(&dir).unwrap();
        rustix::fs::futimens(&open, &disk::times(TIME)).unwrap();
        home.store.commit_upper(staging, lowers).unwrap()
    };
    let hides = commit(&[base]);
    assert_eq!(home.listing(&hides), ["d Dir { opaque: false }", "d/a Whiteout"]);
    let idle = commit(&[]);
    assert_eq!(home.listing(&idle), ["d Dir { opaque: false }"]);
    let on_disk = listing(&home.store.path(&idle));
    assert_eq!(on_disk.len(), 1);
    assert_eq!(Mtime { secs: on_disk["d"].3, nanos: 123_456_789 }, TIME);
}

#[test]
fn a_directory_made_ahead_is_given_once() {
    let home = Home::new();
    home.store.stage_ahead();
    home.store.stage_ahead();
    let (first, second) = (home.store.stage().unwrap(), home.store.stage().unwrap());
    assert_ne!(first.upper(), second.upper());
    for staging in [&first, &second] {
        assert_eq!(fs::metadata(staging.upper()).unwrap().mode() & 0o7777, 0o755);
        assert!(staging.work().is_dir());
    }
    fs::write(first.upper().join("file"), "left behind").unwrap();
    drop((first, second));
    home.store.stage_ahead();
    assert_eq!(home.staged(), 0);
}

#[test]
fn little_that_is_left_waits_but_does_not_pile_up() {
    let home = Home::new();
    let names =
        || fs::read_dir(home.dir.path().join("staging")).unwrap().map(|e| e.unwrap().path());
    let is_work = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "work");
    let layers = || names().filter(|path| !is_work(path)).count();
    let empty = || home.store.commit_upper(home.store.stage().unwrap(), &[]).unwrap();
    for _ in 0..3 {
        empty();
    }
    // The first became the empty layer.
    assert_eq!(layers(), 2, "nobody has waited yet");
    for _ in 0..60 {
        empty();
    }
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let until = |layers_left: usize| {
        while layers() > layers_left {
            assert!(std::time::Instant::now() < patience, "{} are left", layers());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    until(16);
    home.store.stage_ahead();
    until(1);
    assert_eq!(home.staged(), 0);
}

#[test]
fn a_work_directory_serves_again_when_it_is_empty() {
    let home = Home::new();
    let first = home.store.stage().unwrap();
    let work = first.work();
    fs::create_dir_all(work.join("incompat/volatile")).unwrap();
    home.store.commit_upper(first, &[]).unwrap();
    let mut others = Vec::new();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        home.store.stage_ahead();
        let next = home.store.stage().unwrap();
        assert_eq!(fs::read_dir(next.work()).unwrap().count(), 0);
        assert!(!others.iter().any(|other: &Staging| other.work() == next.work()));
        if next.work() == work {
            break;
        }
        others.push(next);
        assert!(std::time::Instant::now() < patience, "it never served again");
    }
    drop(others);
    assert_eq!(home.staged(), 0);
}
