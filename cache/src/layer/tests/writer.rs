//! Layers written entry by entry.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use kiln_ir::Digest;

use super::super::{Content, Known, LayerWriter, NewFile};
use super::{Home, TIME, is_root};
use crate::CacheError;
use crate::stat::StatKey;
use crate::tree::{LastLink, Meta, Mtime, Node};
use crate::view::View;

fn put(writer: &mut LayerWriter, path: &str, content: &str) {
    let content = Content::Bytes(content.as_bytes());
    writer.file(path.as_bytes(), &Meta::of_root(0o644), TIME, content).unwrap();
}

#[test]
fn writing_and_committing_the_same_tree_give_the_same_layer() {
    if !is_root("writing_and_committing_the_same_tree_give_the_same_layer") {
        return;
    }
    let home = Home::new();
    let written = home.layer(&[], &["d/", "d/f=content", "d/l>f"]);
    let staging = home.store.stage().unwrap();
    let upper = staging.upper();
    fs::create_dir(upper.join("d")).unwrap();
    super::chmod(&upper.join("d"), 0o755);
    fs::write(upper.join("d/f"), "content").unwrap();
    super::chmod(&upper.join("d/f"), 0o644);
    std::os::unix::fs::symlink("f", upper.join("d/l")).unwrap();
    assert_eq!(home.store.commit_upper(staging, &[]).unwrap(), written);
    let on_disk = super::disk(&home.store.path(&written));
    assert!(on_disk.values().all(|stat| stat.3 == TIME.secs), "times are set: {on_disk:?}");
}

#[test]
fn missing_parents_are_as_the_lower_layers_have_them() {
    let home = Home::new();
    let mut writer = home.store.writer(&[]).unwrap();
    let private = Meta { mode: 0o1750, uid: 3, gid: 4, ..Meta::default() };
    writer.dir(b"a", &private, TIME).unwrap();
    writer.dir(b"gone", &private, TIME).unwrap();
    let base = writer.finish().unwrap();

    let later = Mtime { secs: 1_700_000_000, nanos: 0 };
    let mut writer = home.store.writer(&[base]).unwrap();
    writer.whiteout(b"gone").unwrap();
    for path in [&b"a/b/c"[..], b"gone/x"] {
        let content = Content::Bytes(b"x");
        writer.file(path, &Meta::of_root(0o600), later, content).unwrap();
    }
    writer.dir_all(b"a/p/q", &private, later).unwrap();
    let layer = writer.finish().unwrap();
    let manifest = home.store.manifest(&layer).unwrap();
    let get = |path: &[u8]| manifest.get(path).unwrap();
    assert_eq!((&get(b"a").meta, get(b"a").mtime), (&private, TIME));
    assert_eq!((&get(b"a/b").meta, get(b"a/b").mtime), (&Meta::of_root(0o755), later));
    assert_eq!(get(b"a/p").meta, private);
    assert_eq!(get(b"gone").node, Node::Dir { opaque: true }, "what was there stays hidden");
    assert_eq!(get(b"gone").meta, Meta::of_root(0o755));
}

#[test]
fn later_entries_replace_earlier_ones() {
    let home = Home::new();
    let mut writer = home.store.writer(&[]).unwrap();
    put(&mut writer, "a", "file");
    writer.symlink(b"a", b"/etc", &Meta::default(), TIME).unwrap();
    put(&mut writer, "a", "file again");
    put(&mut writer, "d/x/y", "deep");
    put(&mut writer, "d-e", "neighbour");
    writer.hardlink(b"first", b"d/x/y").unwrap();
    writer.hardlink(b"second", b"first").unwrap();
    put(&mut writer, "d", "no directory any more");
    put(&mut writer, "e", "file");
    writer.dir(b"e", &Meta::of_root(0o711), TIME).unwrap();
    writer.special(b"p", &Node::Fifo, &Meta::of_root(0o600), TIME).unwrap();
    writer.dir(b"p", &Meta::of_root(0o700), TIME).unwrap();
    let layer = writer.finish().unwrap();
    let text = home.listing(&layer).join("\n");
    let names: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["a", "d", "d-e", "e", "first", "p", "second"]);
    assert!(text.contains("first File"), "a link outlives the name it was made from: {text}");
    assert!(text.contains("second Hardlink"), "{text}");
    let root = home.store.path(&layer);
    let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("first"), inode("second"));
    assert_eq!(fs::read(root.join("a")).unwrap(), b"file again");
    assert_eq!(fs::metadata(root.join("e")).unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn nothing_is_written_outside_the_layer() {
    let home = Home::new();
    let outside = tempfile::TempDir::new().unwrap();
    let target = outside.path().to_str().unwrap().as_bytes().to_vec();
    let mut writer = home.store.writer(&[]).unwrap();
    writer.symlink(b"out", &target, &Meta::default(), TIME).unwrap();
    let meta = Meta::of_root(0o644);
    for path in [&b"../x"[..], b"/x", b"a/../../x", b"", b"a//b", b"x\0y", b"out/x"] {
        let error = writer.file(path, &meta, TIME, Content::Bytes(b"")).unwrap_err();
        assert!(matches!(error, CacheError::BadEntry { .. }), "{error:?}");
    }
    assert!(writer.dir(b"out/d", &meta, TIME).is_err());
    assert!(writer.symlink(b"empty", b"", &meta, TIME).is_err());
    assert!(writer.hardlink(b"h", b"../../../../../etc/passwd").is_err());
    assert!(writer.hardlink(b"h", b"none").is_err());
    let whiteout = Node::CharDevice { major: 0, minor: 0 };
    assert!(writer.special(b"w", &whiteout, &meta, TIME).is_err());
    let layer = writer.finish().unwrap();
    assert_eq!(home.listing(&layer).len(), 1);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn links_resolve_through_this_layer_and_those_below() {
    let home = Home::new();
    let base = home.layer(&[], &["usr/", "usr/lib/", "lib>usr/lib", "old>usr"]);
    let mut writer = home.store.writer(&[base]).unwrap();
    writer.symlink(b"usr/lib/so", b"/new", &Meta::default(), TIME).unwrap();
    writer.whiteout(b"old").unwrap();
    let resolve = |path: &[u8]| writer.resolve(path, LastLink::Follow).unwrap();
    assert_eq!(resolve(b"lib/x"), b"usr/lib/x");
    assert_eq!(resolve(b"lib/so/y"), b"new/y");
    assert_eq!(resolve(b"old/z"), b"old/z");
    assert!(writer.is_dir(b"usr/lib") && writer.is_dir(b"") && !writer.is_dir(b"old"));
    assert!(writer.get(b"old").is_none());
    assert_eq!(writer.get(b"lib").unwrap().0.link_target(), Some(&b"usr/lib"[..]));
}

#[test]
fn a_hard_link_to_a_lower_file_copies_it_up() {
    let home = Home::new();
    let base = home.layer(&[], &["d/", "d/f=content"]);
    let mut writer = home.store.writer(&[base]).unwrap();
    writer.hardlink(b"z", b"d/f").unwrap();
    writer.symlink(b"l", b"z", &Meta::default(), TIME).unwrap();
    writer.hardlink(b"m", b"l").unwrap();
    let layer = writer.finish().unwrap();
    let manifest = home.store.manifest(&layer).unwrap();
    assert_eq!(manifest.get(b"z").unwrap().node, Node::Hardlink { to: b"d/f".to_vec() });
    assert_eq!(manifest.content(manifest.get(b"z").unwrap()).unwrap().0, Digest::of(b"content"));
    assert_eq!(manifest.get(b"m").unwrap().node.link_target(), Some(&b"z"[..]));
}

#[test]
fn an_opaque_root_hides_each_thing_below() {
    if !is_root("an_opaque_root_hides_each_thing_below") {
        return;
    }
    let home = Home::new();
    let base = home.layer(&[], &["a/", "a/x=x", "b=b", "c/", "c/y=y"]);
    let top = home.layer(&[base], &["!", "c/", "c/z=z", "n=n"]);
    let view = View::new(&home.store, &[base, top]).unwrap();
    let names: Vec<_> = view.walk(b"").iter().map(|found| found.entry.path.clone()).collect();
    assert_eq!(names, [&b"c"[..], b"c/z", b"n"]);
}

#[test]
fn metadata_is_what_a_layer_may_hold() {
    if !is_root("metadata_is_what_a_layer_may_hold") {
        return;
    }
    let home = Home::new();
    let mut meta = Meta { mode: 0o10_4755, uid: 12, gid: 34, ..Meta::default() };
    for (name, value) in [
        ("user.a", "1"),
        ("user.overlay.opaque", "y"),
        ("trusted.overlay.opaque", "y"),
        ("security.selinux", "host"),
    ] {
        meta.xattrs.insert(name.into(), value.into());
    }
    let mut writer = home.store.writer(&[]).unwrap();
    writer.file(b"f", &meta, TIME, Content::Bytes(b"x")).unwrap();
    writer.dir(b"d", &meta, TIME).unwrap();
    writer.special(b"null", &Node::CharDevice { major: 1, minor: 3 }, &meta, TIME).unwrap();
    writer.special(b"sock", &Node::Socket, &meta, TIME).unwrap();
    let layer = writer.finish().unwrap();
    let manifest = home.store.manifest(&layer).unwrap();
    for path in [&b"f"[..], b"d"] {
        let entry = manifest.get(path).unwrap();
        assert_eq!((entry.meta.mode, entry.meta.xattrs.len()), (0o4755, 1));
    }
    assert!(manifest.get(b"sock").is_none());
    let on_disk = super::disk(&home.store.path(&layer));
    for (path, kind) in [("f", 0o100_000), ("d", 0o040_000), ("null", 0o020_000)] {
        let expected = (kind | 0o4755, 12, 34, TIME.secs, i64::from(TIME.nanos));
        assert_eq!(on_disk[path], expected, "{path}");
    }
}

#[test]
fn content_comes_from_streams_and_files_with_its_holes() {
    let home = Home::new();
    let mut big = vec![0_u8; 3_000_000];
    big[1_000_000..1_000_100].fill(9);
    let source = home.dir.path().join("source");
    let file = File::create(&source).unwrap();
    file.set_len(big.len() as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[9; 100], 1_000_000).unwrap();
    let dense = home.dir.path().join("dense");
    File::create(&dense).unwrap().write_all(&vec![5; 1_000_000]).unwrap();

    let meta = Meta::of_root(0o644);
    let mut writer = home.store.writer(&[]).unwrap();
    writer.file(b"stream", &meta, TIME, Content::Reader(&mut big.as_slice())).unwrap();
    let certain = Known::Certain(Digest::of(&big));
    for (path, known) in [(&b"file"[..], Known::Nothing), (b"certain", certain)] {
        let file = File::open(&source).unwrap();
        writer.file(path, &meta, TIME, Content::File(file.as_fd(), known)).unwrap();
    }
    let known = Known::Certain(Digest::of(&vec![5; 1_000_000]));
    let file = File::open(&dense).unwrap();
    writer.file(b"dense", &meta, TIME, Content::File(file.as_fd(), known)).unwrap();
    let layer = writer.finish().unwrap();
    let manifest = home.store.manifest(&layer).unwrap();
    for path in ["stream", "file", "certain"] {
        let on_disk = home.store.path(&layer).join(path);
        assert!(fs::read(&on_disk).unwrap() == big, "{path}");
        assert!(fs::metadata(&on_disk).unwrap().blocks() < 500, "{path} keeps its holes");
        assert_eq!(manifest.get(path.as_bytes()).unwrap().node.file().unwrap().0, Digest::of(&big));
    }
    assert_eq!(fs::read(home.store.path(&layer).join("dense")).unwrap(), vec![5; 1_000_000]);
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn wrong_or_failing_content_is_an_error_and_leaves_nothing() {
    let home = Home::new();
    let source = home.dir.path().join("source");
    fs::write(&source, "new").unwrap();
    let meta = Meta::of_root(0o644);
    let mut writer = home.store.writer(&[]).unwrap();
    let file = File::open(&source).unwrap();
    let content = Content::File(file.as_fd(), Known::Expected(Digest::of(b"old")));
    let error = writer.file(b"f", &meta, TIME, content).unwrap_err();
    assert!(matches!(error, CacheError::Changed { .. }), "{error:?}");
    let error = writer.file(b"g", &meta, TIME, Content::Reader(&mut Failing)).unwrap_err();
    assert!(error.is_disk_full(), "{error:?}");
    drop(writer);
    assert_eq!(home.staged(), 0);
}

#[test]
fn a_file_of_the_same_stat_is_copied_unread() {
    let home = Home::new();
    let source = home.dir.path().join("source");
    fs::write(&source, vec![1; 1_000_000]).unwrap();
    let (truth, lie) = (Digest::of(&vec![1; 1_000_000]), Digest::of(b"lie"));
    let key = StatKey::now(File::open(&source).unwrap()).unwrap();
    let meta = Meta::of_root(0o644);
    let copy = |known: Known| {
        let mut writer = home.store.writer(&[]).unwrap();
        let file = File::open(&source).unwrap();
        writer.file(b"f", &meta, TIME, Content::File(file.as_fd(), known))?;
        let layer = writer.finish()?;
        assert_eq!(fs::read(home.store.path(&layer).join("f")).unwrap(), vec![1; 1_000_000]);
        let manifest = home.store.manifest(&layer)?;
        Ok::<_, CacheError>(manifest.get(b"f").unwrap().node.file().unwrap().0)
    };
    assert_eq!(copy(Known::AsOf(key, truth)).unwrap(), truth);
    assert_eq!(copy(Known::AsOf(key, lie)).unwrap(), lie, "it is not read");
    let other = StatKey { ctime: Mtime { secs: 1, nanos: 0 }, ..key };
    assert_eq!(copy(Known::AsOf(other, truth)).unwrap(), truth, "touched, and the same");
    let error = copy(Known::AsOf(other, lie)).unwrap_err();
    assert!(matches!(error, CacheError::Changed { .. }), "{error:?}");
}

#[test]
fn many_files_are_copied_at_once() {
    let home = Home::new();
    let source = |number: usize| home.dir.path().join(format!("source-{number}"));
    for number in 0..10 {
        fs::write(source(number), format!("content {number}")).unwrap();
    }
    let new = |path: String, number: usize| NewFile {
        path: path.into_bytes(),
        meta: Meta::of_root(0o640),
        mtime: TIME,
        source: number.to_string().into_bytes(),
        known: Known::Nothing,
        ahead: None,
    };
    let mut files: Vec<NewFile> =
        (0..1000).map(|i| new(format!("d{}/f{i}", i % 7), i % 10)).collect();
    files.push(new("d0/f0".to_owned(), 9));
    let open = |file: &NewFile| -> Result<OwnedFd, CacheError> {
        let number = String::from_utf8_lossy(&file.source).parse().unwrap();
        Ok(File::open(source(number)).unwrap().into())
    };
    let mut writer = home.store.writer(&[]).unwrap();
    writer.files_parallel(files, &open).unwrap();
    let layer = writer.finish().unwrap();
    let manifest = home.store.manifest(&layer).unwrap();
    assert_eq!(manifest.entries().len(), 1007);
    let digest = |path: &[u8]| manifest.get(path).unwrap().node.file().unwrap().0;
    assert_eq!(digest(b"d0/f0"), Digest::of(b"content 9"), "the later counts");
    assert_eq!(digest(b"d1/f1"), Digest::of(b"content 1"));
    let written = fs::read(home.store.path(&layer).join("d3/f3")).unwrap();
    assert_eq!(written, b"content 3");

    for nested in
        [&["a", "a/b"][..], &["a", "a-b", "a/b"], &["a/b/c/d", "a/b"], &["a/b/c", "a/b/d", "a"]]
    {
        let mut writer = home.store.writer(&[]).unwrap();
        let files = nested.iter().map(|path| new((*path).to_owned(), 0)).collect();
        let refused = writer.files_parallel(files, &open).unwrap_err();
        assert!(matches!(refused, CacheError::BadEntry { .. }), "{nested:?}: {refused}");
    }
}
