//! A context's directory and the memory of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::stat_cache::LONG_BYTES;
use super::*;
use crate::layer::AHEAD_MIN_BYTES;
use crate::layer::tests::Home;
use crate::tree::Mtime;

struct Context {
    dir: tempfile::TempDir,
}

impl Context {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn open(&self) -> LocalTree {
        self.with(StatCache::default())
    }

    /// A tree whose clock makes every file old.
    fn with(&self, cache: StatCache) -> LocalTree {
        LocalTree::open(self.dir.path(), cache.with_clock(end_of_time)).unwrap()
    }

    /// A cache that holds the digest of `lie` for the file as it is now.
    fn lying(&self, name: &str, lie: &str) -> StatCache {
        let cache = StatCache::default();
        let (parent, last) = paths::split(name.as_bytes());
        let known = Known { digest: Digest::of(lie.as_bytes()), ..Known::default() };
        cache.learn(parent, last, self.key(name), known);
        StatCache::decode(cache.encode().unwrap())
    }

    fn key(&self, name: &str) -> StatKey {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        StatKey::now(rustix::fs::open(self.path(name), flags, Mode::empty()).unwrap()).unwrap()
    }
}

fn end_of_time() -> Mtime {
    Mtime { secs: 1 << 40, nanos: 0 }
}

fn everything(tree: &impl SourceTree, dir: &str) -> Vec<Found> {
    let listed = tree.list(dir.as_bytes(), &mut |_, _| true).unwrap();
    listed.iter().map(|(_, found)| found.into_owned()).collect()
}

fn digest(tree: &LocalTree, path: &str) -> Digest {
    let node = tree.entry(path.as_bytes()).unwrap().unwrap().node;
    let Node::File { digest, .. } = node else { panic!("{node:?}") };
    digest
}

#[test]
fn lists_what_is_wanted_in_order() {
    let context = Context::new();
    for name in ["b", "a", "c/d", "a.b", "A"] {
        context.write(name, name);
    }
    symlink("b", context.path("l")).unwrap();
    let tree = context.open();
    let mut seen = Vec::new();
    let found = tree.list(b"", &mut |name, kind| {
        seen.push((String::from_utf8(name.to_vec()).unwrap(), kind));
        name != b"a.b"
    });
    let found = found.unwrap();
    let names: Vec<&[u8]> = found.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"A"[..], b"a", b"b", b"c", b"l"]);
    let kinds: Vec<Kind> = seen.iter().map(|(_, kind)| *kind).collect();
    use Kind::{Dir, Other, Symlink};
    assert_eq!(kinds, [Other, Other, Other, Other, Dir, Symlink]);
    assert_eq!(
        everything(&tree, "c")[0].node,
        Node::File { digest: Digest::of(b"c/d"), size_bytes: 3 }
    );
}

#[test]
fn no_link_is_followed() {
    let context = Context::new();
    context.write("dir/file", "x");
    symlink("dir", context.path("link")).unwrap();
    symlink("/etc", context.path("out")).unwrap();
    let tree = context.open();
    assert_eq!(tree.peek(b"link").unwrap(), Some(Peek::Symlink(b"dir".to_vec())));
    assert_eq!(tree.peek(b"link/file").unwrap(), None);
    assert_eq!(tree.peek(b"out/passwd").unwrap(), None);
    assert_eq!(tree.peek(b"dir/file/below").unwrap(), None);
    assert!(tree.list(b"out", &mut |_, _| true).is_err());
    assert!(tree.entry(b"out/passwd").is_err());
    assert!(SourceTree::open(&tree, b"out/passwd").is_err());
    assert!(SourceTree::open(&tree, b"link").is_err());
    assert!(tree.peek(b"../..").is_err());
    assert!(SourceTree::open(&tree, b"dir/file").is_ok());
}

#[test]
fn special_files_are_described_but_not_opened() {
    let context = Context::new();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, context.path("fifo"), fifo, 0o640.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(context.path("socket")).unwrap();
    let found = everything(&context.open(), "");
    assert_eq!(found[0].node, Node::Fifo);
    assert_eq!(found[0].meta.mode, 0o640);
    assert_eq!(found[1].node, Node::Socket);
}

#[test]
fn owners_are_roots_and_modes_are_kept() {
    let context = Context::new();
    context.write("file", "x");
    fs::set_permissions(context.path("file"), fs::Permissions::from_mode(0o4755)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(context.path("file"), Some(12), Some(34)).unwrap();
        fs::set_permissions(context.path("file"), fs::Permissions::from_mode(0o4755)).unwrap();
    }
    let found = context.open().entry(b"file").unwrap().unwrap();
    assert_eq!(found.meta, Meta { mode: 0o4755, ..Meta::default() });
}

#[test]
fn names_of_one_file_are_linked() {
    let context = Context::new();
    context.write("a", "x");
    context.write("other", "x");
    fs::hard_link(context.path("a"), context.path("b")).unwrap();
    let found = everything(&context.open(), "");
    assert!(found[0].link.is_some());
    assert_eq!(found[0].link, found[1].link);
    assert_eq!(found[2].link, None);
}

#[test]
fn a_remembered_file_is_not_read_again() {
    let context = Context::new();
    context.write("dir/file", "truth");
    let cache = context.lying("dir/file", "lie");
    assert_eq!(cache.len(), 1);
    assert_eq!(digest(&context.with(cache), "dir/file"), Digest::of(b"lie"));
}

/// One difference at a time, and the file is read again.
#[test]
fn a_remembered_file_counts_for_the_same_file_only() {
    type Change = fn(&Context);
    let changes: &[(&str, Change)] = &[
        ("mtime", |context| {
            let file = fs::File::options().write(true).open(context.path("f")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("mode", |context| {
            fs::set_permissions(context.path("f"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("size", |context| context.write("f", "truth and more")),
        ("content, with size and mtime kept", |context| {
            let before = fs::metadata(context.path("f")).unwrap();
            context.write("f", "trutH");
            let file = fs::File::options().write(true).open(context.path("f")).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
            assert_eq!(fs::metadata(context.path("f")).unwrap().mtime_nsec(), before.mtime_nsec());
        }),
        ("inode", |context| {
            let before = fs::metadata(context.path("f")).unwrap();
            context.write("g", "truth");
            let file = fs::File::options().write(true).open(context.path("g")).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
            fs::rename(context.path("g"), context.path("f")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let context = Context::new();
        context.write("f", "truth");
        let cache = context.lying("f", "lie");
        wait_for_a_new_time(&context);
        change(&context);
        let content = fs::read(context.path("f")).unwrap();
        assert_eq!(digest(&context.with(cache), "f"), Digest::of(&content), "{what}");
    }
    let context = Context::new();
    context.write("f", "truth");
    let cache = context.lying("f", "lie");
    fs::hard_link(context.path("f"), context.path("g")).unwrap();
    assert_eq!(digest(&context.with(cache), "g"), Digest::of(b"truth"), "another path");
}

/// What a copy may go by: a large file that is not as young as its reading.
#[test]
fn a_large_file_is_settled_when_it_is_not_young() {
    let context = Context::new();
    context.write("large", &"x".repeat(KERNEL_COPY_MIN_BYTES as usize));
    context.write("small", "x");
    let settled =
        |tree: LocalTree, name: &str| tree.entry(name.as_bytes()).unwrap().unwrap().settled;
    assert_eq!(settled(context.open(), "large"), Some(Box::new(context.key("large"))));
    assert_eq!(settled(context.open(), "small"), None);
    let young = LocalTree::open(context.dir.path(), StatCache::default()).unwrap();
    assert_eq!(settled(young, "large"), None);
}

#[test]
fn what_is_remembered_is_listed_as_it_was_found() {
    let context = Context::new();
    for name in ["plain", "first", "dir/file"] {
        context.write(name, name);
    }
    context.write("large", &"x".repeat(KERNEL_COPY_MIN_BYTES as usize));
    fs::hard_link(context.path("first"), context.path("second")).unwrap();
    symlink("plain", context.path("symlink")).unwrap();
    let cold = context.open();
    let found = everything(&cold, "");
    let memory = StatCache::decode(cold.stat_cache().encode().unwrap());
    let remembered = everything(&context.with(memory), "");
    assert_eq!(remembered, found);
    // In order: dir, first, large, plain, second, symlink.
    assert!(found[1].link.is_some() && found[1].link == found[4].link);
    assert!(found[2].settled.is_some());
}

/// A large file that is read is copied too, where the copy is likely to be wanted.
#[test]
fn a_large_file_is_copied_while_it_is_read() {
    let home = Home::new();
    let context = Context::new();
    let bytes = AHEAD_MIN_BYTES as usize;
    context.write("large", &"x".repeat(bytes));
    let ahead = |cache: StatCache, is_new: bool| {
        let asked = AtomicBool::new(false);
        let is_new = |size_bytes: u64| {
            asked.store(true, Ordering::Relaxed);
            is_new && size_bytes == bytes as u64
        };
        let tree = context.with(cache);
        let ahead = tree.copying_ahead(&home.store, &is_new);
        let copied = ahead.entry(b"large").unwrap().unwrap().ahead.is_some();
        let listed = everything(&ahead, "");
        assert_eq!(listed.iter().any(|found| found.ahead.is_some()), copied);
        (copied, asked.into_inner())
    };
    assert_eq!(ahead(StatCache::default(), true), (true, true));
    assert_eq!(ahead(StatCache::default(), false), (false, true), "it may be recorded");
    assert!(!ahead(context.lying("large", "lie"), true).0, "it is not read");
    let earlier = context.lying("large", "lie");
    context.write("large", &"y".repeat(bytes + 1));
    assert_eq!(ahead(earlier, false), (true, false), "it was another");
    let earlier = context.lying("large", "lie");
    context.write("large", &"z".repeat(bytes + 1));
    assert_eq!(ahead(earlier, false), (false, true), "it may only be touched");
    context.write("large", &"small".repeat(3));
    assert_eq!(ahead(StatCache::default(), true), (false, false));
}

/// Ends when the filesystem's clock has moved on.
fn wait_for_a_new_time(context: &Context) {
    context.write("clock", "");
    let before = context.key("clock").ctime;
    while context.key("clock").ctime == before {
        context.write("clock", "");
    }
}

#[test]
fn a_file_as_young_as_its_reading_is_not_remembered() {
    let context = Context::new();
    context.write("f", "x");
    let tree = LocalTree::open(context.dir.path(), StatCache::default()).unwrap();
    everything(&tree, "");
    assert_eq!(tree.stat_cache().encode(), None);
    let later = context.open();
    everything(&later, "");
    assert_eq!(StatCache::decode(later.stat_cache().encode().unwrap()).len(), 1);
}

#[test]
fn ages_are_judged_by_the_change_time() {
    let time = |secs, nanos| Mtime { secs, nanos };
    let key = |mtime, ctime| StatKey { device: 1, inode: 1, size_bytes: 1, mtime, ctime, mode: 0 };
    let now = time(100, 500_000_000);
    // A modification time in the future is somebody's joke.
    assert!(!key(time(900, 1), time(100, 1)).is_racy(now));
    assert!(key(time(1, 1), time(100, 499_000_000)).is_racy(now));
    assert!(key(time(1, 1), time(200, 1)).is_racy(now));
    // Whole seconds are those of a filesystem that knows no parts.
    assert!(key(time(1, 0), time(99, 0)).is_racy(now));
    assert!(!key(time(1, 0), time(98, 0)).is_racy(now));
}

#[test]
fn the_memory_survives_and_forgets_what_is_gone() {
    let context = Context::new();
    for name in ["a", "b", "dir/c", "dir/sub/d"] {
        context.write(name, name);
    }
    let first = context.open();
    for dir in ["", "dir", "dir/sub"] {
        everything(&first, dir);
    }
    let cache = StatCache::decode(first.stat_cache().encode().unwrap());
    assert_eq!(cache.len(), 6);
    let second = context.with(cache);
    for dir in ["", "dir", "dir/sub"] {
        everything(&second, dir);
    }
    assert_eq!(second.stat_cache().encode(), None, "nothing new, nothing to save");
    fs::remove_file(context.path("b")).unwrap();
    fs::remove_dir_all(context.path("dir/sub")).unwrap();
    for dir in ["", "dir"] {
        everything(&second, dir);
    }
    let bytes = second.stat_cache().encode().unwrap();
    let file = context.path("memory");
    fs::write(&file, &bytes).unwrap();
    assert_eq!(StatCache::decode(bytes).len(), 3, "a, dir and dir/c");
    assert_eq!(StatCache::read_ahead(file).len(), 3);
    assert!(StatCache::read_ahead(context.path("none")).is_empty());
}

/// Names as they are listed, and whether each stands for a directory.
fn names(tree: &LocalTree, dir: &str) -> Vec<String> {
    let mut names = Vec::new();
    let note = &mut |name: &[u8], kind: Kind| {
        let slash = if kind == Kind::Dir { "/" } else { "" };
        names.push(format!("{}{slash}", String::from_utf8_lossy(name)));
        true
    };
    tree.list(dir.as_bytes(), note).unwrap();
    names
}

/// What the cache holds of all directories, with `from` in its names written as `to`.
fn misled(tree: &LocalTree, from: &str, to: &str) -> StatCache {
    let mut bytes = tree.stat_cache().encode().unwrap();
    bytes.truncate(bytes.len() - 32);
    let places = bytes.windows(from.len()).filter(|window| *window == from.as_bytes()).count();
    assert_eq!((places, from.len()), (1, to.len()));
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    let check = Digest::of(&bytes);
    bytes.extend_from_slice(check.as_bytes());
    StatCache::decode(bytes)
}

#[test]
fn names_are_asked_for_again_when_the_directory_changed() {
    let context = Context::new();
    for name in ["kept", "one", "dir/below"] {
        context.write(name, name);
    }
    symlink("one", context.path("link")).unwrap();
    let first = context.open();
    assert_eq!(names(&first, ""), ["dir/", "kept", "link", "one"]);
    // A wrong memory shows that it is believed while the directory's stat is the same, though not of what is there.
    let tree = context.with(misled(&first, "kept", "kepu"));
    assert_eq!(names(&tree, ""), ["dir/", "kepu", "link", "one"]);
    assert_eq!(everything(&tree, "").len(), 3);
    // Nor may it lead out of the directory.
    let tree = context.with(misled(&first, "kept", "k/pt"));
    assert_eq!(names(&tree, ""), ["dir/", "kept", "link", "one"]);

    let remembered = || StatCache::decode(first.stat_cache().encode().unwrap());
    let again = context.with(remembered());
    assert_eq!(names(&again, ""), ["dir/", "kept", "link", "one"]);
    assert_eq!(again.stat_cache().encode(), None);
    // Every way in which names change.
    type Change = fn(&Path);
    let changes: [(Change, &[&str]); 5] = [
        (|top| fs::write(top.join("new"), "").unwrap(), &["dir/", "kept", "link", "new", "one"]),
        (
            |top| fs::rename(top.join("new"), top.join("old")).unwrap(),
            &["dir/", "kept", "link", "old", "one"],
        ),
        (
            |top| fs::rename(top.join("old"), top.join("one")).unwrap(),
            &["dir/", "kept", "link", "one"],
        ),
        (|top| fs::remove_file(top.join("link")).unwrap(), &["dir/", "kept", "one"]),
        (
            |top| {
                fs::remove_dir_all(top.join("dir")).unwrap();
                fs::write(top.join("dir"), "").unwrap();
            },
            &["dir", "kept", "one"],
        ),
    ];
    for (change, expected) in changes {
        change(context.dir.path());
        assert_eq!(names(&context.with(remembered()), ""), expected);
        assert_eq!(names(&again, ""), expected, "in a build that goes on");
    }
}

#[test]
fn names_are_remembered_where_the_filesystem_dates_its_directories() {
    let dates = |path: &str| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        dir::dates_its_names(&rustix::fs::open(path, flags, Mode::empty()).unwrap())
    };
    assert!(dates("/dev/shm"), "a tmpfs");
    assert!(!dates("/proc/self"));
    assert!(!dates("/sys"));
    // What is made up when it is asked for is asked for each time.
    let tree = LocalTree::open(Path::new("/proc/self/fdinfo"), StatCache::default()).unwrap();
    let tree = LocalTree { cache: tree.cache.with_clock(end_of_time), ..tree };
    names(&tree, "");
    assert!(tree.stat_cache().learned_names().is_empty());
}

#[test]
fn names_alone_are_saved_when_they_are_those_of_many_directories() {
    let context = Context::new();
    let dirs: Vec<String> = (0..20).map(|index| format!("dir-{index}")).collect();
    dirs.iter().for_each(|dir| context.write(&format!("{dir}/file"), ""));
    let open = |cache: StatCache, changed: usize| {
        for dir in &dirs[..changed] {
            context.write(&format!("{dir}/passed-over"), "");
            fs::remove_file(context.path(&format!("{dir}/passed-over"))).unwrap();
        }
        let tree = context.with(cache);
        for dir in &dirs {
            tree.list(dir.as_bytes(), &mut |name, _| name == b"file").unwrap();
        }
        tree.stat_cache().encode()
    };
    let bytes = open(StatCache::default(), 0).unwrap();
    assert_eq!(open(StatCache::decode(bytes.clone()), 2), None);
    let bytes = open(StatCache::decode(bytes), 3).unwrap();
    assert_eq!(open(StatCache::decode(bytes), 0), None);
}

#[test]
fn a_long_memory_is_read_ahead() {
    let context = Context::new();
    let cache = StatCache::default();
    context.write("one", "");
    for index in 0..LONG_BYTES / 64 {
        cache.learn(b"", index.to_string().as_bytes(), context.key("one"), Known::default());
    }
    let bytes = cache.encode().unwrap();
    assert!(bytes.len() as u64 > LONG_BYTES);
    let file = context.path("memory");
    fs::write(&file, &bytes).unwrap();
    let ahead = StatCache::read_ahead(file.clone());
    while !ahead.is_read() {
        std::thread::yield_now();
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(ahead.len() as u64, LONG_BYTES / 64);
}

#[test]
fn a_memory_that_nobody_asks_is_not_read() {
    let context = Context::new();
    context.write("a", "x");
    let first = context.open();
    everything(&first, "");
    let file = context.path("memory");
    fs::write(&file, first.stat_cache().encode().unwrap()).unwrap();
    let second = context.with(StatCache::read_ahead(file));
    assert!(!second.stat_cache().has_news());
    assert_eq!(second.stat_cache().encode(), None);
    assert!(!second.stat_cache().is_read());
}

#[test]
fn damaged_bytes_are_an_empty_memory() {
    let context = Context::new();
    context.write("a", "x");
    let tree = context.open();
    everything(&tree, "");
    let bytes = tree.stat_cache().encode().unwrap();
    assert_eq!(StatCache::decode(bytes.clone()).len(), 1);
    for at in 0..bytes.len() {
        assert!(StatCache::decode(bytes[..at].to_vec()).is_empty(), "cut at {at}");
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x40;
        assert!(StatCache::decode(flipped).is_empty(), "flipped at {at}");
    }
}

/// Bytes that make no sense, but have the right check sum: what can be read of them is, and nothing fails.
#[test]
fn bytes_that_lie_are_read_as_far_as_they_go() {
    let context = Context::new();
    for name in ["a", "dir/b", "dir/c"] {
        context.write(name, name);
    }
    let tree = context.open();
    for dir in ["", "dir"] {
        everything(&tree, dir);
    }
    let mut bytes = tree.stat_cache().encode().unwrap();
    bytes.truncate(bytes.len() - 32);
    let checked = |mut body: Vec<u8>| {
        let check = Digest::of(&body);
        body.extend_from_slice(check.as_bytes());
        context.with(StatCache::decode(body))
    };
    let whole = everything(&checked(bytes.clone()), "dir");
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut body = bytes.clone();
            body[at] ^= flip;
            let tree = checked(body);
            assert!(tree.stat_cache().len() <= 4, "flipped at {at}");
            // A name that nobody has is passed over.
            let found = everything(&tree, "dir").len();
            assert!((whole.len() - 1..=whole.len()).contains(&found), "flipped at {at}");
        }
        let cut = checked(bytes[..at].to_vec());
        assert_eq!(everything(&cut, "dir").len(), whole.len(), "cut at {at}");
    }
}

#[test]
fn attributes_that_are_content_are_read() {
    let context = Context::new();
    context.write("f", "x");
    let set = |name: &str| {
        rustix::fs::setxattr(context.path("f"), name, b"v", rustix::fs::XattrFlags::empty())
    };
    if set("user.kiln").is_err() {
        kiln_testkit::skipped("the temporary directory's filesystem has no attributes");
        return;
    }
    let overlay = set("user.overlay.kiln");
    let found = context.open().entry(b"f").unwrap().unwrap();
    let expected = [(b"user.kiln".to_vec(), b"v".to_vec())];
    assert_eq!(found.meta.xattrs, expected.into(), "{overlay:?}");
}
