//! Where copied things land, whose they are, and what is refused.

use std::fs;

use kiln_ir::{Digest, ModeSpec};

use super::*;
use crate::layer::AHEAD_MIN_BYTES;
use crate::select::fixture::{Files, Layers, copy, meta, put_dir, put_file, put_file_as, put_link};
use crate::select::select;

const NOW: Mtime = Mtime { secs: 1_000, nanos: 0 };

/// A base layer with a bit of everything, and what is put on it.
struct Bench {
    layers: Layers,
    base: Digest,
}

impl Bench {
    fn new() -> Self {
        Self::on(|writer| {
            put_file(writer, "etc/passwd", "root:x:0:0::/:/bin/sh\nkiln:x:7:8::/:\nbroken:x:7\n");
            put_file(writer, "etc/group", "root:x:0:\nmakers:x:9:kiln\n");
            put_dir(writer, "opt", &meta(0o700, 3, 4));
            put_file(writer, "opt/file", "old");
            put_dir(writer, "data/dir", &meta(0o755, 0, 0));
            put_link(writer, "link", "opt");
            put_link(writer, "far", "/data/../made/later");
            put_link(writer, "loop", "loop");
            put_link(writer, "data/link", "/opt");
            put_link(writer, "data/to-file", "../opt/file");
        })
    }

    fn on(write: impl FnOnce(&mut LayerWriter)) -> Self {
        let layers = Layers::new();
        let base = layers.layer(&[], write);
        Self { layers, base }
    }

    /// Does `change` and tells all that the new layer has, but for the directories it lies in.
    fn change(
        &self,
        change: impl FnOnce(&mut Target<'_>) -> Result<(), SelectError>,
    ) -> Result<Vec<String>, SelectError> {
        let base = self.layers.view(&[self.base]);
        let mut writer = self.layers.store.writer(&[self.base])?;
        change(&mut Target::new(&base, &mut writer, NOW))?;
        let layer = writer.finish()?;
        let manifest = self.layers.store.manifest(&layer)?;
        let view = self.layers.view(&[self.base, layer]);
        let changed = manifest.entries().iter().filter(|entry| match base.lookup(&entry.path) {
            Some(before) => !entry.is_dir() || before.entry.meta != entry.meta,
            None => true,
        });
        Ok(changed.map(|entry| describe(&view, &entry.path)).collect())
    }

    fn copy(&self, files: &Files, op: &CopyOp) -> Result<Vec<String>, SelectError> {
        let tree = files.tree();
        self.change(|target| write_selection(&select(&tree, op)?, &tree, op, target))
    }

    fn check(&self, files: &Files, op: &CopyOp, expected: &[&str]) {
        assert_eq!(self.copy(files, op).unwrap(), expected, "{op:?}");
    }
}

fn describe(view: &View, path: &[u8]) -> String {
    let found = view.lookup(path).unwrap();
    let Meta { mode, uid, gid, .. } = found.entry.meta;
    let what = match &found.entry.node {
        Node::Dir { .. } => "/".to_owned(),
        Node::File { .. } => {
            format!("={}", String::from_utf8(view.read_small(path, 99).unwrap().unwrap()).unwrap())
        }
        Node::Symlink { target } => return format!("{} -> {}", text(path), text(target)),
        Node::Hardlink { to } => return format!("{} == {}", text(path), text(to)),
        Node::CharDevice { .. }
        | Node::BlockDevice { .. }
        | Node::Fifo
        | Node::Socket
        | Node::Whiteout => format!("{:?}", found.entry.node),
    };
    format!("{} {mode:o} {uid}:{gid} {what}", text(path))
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn files() -> Files {
    let files = Files::new(&["file", "dir/a", "dir/sub/b"]);
    for (name, mode) in
        [("file", 0o644), ("dir/a", 0o755), ("dir/sub", 0o775), ("dir/sub/b", 0o600)]
    {
        files.mode(name, mode);
    }
    files
}

#[test]
fn destinations() {
    let bench = Bench::new();
    let files = files();
    let a = [
        "new 755 0:0 /",
        "new/a 755 0:0 =dir/a",
        "new/sub 775 0:0 /",
        "new/sub/b 600 0:0 =dir/sub/b",
    ];
    for (source, dest, expected) in [
        ("/file", "/new", &["new 644 0:0 =file"][..]),
        ("/file", "/new/", &["new 755 0:0 /", "new/file 644 0:0 =file"]),
        ("/file", "/x/y/new", &["x 755 0:0 /", "x/y 755 0:0 /", "x/y/new 644 0:0 =file"]),
        ("/file", "/opt", &["opt/file 644 0:0 =file"]),
        ("/file", "/opt/file", &["opt/file 644 0:0 =file"]),
        ("/file", "/", &["file 644 0:0 =file"]),
        ("/file", "/link", &["opt/file 644 0:0 =file"]),
        ("/file", "/data/link/x", &["opt/x 644 0:0 =file"]),
        ("/file", "/data/to-file", &["opt/file 644 0:0 =file"]),
        ("/file", "/far", &["made 755 0:0 /", "made/later 644 0:0 =file"]),
        (
            "/file",
            "/far/",
            &["made 755 0:0 /", "made/later 755 0:0 /", "made/later/file 644 0:0 =file"],
        ),
        ("/dir", "/new", &a),
        ("/dir", "/new/", &a),
        (
            "/dir",
            "/opt",
            &["opt/a 755 0:0 =dir/a", "opt/sub 775 0:0 /", "opt/sub/b 600 0:0 =dir/sub/b"],
        ),
        ("/d*/*", "/new/", &["new 755 0:0 /", "new/a 755 0:0 =dir/a", "new/b 600 0:0 =dir/sub/b"]),
        ("/no*", "/new/", &[]),
    ] {
        bench.check(&files, &copy(source, dest), expected);
    }
}

#[test]
fn what_is_refused() {
    let bench = Bench::new();
    let files =
        Files::new(&["file", "dir/opt/x", "over/data/dir", "under/opt/file/x", "link/data/link/x"]);
    for (source, dest, message) in [
        ("/file", "/etc/passwd/x", "`/etc/passwd` is not a directory"),
        ("/file", "/etc/passwd/", "`/etc/passwd` is not a directory"),
        ("/file", "/data/to-file/x", "`/opt/file` is not a directory"),
        ("/file", "/loop", "too many"),
        ("/dir", "/etc/passwd", "cannot copy a directory over `/etc/passwd`"),
        ("/over", "/", "cannot replace the directory `/data/dir` with a file"),
        ("/under", "/", "cannot copy a directory over `/opt/file`"),
        ("/link", "/", "cannot copy a directory over `/data/link`"),
    ] {
        let error = bench.copy(&files, &copy(source, dest)).unwrap_err().to_string();
        assert!(error.contains(message), "{source} {dest}: {error}");
    }
}

#[test]
fn directories_are_merged_and_links_in_the_way_replaced() {
    let bench = Bench::new();
    let files = Files::new(&["src/opt/file", "src/data/link"]);
    for (name, mode) in [("src/opt", 0o750), ("src/opt/file", 0o644), ("src/data/link", 0o644)] {
        files.mode(name, mode);
    }
    files.mode("src/data", 0o755);
    bench.check(
        &files,
        &copy("/src", "/"),
        &["data/link 644 0:0 =src/data/link", "opt 750 0:0 /", "opt/file 644 0:0 =src/opt/file"],
    );
}

#[test]
fn of_several_matches_the_later_counts() {
    let bench = Bench::new();
    let files = Files::new(&["a/x", "b/x", "c/x/y"]);
    for name in ["a/x", "b/x", "c/x/y"] {
        files.mode(name, 0o644);
    }
    bench.check(&files, &copy("/[ab]/x", "/new"), &["new 644 0:0 =b/x"]);
    let error = bench.copy(&files, &copy("/*/x*", "/new")).unwrap_err();
    assert!(matches!(error, SelectError::DirectoryOverFile { .. }));
    // A further name keeps the content that a later match replaces under the first.
    fs::hard_link(files.path("a/x"), files.path("a/z")).unwrap();
    bench.check(
        &files,
        &copy("/[ab]", "/new"),
        &["new 755 0:0 /", "new/x 644 0:0 =b/x", "new/z 644 0:0 =a/x"],
    );
}

/// What one match made is there for the next one, also what the first one did not have to look for.
#[test]
fn a_later_match_respects_the_directories_of_an_earlier_one() {
    let bench = Bench::new();
    let files = Files::new(&["a/new/sub/x", "b/new/sub"]);
    let error = bench.copy(&files, &copy("/[ab]", "/made")).unwrap_err();
    assert!(matches!(error, SelectError::FileOverDirectory { .. }), "{error}");
    let files = Files::new(&["a/new/sub", "b/new/sub/x"]);
    let error = bench.copy(&files, &copy("/[ab]", "/made")).unwrap_err();
    assert!(matches!(error, SelectError::DirectoryOverFile { .. }), "{error}");
}

#[test]
fn owners_and_modes() {
    let bench = Bench::new();
    let files = files();
    files.mode("file", 0o4711);
    let op = |owner: &str, mode: Option<ModeSpec>| CopyOp {
        owner: Some(OwnerSpec(owner.to_owned())).filter(|spec| !spec.0.is_empty()),
        mode,
        ..copy("/file", "/new/")
    };
    for (owner, expected) in [
        ("12", "12:12"),
        ("12:34", "12:34"),
        ("kiln", "7:8"),
        ("kiln:", "7:8"),
        ("kiln:makers", "7:9"),
        ("12:makers", "12:9"),
        ("kiln:5", "7:5"),
        (":makers", "0:9"),
    ] {
        let lines = [format!("new 755 {expected} /"), format!("new/file 4711 {expected} =file")];
        assert_eq!(bench.copy(&files, &op(owner, None)).unwrap(), lines, "{owner}");
    }
    let symbolic = |text: &str| Some(ModeSpec::Symbolic(text.to_owned()));
    for (mode, dir, file) in [
        (None, "755", "4711"),
        (Some(ModeSpec::Octal(0o640)), "640", "640"),
        (Some(ModeSpec::Octal(0o2755)), "2755", "2755"),
        (symbolic("go-x"), "755", "4700"),
        (symbolic("a=rX"), "755", "555"),
    ] {
        let lines = [format!("new {dir} 0:0 /"), format!("new/file {file} 0:0 =file")];
        assert_eq!(bench.copy(&files, &op("", mode)).unwrap(), lines);
    }
    let tree = CopyOp { mode: symbolic("u=rwX,go="), ..copy("/dir", "/new") };
    let expected = [
        "new 755 0:0 /",
        "new/a 700 0:0 =dir/a",
        "new/sub 700 0:0 /",
        "new/sub/b 600 0:0 =dir/sub/b",
    ];
    bench.check(&files, &tree, &expected);
}

#[test]
fn unknown_owners_are_refused() {
    let bench = Bench::new();
    for (owner, what, nearest) in [("klin", "user", "kiln"), ("0:maker", "group", "makers")] {
        let op = CopyOp { owner: Some(OwnerSpec(owner.to_owned())), ..copy("/file", "/new") };
        let error = bench.copy(&files(), &op).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.hints(), [format!("did you mean `{nearest}`?")]);
    }
    let broken = CopyOp { owner: Some(OwnerSpec("broken".to_owned())), ..copy("/file", "/new") };
    assert!(bench.copy(&files(), &broken).is_err());
    let empty = Bench::on(|_| ());
    let named = CopyOp { owner: Some(OwnerSpec("root".to_owned())), ..copy("/file", "/new") };
    assert!(empty.copy(&files(), &named).is_err());
}

#[test]
fn a_stage_keeps_owners_links_and_attributes() {
    let bench = Bench::new();
    let attributes = [(b"user.note".to_vec(), b"v".to_vec())];
    let stage = bench.layers.layer(&[], |writer| {
        let meta = Meta { xattrs: attributes.clone().into(), ..meta(0o6755, 5, 6) };
        put_file_as(writer, "bin/tool", "tool", &meta);
        writer.hardlink(b"bin/twin", b"bin/tool").unwrap();
        put_link(writer, "bin/link", "/nowhere");
        writer.special(b"bin/null", &Node::CharDevice { major: 1, minor: 3 }, &meta, NOW).unwrap();
        put_dir(writer, "bin/opt", &Meta { xattrs: attributes.clone().into(), ..meta.clone() });
    });
    let tree = bench.layers.view(&[stage]);
    let op = copy("/bin", "/");
    let lines = bench.change(|target| {
        write_selection(&select(&tree, &op)?, &tree, &op, target)?;
        let (_, meta, _) = target.writer.get(b"opt").unwrap();
        assert_eq!(meta.xattrs, attributes.clone().into());
        Ok(())
    });
    let device = "null 6755 5:6 CharDevice { major: 1, minor: 3 }";
    let expected =
        ["link -> /nowhere", device, "opt 6755 5:6 /", "tool 6755 5:6 =tool", "twin == tool"];
    assert_eq!(lines.unwrap(), expected);
}

#[test]
fn times_are_kept_and_given() {
    let bench = Bench::new();
    let files = files();
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(77);
    for name in ["dir/a", "dir/sub"] {
        fs::File::open(files.path(name)).unwrap().set_modified(then).unwrap();
    }
    let tree = files.tree();
    let op = copy("/dir", "/new/deep");
    let times = bench.change(|target| {
        write_selection(&select(&tree, &op)?, &tree, &op, target)?;
        let time = |path: &str| target.writer.get(path.as_bytes()).unwrap().2.secs;
        assert_eq!(
            ["new", "new/deep", "new/deep/a", "new/deep/sub"].map(time),
            [1000, 1000, 77, 77]
        );
        Ok(())
    });
    times.unwrap();
}

#[test]
fn what_changed_since_it_was_selected_is_refused() {
    let bench = Bench::new();
    let files = files();
    let tree = files.tree();
    let op = copy("/dir", "/new");
    let result = bench.change(|target| {
        let selection = select(&tree, &op)?;
        files.write("dir/sub/b", "dir/sub/B");
        write_selection(&selection, &tree, &op, target)
    });
    assert!(matches!(result, Err(SelectError::Cache(CacheError::Changed { .. }))), "{result:?}");
    let gone = bench.change(|target| {
        let selection = select(&tree, &op)?;
        fs::remove_file(files.path("dir/a")).unwrap();
        files.symlink("dir/a", "sub/b");
        write_selection(&selection, &tree, &op, target)
    });
    assert!(gone.unwrap_err().to_string().contains("dir/a"));
}

/// A large file that was copied while it was selected.
#[test]
fn what_was_copied_ahead_is_taken_if_it_has_not_changed() {
    let bench = Bench::new();
    let files = Files::new(&[]);
    files.write("large", &"x".repeat(AHEAD_MIN_BYTES as usize));
    let tree = files.tree();
    let op = copy("/large", "/new");
    let selection = || {
        let selection = select(&tree.copying_ahead(&bench.layers.store, &|_| true), &op).unwrap();
        let ahead = selection.entries().next().unwrap().found.ahead.clone().unwrap();
        (selection, ahead)
    };
    let write = |selected: &Selection| {
        let mut writer = bench.layers.store.writer(&[bench.base])?;
        let base = bench.layers.view(&[bench.base]);
        write_selection(selected, &tree, &op, &mut Target::new(&base, &mut writer, NOW))
    };
    let (selected, ahead) = selection();
    write(&selected).unwrap();
    assert!(ahead.is_taken());
    let (selected, ahead) = selection();
    files.write("large", &"y".repeat(AHEAD_MIN_BYTES as usize));
    let error = write(&selected).unwrap_err();
    assert!(matches!(error, SelectError::Cache(CacheError::Changed { .. })), "{error:?}");
    assert!(!ahead.is_taken(), "it is not of the file as it is");
}

#[test]
fn parents_land_below_the_destination() {
    let bench = Bench::new();
    let files = Files::new(&["a/b/file"]);
    files.mode("a/b", 0o711);
    files.mode("a/b/file", 0o644);
    let op = |source, pattern: &str| CopyOp {
        include: vec![pattern.to_owned()],
        ..copy(source, "/new/")
    };
    let expected =
        ["new 755 0:0 /", "new/a 755 0:0 /", "new/a/b 711 0:0 /", "new/a/b/file 644 0:0 =a/b/file"];
    for pattern in ["a/b/file", "a/b", "a/*", "a/b/*"] {
        bench.check(&files, &op("/", pattern), &expected);
    }
    bench.check(
        &files,
        &op("/a", "b/file"),
        &["new 755 0:0 /", "new/b 711 0:0 /", "new/b/file 644 0:0 =a/b/file"],
    );
}

#[test]
fn directories_and_files_by_themselves() {
    let bench = Bench::new();
    let path = |path: &str| GuestPath::new(path).unwrap();
    let owner = Some(OwnerSpec("kiln".to_owned()));
    let dir =
        |text: &str| FileAction::Mkdir { path: path(text), mode: 0o750, owner: owner.clone() };
    let file = |text: &str| FileAction::Mkfile {
        path: path(text),
        mode: 0o644,
        owner: owner.clone(),
        content: b"here".to_vec(),
    };
    for (action, expected) in [
        (dir("/work/deep"), &["work 750 7:8 /", "work/deep 750 7:8 /"][..]),
        (dir("/opt"), &[]),
        (dir("/link"), &[]),
        (dir("/data/link/sub"), &["opt/sub 750 7:8 /"]),
        (file("/here"), &["here 644 7:8 =here"]),
        (file("/data/to-file"), &["opt/file 644 7:8 =here"]),
        (file("/new/here"), &["new 755 0:0 /", "new/here 644 7:8 =here"]),
    ] {
        let lines = bench.change(|target| apply_file_action(&action, target).map(|_| ()));
        assert_eq!(lines.unwrap(), expected, "{action:?}");
    }
    for action in [dir("/opt/file"), dir("/opt/file/x"), file("/opt"), file("/opt/file/x")] {
        let result = bench.change(|target| apply_file_action(&action, target).map(|_| ()));
        assert!(result.is_err(), "{action:?}");
    }
    let copied = FileAction::Copy(copy("/file", "/"));
    bench
        .change(|target| {
            assert!(apply_file_action(&copied, target)?.is_some());
            Ok(())
        })
        .unwrap();
}

/// An ADD that unpacks to `dest`.
fn unpack(
    bench: &Bench,
    dest: &str,
    entries: impl FnOnce(&mut Unpack<'_, '_>) -> Result<(), SelectError>,
) -> Result<Vec<String>, SelectError> {
    bench.change(|target| entries(&mut Unpack::new(&copy("/x.tar", dest), target)?))
}

fn unpack_file(unpack: &mut Unpack<'_, '_>, path: &str, content: &str) -> Result<(), SelectError> {
    let content = Content::Bytes(content.as_bytes());
    unpack.file(path.as_bytes(), &meta(0o600, 1, 2), NOW, content)
}

#[test]
fn archives_land_below_their_destination() {
    let bench = Bench::new();
    let lines = unpack(&bench, "/data/link/in", |archive| {
        archive.dir(b"./", &meta(0o700, 1, 1), NOW)?;
        archive.dir(b"d/", &meta(0o711, 1, 1), NOW)?;
        unpack_file(archive, "d/f", "f")?;
        unpack_file(archive, "/made/f", "g")?;
        archive.symlink(b"l", b"/d", &meta(0o777, 1, 1), NOW)?;
        unpack_file(archive, "l/through", "h")?;
        archive.dir(b"l", &meta(0o755, 1, 1), NOW)?;
        archive.hardlink(b"h", b"l/f")
    });
    let expected = [
        "opt/in 755 0:0 /",
        "opt/in/d 755 1:1 /",
        "opt/in/d/f 600 1:2 =f",
        "opt/in/d/through 600 1:2 =h",
        "opt/in/h == opt/in/d/f",
        "opt/in/l -> /d",
        "opt/in/made 755 0:0 /",
        "opt/in/made/f 600 1:2 =g",
    ];
    assert_eq!(lines.unwrap(), expected);
}

#[test]
fn archives_cannot_leave_their_destination() {
    let bench = Bench::new();
    for path in ["../x", "a/../../x", "..", "d/.."] {
        let result = unpack(&bench, "/data", |archive| unpack_file(archive, path, ""));
        assert!(matches!(result, Err(SelectError::Escape { .. })), "{path}: {result:?}");
        let link = unpack(&bench, "/data", |archive| archive.hardlink(b"h", path.as_bytes()));
        assert!(matches!(link, Err(SelectError::Escape { .. })), "{path}: {link:?}");
    }
    // Links are followed, those of the base too, and always from the destination.
    let lines = unpack(&bench, "/data", |archive| {
        archive.symlink(b"up", b"../../../..", &meta(0o777, 0, 0), NOW)?;
        unpack_file(archive, "up/etc/passwd", "mine")?;
        unpack_file(archive, "link/f", "f")?;
        unpack_file(archive, "to-file", "replaced")
    });
    let expected = [
        "data/etc 755 0:0 /",
        "data/etc/passwd 600 1:2 =mine",
        "data/opt 755 0:0 /",
        "data/opt/f 600 1:2 =f",
        "data/to-file 600 1:2 =replaced",
        "data/up -> ../../../..",
    ];
    assert_eq!(lines.unwrap(), expected);
    let below_file = unpack(&bench, "/", |archive| unpack_file(archive, "opt/file/x", ""));
    assert!(matches!(below_file, Err(SelectError::NotADirectory { .. })), "{below_file:?}");
    let hard = unpack(&bench, "/data", |archive| archive.hardlink(b"h", b"dir"));
    assert!(hard.is_err());
}

#[test]
fn what_an_archive_replaces_does_not_come_back() {
    let bench = Bench::new();
    let base = bench.layers.view(&[bench.base]);
    let mut writer = bench.layers.store.writer(&[bench.base]).unwrap();
    let mut target = Target::new(&base, &mut writer, NOW);
    let mut archive = Unpack::new(&copy("/x.tar", "/"), &mut target).unwrap();
    unpack_file(&mut archive, "data", "a file for once").unwrap();
    archive.dir(b"data", &meta(0o755, 0, 0), NOW).unwrap();
    unpack_file(&mut archive, "data/new", "n").unwrap();
    archive.dir(b"opt", &meta(0o755, 0, 0), NOW).unwrap();
    let layer = writer.finish().unwrap();
    let view = bench.layers.view(&[bench.base, layer]);
    let names = |dir: &str| {
        view.children(dir.as_bytes()).iter().map(|c| text(c.entry.name())).collect::<Vec<_>>()
    };
    assert_eq!(names("data"), ["new"]);
    assert_eq!(names("opt"), ["file"]);
}

#[test]
fn archives_take_the_ops_owner_and_keep_their_modes() {
    let bench = Bench::new();
    let op = CopyOp {
        owner: Some(OwnerSpec("kiln".to_owned())),
        mode: Some(ModeSpec::Octal(0o700)),
        ..copy("/x.tar", "/new/")
    };
    let lines = bench.change(|target| {
        let mut archive = Unpack::new(&op, target)?;
        archive.dir(b"d", &meta(0o755, 1, 1), NOW)?;
        archive.special(b"p", &Node::Fifo, &meta(0o644, 1, 1), NOW)?;
        unpack_file(&mut archive, "f", "f")
    });
    let expected = ["new 755 7:8 /", "new/d 755 7:8 /", "new/f 600 7:8 =f", "new/p 644 7:8 Fifo"];
    assert_eq!(lines.unwrap(), expected);
}
