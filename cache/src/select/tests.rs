//! What is selected, and what its digest covers.

use std::fs;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use kiln_ir::{CopyOp, ModeSpec, OwnerSpec};

use super::fixture::{
    Files, Layers, copy, excluding, ignoring, meta, put_file, put_file_as, put_link,
};
use super::*;
use crate::account::{self, Changed, Listing, changes};
use crate::context::LocalTree;
use crate::layer::LayerWriter;
use crate::tree::Mtime;

/// The names selected: `name/…` for what comes of a directory, `name` for a thing by itself.
fn names<T: SourceTree>(tree: &T, copy: &CopyOp) -> Result<Vec<String>, SelectError> {
    let selection = select(tree, copy)?;
    let mut names = Vec::new();
    for root in selection.roots() {
        let name = String::from_utf8_lossy(&root.name);
        match &root.content {
            RootContent::Single(_) => names.push(name.into_owned()),
            RootContent::Directory(entries) => names.extend(
                entries.iter().map(|e| format!("{name}/{}", String::from_utf8_lossy(e.dest()))),
            ),
        }
    }
    Ok(names)
}

fn check(tree: &Files, copy: &CopyOp, expected: &[&str]) {
    assert_eq!(names(&tree.tree(), copy).unwrap(), expected, "{copy:?}");
}

#[test]
fn sources_and_wildcards() {
    let files = Files::new(&["a.c", "b.c", "dir/a.h", "dir/sub/x", "lib/a.h", ".hidden", "we[ird"]);
    for (source, expected) in [
        ("/a.c", &["a.c"][..]),
        ("/dir", &["dir/a.h", "dir/sub", "dir/sub/x"]),
        ("/*.c", &["a.c", "b.c"]),
        ("/?.c", &["a.c", "b.c"]),
        ("/[^a].c", &["b.c"]),
        ("/*/a.h", &["a.h", "a.h"]),
        ("/d*", &["dir/a.h", "dir/sub", "dir/sub/x"]),
        ("/*/sub", &["sub/x"]),
        ("/*/*/x", &["x"]),
        ("/*.none", &[]),
        ("/none/*", &[]),
        ("/a.c/*", &[]),
        ("/we[[]ird", &["we[ird"]),
        ("/.h*", &[".hidden"]),
    ] {
        check(&files, &copy(source, "/"), expected);
    }
    let plain = CopyOp { wildcard: false, ..copy("/we[ird", "/") };
    check(&files, &plain, &["we[ird"]);
    let root: Vec<String> = names(&files.tree(), &copy("/", "/")).unwrap();
    assert_eq!(root.first().map(String::as_str), Some("/.hidden"));
    assert_eq!(root.len(), 10);
}

#[test]
fn what_is_missing_is_named_with_what_is_near() {
    let files = Files::new(&["src/main.rs", "src/lib.rs", "README.md"]);
    for (source, expected) in [
        ("/src/mian.rs", &["/src/main.rs"][..]),
        ("/scr/main.rs", &["/src"]),
        ("/readme.md", &["/README.md"]),
        ("/nothing-like-it", &[]),
    ] {
        match names(&files.tree(), &copy(source, "/")) {
            Err(SelectError::Missing { source_path, nearest }) => {
                assert_eq!(
                    (source_path.as_str(), nearest),
                    (source, expected.iter().map(|&s| s.to_owned()).collect())
                );
            }
            other => panic!("{source}: {other:?}"),
        }
    }
    let required = CopyOp { required: true, ..copy("/*.go", "/") };
    assert!(matches!(names(&files.tree(), &required), Err(SelectError::Missing { .. })));
    let bad = names(&files.tree(), &copy("/[a", "/"));
    assert!(matches!(bad, Err(SelectError::Wildcard { .. })));
}

#[test]
fn links_are_followed_in_sources_only() {
    let files = Files::new(&["real/file", "real/dir/x"]);
    files.symlink("link", "real");
    files.symlink("real/inner", "file");
    files.symlink("absolute", "/real/file");
    files.symlink("climbing", "../../../real/dir");
    files.symlink("dangling", "nowhere");
    files.symlink("round", "round");
    files.symlink("host", "/etc/passwd");
    let inside = ["link/dir", "link/dir/x", "link/file", "link/inner"];
    check(&files, &copy("/link", "/"), &inside);
    check(&files, &copy("/link/file", "/"), &["file"]);
    check(&files, &copy("/li*", "/"), &inside);
    check(&files, &copy("/li*/file", "/"), &[]);
    check(&files, &copy("/link/f*", "/"), &["file"]);
    check(&files, &copy("/absolute", "/"), &["absolute"]);
    check(&files, &copy("/climbing", "/"), &["climbing/x"]);
    for missing in ["/dangling", "/host", "/link/../etc/passwd"] {
        let result = names(&files.tree(), &copy(missing, "/"));
        assert!(matches!(result, Err(SelectError::Missing { .. })), "{missing}: {result:?}");
    }
    let round = names(&files.tree(), &copy("/round", "/"));
    assert!(matches!(round, Err(SelectError::TooManyLinks { .. })));
    let all = select(&files.tree(), &copy("/", "/")).unwrap();
    let host = all.entries().find(|entry| entry.dest() == b"host").unwrap();
    assert_eq!(host.found.node, Node::Symlink { target: b"/etc/passwd".to_vec() });
}

#[test]
fn ignored_paths_are_as_good_as_absent() {
    let files = Files::new(&["keep/a", "keep/b", "drop/a", "drop/deep/b", "top", "empty/x"]);
    files.symlink("link", "drop");
    let all = &["/drop", "/drop/deep", "/drop/deep/b", "/keep", "/keep/a", "/top"][..];
    for (source, patterns, expected) in [
        ("/", &["*/a", "empty", "link", "!drop/deep", "keep/b", "!keep/a"][..], all),
        ("/", &["*"], &[]),
        ("/", &["**", "!top"], &["/top"]),
        ("/", &["*", "!drop/deep/*"], &["/drop", "/drop/deep", "/drop/deep/b"]),
        ("/drop", &["drop", "!drop/a"], &["drop/a"]),
        ("/*", &["*", "!top", "!drop/a"], &["drop/a", "top"]),
        ("/k*", &["keep"], &[]),
        ("/keep/*", &["keep/a"], &["b"]),
    ] {
        check(&files, &ignoring(source, patterns), expected);
    }
    for (source, patterns) in [
        ("/top", &["top"][..]),
        ("/keep/a", &["keep"]),
        ("/keep", &["keep"]),
        ("/keep", &["**", "!keep/nothing"]),
        ("/link", &["drop"]),
        ("/link", &["link"]),
    ] {
        let result = names(&files.tree(), &ignoring(source, patterns));
        assert!(
            matches!(result, Err(SelectError::Ignored { .. })),
            "{source} {patterns:?} {result:?}"
        );
    }
}

#[test]
fn excluded_paths_are_those_below_the_source() {
    let files = Files::new(&["src/a.txt", "src/b.md", "src/sub/c.txt", "x.txt", "y.md"]);
    for (source, patterns, expected) in [
        ("/src", &["*.txt"][..], &["src/b.md", "src/sub", "src/sub/c.txt"][..]),
        ("/src", &["**/*.txt"], &["src/b.md", "src/sub"]),
        ("/src", &["sub"], &["src/a.txt", "src/b.md"]),
        ("/src", &["*", "!sub/c.txt"], &["src/sub", "src/sub/c.txt"]),
        ("/src", &["src/a.txt"], &["src/a.txt", "src/b.md", "src/sub", "src/sub/c.txt"]),
        ("/*.*", &["*.txt"], &["y.md"]),
        ("/x.txt", &["*.txt"], &[]),
    ] {
        check(&files, &excluding(source, patterns), expected);
    }
}

fn including(source: &str, patterns: &[&str]) -> CopyOp {
    let include = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    CopyOp { include, required: true, ..copy(source, "/") }
}

#[test]
fn included_paths_come_with_the_directories_on_the_way() {
    let files = Files::new(&["a/b/c/file", "a/b/other", "a/side", "x/b/other"]);
    for (source, patterns, expected) in [
        ("/", &["a/b/other"][..], &["/a", "/a/b", "/a/b/other"][..]),
        ("/a", &["b/other"], &["a/b", "a/b/other"]),
        ("/a", &["b/c"], &["a/b", "a/b/c", "a/b/c/file"]),
        ("/a", &["*/other"], &["a/b", "a/b/other"]),
        ("/", &["*/*/other"], &["/a", "/a/b", "/a/b/other", "/x", "/x/b", "/x/b/other"]),
        ("/", &["**/file"], &["/a", "/a/b", "/a/b/c", "/a/b/c/file"]),
        ("/", &["a/side", "x"], &["/a", "/a/side", "/x", "/x/b", "/x/b/other"]),
        ("/?", &["b/other"], &["a/b", "a/b/other", "x/b", "x/b/other"]),
        ("/a/*", &["side"], &["side"]),
    ] {
        check(&files, &including(source, patterns), expected);
    }
    let less = CopyOp { exclude: vec!["a/b/c".to_owned()], ..including("/", &["a/b"]) };
    check(&files, &less, &["/a", "/a/b", "/a/b/other"]);
    let nothing = CopyOp { exclude: vec!["a".to_owned()], ..including("/", &["a/b"]) };
    check(&files, &nothing, &[]);
    let optional = CopyOp { required: false, ..including("/", &["none/*"]) };
    check(&files, &optional, &[]);
}

#[test]
fn an_included_path_that_is_not_there_is_missed() {
    let files = Files::new(&["a/file", "secret"]);
    files.symlink("link", "a");
    let error = |op: &CopyOp| select(&files.tree(), op).unwrap_err();
    let missing = error(&including("/a", &["fil"]));
    assert!(
        matches!(&missing, SelectError::Missing { source_path, nearest }
            if source_path == "/a/fil" && nearest == &["/a/file"]),
        "{missing:?}"
    );
    // Patterns follow no links: better said than silently nothing.
    assert!(select(&files.tree(), &including("/", &["link/file"])).is_err());
    let ignored = CopyOp { ignore: vec!["secret".to_owned()], ..including("/", &["secret"]) };
    assert!(matches!(error(&ignored), SelectError::Ignored { .. }));
}

/// A tree that keeps a list of the directories and files it was asked for.
struct Watched<'a, T> {
    tree: &'a T,
    touched: Mutex<Vec<String>>,
}

impl<T> Watched<'_, T> {
    fn note(&self, what: &str, path: &[u8]) {
        self.touched.lock().unwrap().push(format!("{what} {}", String::from_utf8_lossy(path)));
    }
}

impl<S: SourceTree> SourceTree for Watched<'_, S> {
    fn peek(&self, path: &[u8]) -> Result<Option<Peek>, SelectError> {
        self.tree.peek(path)
    }

    fn entry(&self, path: &[u8]) -> Result<Option<Found>, SelectError> {
        self.note("read", path);
        self.tree.entry(path)
    }

    fn list(
        &self,
        dir: &[u8],
        want: &mut dyn FnMut(&[u8], Kind) -> bool,
    ) -> Result<Listed, SelectError> {
        self.note("list", dir);
        self.tree.list(dir, &mut |name, kind| {
            let wanted = want(name, kind);
            if wanted {
                self.note("read", name);
            }
            wanted
        })
    }

    fn open(&self, path: &[u8]) -> Result<fs::File, SelectError> {
        self.tree.open(path)
    }

    fn is_mutable(&self) -> bool {
        self.tree.is_mutable()
    }
}

#[test]
fn nothing_is_touched_that_is_not_selected() {
    let files = Files::new(&["src/a", "src/b.o", "target/deep/c", ".git/x", "docs/d"]);
    let tree = files.tree();
    let touched = |copy: &CopyOp| {
        let watched = Watched { tree: &tree, touched: Mutex::default() };
        select(&watched, copy).unwrap();
        let mut touched = watched.touched.into_inner().unwrap();
        touched.sort();
        touched
    };
    assert_eq!(touched(&copy("/src", "/")), ["list src", "read a", "read b.o"]);
    assert_eq!(touched(&copy("/src/a", "/")), ["read src/a"]);
    let ignored = ignoring("/", &["target", ".git", "**/*.o", "docs/*", "!src/b.o.keep"]);
    // `docs` itself is selected: it is copied empty.
    assert_eq!(
        touched(&ignored),
        ["list ", "list docs", "list src", "read a", "read docs", "read src"]
    );
    assert_eq!(touched(&copy("/s*/a", "/")), ["list ", "list src", "read src/a"]);
}

#[test]
fn unreadable_files_are_named_unless_ignored() {
    if !rustix::process::geteuid().is_root() {
        kiln_testkit::skipped("this test gives up being root, and is not root");
        return;
    }
    let files = Files::new(&["dir/secret", "open"]);
    files.mode("dir/secret", 0);
    files.mode("", 0o755);
    let nobody = rustix::fs::Uid::from_raw(65534);
    let drop_root = move |_| {
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may do this");
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(drop_root);
    let pool = pool.build().unwrap();
    let error = pool.install(|| select(&files.tree(), &copy("/", "/"))).unwrap_err();
    assert!(error.to_string().contains("dir/secret"), "{error}");
    pool.install(|| select(&files.tree(), &ignoring("/", &["**/secret"]))).unwrap();
    pool.install(|| select(&files.tree(), &copy("/open", "/"))).unwrap();
}

#[test]
fn a_tree_as_deep_as_paths_allow() {
    let files = Files::new(&[]);
    let mut dir = rustix::fs::open(files.root(), rustix::fs::OFlags::PATH, 0.into()).unwrap();
    for _ in 0..1500 {
        rustix::fs::mkdirat(&dir, "d", 0o755.into()).unwrap();
        dir = rustix::fs::openat(&dir, "d", rustix::fs::OFlags::PATH, 0.into()).unwrap();
    }
    assert_eq!(select(&files.tree(), &copy("/", "/")).unwrap().entries().count(), 1500);
}

#[test]
fn names_of_one_file_stay_one_file() {
    let files = Files::new(&["dir/b", "out"]);
    for name in ["dir/a", "dir/sub-c"] {
        fs::hard_link(files.path("dir/b"), files.path(name)).unwrap();
    }
    fs::hard_link(files.path("out"), files.path("dir/z")).unwrap();
    let selection = select(&files.tree(), &copy("/dir", "/")).unwrap();
    let nodes: Vec<Node> = selection.entries().map(|entry| entry.found.node.clone()).collect();
    assert!(matches!(nodes[0], Node::File { .. }));
    for node in &nodes[1..3] {
        assert_eq!(*node, Node::Hardlink { to: b"a".to_vec() });
    }
    assert!(matches!(nodes[3], Node::File { .. }), "its other name is not selected");
}

/// The digest of the same entries in a single list.
fn digest_of_one_list(selection: &Selection, reads: Reads) -> Digest {
    let mut listed = Listed::default();
    for entry in selection.entries() {
        listed.push(entry.dest(), entry.found.clone().into_owned());
    }
    let list = entries::List::new(Vec::new(), 0, listed);
    let body = Body::Directory(Entries::of(vec![walk::Walked { list, ..Default::default() }]));
    digest::of(&[(Vec::new(), body)], reads)
}

#[test]
fn directories_are_in_order_and_hashed_as_if_they_were_one_list() {
    let names =
        ["a", "b/x", "b/y/left-out", "b/y/z", "b/zz", "c", "d/left-out", "e/f/left-out", "g/h"];
    let files = Files::new(&names);
    fs::hard_link(files.path("b/y/z"), files.path("0")).unwrap();
    fs::hard_link(files.path("b/x"), files.path("g/i")).unwrap();
    let copy = ignoring("/", &["**", "!0", "!a", "!b/x", "!b/y/z", "!**/zz", "!c", "!g/*"]);
    let selection = select(&files.tree(), &copy).unwrap();
    let order: Vec<_> = selection
        .entries()
        .map(|entry| String::from_utf8_lossy(entry.dest()).into_owned())
        .collect();
    assert_eq!(order, ["0", "a", "b", "b/x", "b/y", "b/y/z", "b/zz", "c", "g", "g/h", "g/i"]);
    let links: Vec<_> = selection
        .entries()
        .map(|entry| matches!(&entry.found.node, Node::Hardlink { to } if to == b"0" || to == b"b/x"))
        .collect();
    assert_eq!(links, [false, false, false, false, false, true, false, false, false, false, true]);
    let alone = digest_of_one_list(&selection, Reads::of(&copy));
    assert_eq!(selection.digest(), alone);
}

#[test]
fn a_stage_gives_what_a_context_does() {
    let layers = Layers::new();
    let fill = |writer: &mut LayerWriter| {
        put_file(writer, "dir/sub/x", "x");
        put_file(writer, "dir/a", "a");
        put_link(writer, "link", "/dir");
        writer.hardlink(b"dir/b", b"dir/a").unwrap();
        put_file(writer, "gone", "");
    };
    let base = layers.layer(&[], fill);
    let above = layers.layer(&[base], |writer| writer.whiteout(b"gone").unwrap());
    let view = layers.view(&[base, above]);
    let list = ["link/a", "link/b", "link/sub", "link/sub/x"];
    assert_eq!(names(&view, &copy("/link", "/")).unwrap(), list);
    assert!(matches!(names(&view, &copy("/gone", "/")), Err(SelectError::Missing { .. })));
    let selection = select(&view, &copy("/dir", "/")).unwrap();
    assert_eq!(
        selection.entries().nth(1).unwrap().found.node,
        Node::Hardlink { to: b"a".to_vec() }
    );
    let files = Files::new(&[]);
    files.write("dir/sub/x", "x");
    files.write("dir/a", "a");
    fs::hard_link(files.path("dir/a"), files.path("dir/b")).unwrap();
    for name in ["dir/a", "dir/sub/x"] {
        files.mode(name, 0o644);
    }
    files.mode("dir/sub", 0o755);
    assert_eq!(select(&files.tree(), &copy("/dir", "/")).unwrap().digest(), selection.digest());
}

#[derive(Debug, PartialEq)]
enum Digests {
    Move,
    Stay,
}
use Digests::{Move, Stay};

type Change = (&'static str, &'static [&'static str], fn(&Files));

/// One change at a time to a context, and what COPY dir is told of it: where nothing is, the digest stays.
const CHANGES: &[Change] = &[
    ("content", &["dir/file Content"], |files| files.write("dir/file", "dir/filE")),
    ("length", &["dir/file Content"], |files| files.write("dir/file", "more")),
    ("a file's mode", &["dir/file Mode"], |files| files.mode("dir/file", 0o600)),
    ("a set-id bit", &["dir/file Mode"], |files| files.mode("dir/file", 0o4644)),
    ("a directory's mode", &["dir/sub Mode"], |files| files.mode("dir/sub", 0o700)),
    ("a new file", &["dir/new Added"], |files| files.write("dir/new", "")),
    ("a new directory", &["dir/new Added"], |files| files.dir("dir/new")),
    ("a name", &["dir/f Added", "dir/file Removed"], |files| {
        fs::rename(files.path("dir/file"), files.path("dir/f")).unwrap()
    }),
    ("a place", &["dir/file Removed", "dir/sub/file Added"], |files| {
        fs::rename(files.path("dir/file"), files.path("dir/sub/file")).unwrap()
    }),
    ("a removal", &["dir/sub/x Removed"], |files| {
        fs::remove_file(files.path("dir/sub/x")).unwrap()
    }),
    ("a link's text", &["dir/link Target"], |files| {
        fs::remove_file(files.path("dir/link")).unwrap();
        files.symlink("dir/link", "sub");
    }),
    ("a link in place of a file", &["dir/file Sort"], |files| {
        fs::remove_file(files.path("dir/file")).unwrap();
        files.symlink("dir/file", "file");
    }),
    ("an attribute", &["dir/file Attributes"], |files| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(files.path("dir/file"), "user.a", b"1", flags).unwrap();
    }),
    ("one file under two names", &["dir/twin Links"], |files| {
        fs::remove_file(files.path("dir/twin")).unwrap();
        fs::hard_link(files.path("dir/file"), files.path("dir/twin")).unwrap();
    }),
    ("modification times", &[], |files| {
        for name in ["dir/file", "dir/sub", "dir"] {
            fs::File::open(files.path(name)).unwrap().set_modified(UNIX_EPOCH).unwrap();
        }
    }),
    ("the mode of the copied directory", &[], |files| files.mode("dir", 0o700)),
    ("what is beside", &[], |files| files.write("beside", "changed")),
    ("a socket", &[], |files| {
        drop(std::os::unix::net::UnixListener::bind(files.path("dir/socket")).unwrap());
    }),
    ("the same content written again", &[], |files| {
        fs::remove_file(files.path("dir/file")).unwrap();
        files.write("dir/file", "dir/file");
        files.mode("dir/file", 0o644);
    }),
    ("the context's owners", &[], |files| {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(files.path("dir/file"), Some(1), Some(2)).unwrap();
        } else {
            kiln_testkit::skipped("only root can give files away");
        }
    }),
];

#[test]
fn the_digest_covers_what_is_copied() {
    for (what, expected, change) in CHANGES {
        let files = Files::new(&["dir/file", "dir/sub/x", "beside"]);
        files.write("dir/twin", "dir/file");
        files.symlink("dir/link", "file");
        for name in ["dir/file", "dir/twin", "dir/sub/x"] {
            files.mode(name, 0o644);
        }
        let selection = || select(&files.tree(), &copy("/dir", "/")).unwrap();
        let before = selection();
        assert_eq!(selection().digest(), before.digest(), "the same twice");
        change(&files);
        let after = selection();
        assert_eq!(after.digest() == before.digest(), expected.is_empty(), "{what}");
        assert_eq!(told(&before, &after, &copy("/dir", "/")), *expected, "{what}");
    }
}

/// What people are told of two selections, in short.
fn told(before: &Selection, after: &Selection, copy: &CopyOp) -> Vec<String> {
    let listing = |selection| {
        let listing = Listing::of_selection(selection, copy);
        // As it comes back from the store.
        assert_eq!(Listing::decode(&listing.encode().unwrap()), Some(listing.clone()));
        listing
    };
    let word = |changed: &Changed| match changed {
        Changed::Added => "Added",
        Changed::Removed => "Removed",
        Changed::Sort { .. } => "Sort",
        Changed::Content { .. } => "Content",
        Changed::Mode { .. } => "Mode",
        Changed::Owner { .. } => "Owner",
        Changed::Target { .. } => "Target",
        Changed::Links => "Links",
        Changed::Attributes => "Attributes",
        Changed::Device => "Device",
    };
    let line = |change: &account::Change| {
        let words: Vec<_> = change.what.iter().map(word).collect();
        format!("{} {}", change.path, words.join(" "))
    };
    changes(&listing(before), &listing(after)).iter().map(line).collect()
}

/// What the op itself gives is not read, and so is no part of the digest.
#[test]
fn the_digest_leaves_out_what_the_op_overrides() {
    let layers = Layers::new();
    let with = |mode, uid, gid, mtime: i64| {
        let layer = layers.layer(&[], |writer| {
            let content = crate::layer::Content::Bytes(b"x");
            let time = Mtime { secs: mtime, nanos: 0 };
            writer.file(b"dir/file", &meta(mode, uid, gid), time, content).unwrap();
            put_link(writer, "dir/link", "file");
        });
        layers.view(&[layer])
    };
    let plain = copy("/dir", "/");
    let owned = CopyOp { owner: Some(OwnerSpec("5".to_owned())), ..plain.clone() };
    let fixed = CopyOp { mode: Some(ModeSpec::Octal(0o600)), ..plain.clone() };
    let symbolic = CopyOp { mode: Some(ModeSpec::Symbolic("u+x".to_owned())), ..plain.clone() };
    let base = with(0o644, 1, 2, 0);
    for (what, other, expected) in [
        ("user", with(0o644, 9, 2, 0), [Move, Stay, Move, Move]),
        ("group", with(0o644, 1, 9, 0), [Move, Stay, Move, Move]),
        ("mode", with(0o600, 1, 2, 0), [Move, Move, Stay, Move]),
        ("time", with(0o644, 1, 2, 9), [Stay, Stay, Stay, Stay]),
    ] {
        for (op, expected) in [&plain, &owned, &fixed, &symbolic].into_iter().zip(expected) {
            let (before, after) = (select(&base, op).unwrap(), select(&other, op).unwrap());
            let moved = if before.digest() == after.digest() { Stay } else { Move };
            assert_eq!(moved, expected, "{what} {op:?}");
            assert_eq!(told(&before, &after, op).is_empty(), moved == Stay, "{what} {op:?}");
        }
    }
}

#[test]
fn a_single_files_name_counts_and_a_directorys_does_not() {
    let files = Files::new(&[]);
    for name in ["a", "b", "d/x", "e/x"] {
        files.write(name, "same");
    }
    let digest = |source| select(&files.tree(), &copy(source, "/")).unwrap().digest();
    assert_ne!(digest("/a"), digest("/b"));
    assert_eq!(digest("/d"), digest("/e"));
    assert_ne!(digest("/d"), digest("/d/x"));
    assert_ne!(digest("/no*"), digest("/d"));
}

#[test]
fn files_alone_may_be_archives() {
    let layers = Layers::new();
    let layer = layers.layer(&[], |writer| {
        put_file_as(writer, "dir/a.tar", "x", &meta(0o600, 1, 1));
        put_link(writer, "link.tar", "dir/a.tar");
    });
    let view = layers.view(&[layer]);
    let file = |source| {
        let selection = select(&view, &copy(source, "/")).unwrap();
        selection.roots()[0].file().map(|file| file.source().to_vec())
    };
    assert_eq!(file("/link.tar"), Some(b"dir/a.tar".to_vec()));
    assert_eq!(file("/dir"), None);
}

/// A tree whose names stand for something else by the time they are read.
struct Swapped<'a>(&'a LocalTree);

impl SourceTree for Swapped<'_> {
    fn peek(&self, path: &[u8]) -> Result<Option<Peek>, SelectError> {
        self.0.peek(path)
    }

    fn entry(&self, path: &[u8]) -> Result<Option<Found>, SelectError> {
        self.0.entry(path)
    }

    fn list(
        &self,
        dir: &[u8],
        want: &mut dyn FnMut(&[u8], Kind) -> bool,
    ) -> Result<Listed, SelectError> {
        self.0.list(dir, &mut |name, kind| {
            want(name, if kind == Kind::Dir { Kind::Other } else { Kind::Dir })
        })
    }

    fn open(&self, path: &[u8]) -> Result<fs::File, SelectError> {
        self.0.open(path)
    }

    fn is_mutable(&self) -> bool {
        true
    }
}

#[test]
fn a_directory_that_comes_or_goes_meanwhile_is_a_change() {
    for name in ["file", "dir/file"] {
        let files = Files::new(&[name]);
        let error = select(&Swapped(&files.tree()), &copy("/", "/")).unwrap_err();
        assert!(matches!(error, SelectError::Changed { .. }), "{name}: {error:?}");
    }
}
