//! Accounts and lists: there and back, hostile bytes; and for each thing that an action is made of, changed one at
//! a time: whether the key moves, and that exactly this thing is named when it does.

use std::collections::BTreeMap;

use kiln_ir::{
    CopyOp, ExecOp, FileAction, FileOp, GitSource, GuestPath, HttpSource, ImageSource, ModeSpec,
    MountAccess, MountKind, NetworkMode, Op, OwnerSpec, SecretUse, SecurityMode, SourceOp,
    VertexMeta,
};
use proptest::prelude::*;

use super::*;
use crate::key::tests::{
    bind, changed, copy, device, exec, host, image, mkdir, mkfile, mount, path, secret, ssh,
};
use crate::key::{derive, reads};
use crate::tree::{Entry, Manifest, Meta, Mtime, Node};

/// Seals nothing but what is called `TOKEN`, by its length.
const OPEN: Discretion<'_> = Discretion {
    is_secret: &|name| name == "TOKEN",
    seal: &|value| Digest::of(&[u8::try_from(value.len()).unwrap_or(0)]),
    is_argument: &|name| name == "VERSION",
};

fn vertex(op: Op) -> Vertex {
    Vertex { op, inputs: Vec::new(), meta: VertexMeta::default() }
}

fn digests(op: &Op) -> Vec<Digest> {
    let vertex = vertex(op.clone());
    let reads = reads(&vertex, &|_| false);
    (0..reads.len()).map(|index| Digest::of(&[u8::try_from(index).unwrap()])).collect()
}

fn account(op: &Op) -> Account {
    let vertex = vertex(op.clone());
    let reads = reads(&vertex, &|_| false);
    let taken = reads.iter().zip(digests(op)).map(|(read, digest)| Taken::of(read, digest, None));
    Account::of(&vertex, taken.collect(), OPEN)
}

/// What is said to differ, as short texts.
fn told(was: &Op, is: &Op) -> Vec<String> {
    let text = |shown: &Option<Shown>| match shown {
        None => "absent".to_owned(),
        Some(Shown::Nothing) => "nothing".to_owned(),
        Some(Shown::Text(text)) => text.clone(),
        Some(Shown::List(texts)) => texts.join(" "),
        Some(Shown::Long { size_bytes, .. }) => format!("{size_bytes} bytes"),
        Some(Shown::Sealed(_)) => "sealed".to_owned(),
    };
    let line = |difference: Difference<TakenPair>| match difference {
        Difference::Field { what, name, aspect, was, is } => {
            let label = [what, name, aspect].join(" ");
            let label = label.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("{label}: {} -> {}", text(&was), text(&is))
        }
        Difference::Order { what } => format!("{what}: order"),
        Difference::Read(TakenPair { was, is }) => {
            let name = |taken: Option<Taken>| taken.map_or("absent".to_owned(), |taken| taken.name);
            format!("read {} -> {}", name(was), name(is))
        }
    };
    account(is).compare(&account(was)).into_iter().map(line).collect()
}

fn key(op: &Op) -> CacheKey {
    derive(op, &digests(op))
}

/// Checks that a change moves the key, and is named as `expected` and by nothing else.
fn check(was: &Op, rows: Vec<(Op, &[&str])>) {
    let mut keys = BTreeMap::from([(key(was), "as it was".to_owned())]);
    for (is, expected) in rows {
        assert_eq!(told(was, &is), expected, "{is:?}");
        if let Some(same) = keys.insert(key(&is), expected.join(", ")) {
            panic!("`{}` has the key of `{same}`", expected.join(", "));
        }
    }
}

/// Checks that changes leave the key, and that nothing is said to differ.
fn check_silent(was: &Op, rows: Vec<Op>) {
    for is in rows {
        assert_ne!(*was, is);
        assert_eq!(key(was), key(&is), "{is:?}");
        assert_eq!(told(was, &is), Vec::<String>::new(), "{is:?}");
    }
}

#[test]
fn each_part_of_a_command_is_named_when_it_moves_the_key() {
    let base = Op::Exec(ExecOp { mounts: Vec::new(), ..exec() });
    let Op::Exec(plain) = &base else { unreachable!("it was just made") };
    let with = |change: &dyn Fn(&mut ExecOp)| Op::Exec(changed(plain, change));
    let variable =
        |name: &str, value: &str| with(&|op| op.env.push((name.to_owned(), value.to_owned())));
    check(
        &base,
        vec![
            (with(&|op| op.args[2].push('x')), &["command: /bin/sh -c make -> /bin/sh -c makex"]),
            (with(&|op| op.env[1].1 = "gcc".to_owned()), &["variable CC: cc -> gcc"]),
            (variable("NEW", "1"), &["variable NEW: absent -> 1"]),
            (variable("VERSION", "2"), &["build argument VERSION: absent -> 2"]),
            (variable("TOKEN", "s3cret"), &["variable TOKEN: absent -> sealed"]),
            (with(&|op| drop(op.env.remove(1))), &["variable CC: cc -> absent"]),
            (with(&|op| op.env.reverse()), &["variable: order"]),
            (with(&|op| op.cwd = path("/")), &["working directory: /src -> /"]),
            (with(&|op| op.user.clear()), &["user: builder -> "]),
            (with(&|op| op.hostname = Some("h".to_owned())), &["host name: nothing -> h"]),
            (with(&|op| op.network = NetworkMode::None), &["network: default -> none"]),
            (with(&|op| op.network = NetworkMode::Host), &["network: default -> host"]),
            (with(&|op| op.security = SecurityMode::Insecure), &["security: sandbox -> insecure"]),
            (
                with(&|op| op.devices.push(device("v/c=a", false))),
                &["device v/c=a: absent -> v/c=a"],
            ),
            (with(&|op| op.extra_hosts.push(host("db", "1.1.1.1"))), &["host db: absent -> db"]),
        ],
    );
    check_silent(
        &base,
        vec![with(&|op| op.proxy_env = vec![("HTTP_PROXY".to_owned(), "p".to_owned())])],
    );
    // What is sealed is told apart, and not shown.
    let (one, two) = (variable("TOKEN", "a"), variable("TOKEN", "bc"));
    check(&one, vec![(two, &["variable TOKEN: sealed -> sealed"])]);
    assert!(!account(&variable("TOKEN", "s3cret")).encode().unwrap().contains("s3cret"));
}

#[test]
fn each_part_of_a_mount_is_named_when_it_moves_the_key() {
    let with = |kind: MountKind| Op::Exec(ExecOp { mounts: vec![mount(kind)], ..exec() });
    let read_write = MountAccess::ReadWrite;
    let (input, source) = (1, path("/out"));
    let written = MountKind::Bind { input, source: source.clone(), access: read_write };
    check(
        &with(bind()),
        vec![
            (with(written), &["mount /mnt access: read-only -> read-write"]),
            (
                with(MountKind::Bind { input: 2, source, access: MountAccess::ReadOnly }),
                &["mount /mnt input: 1 -> 2"],
            ),
        ],
    );
    let tmpfs = |size_bytes| with(MountKind::Tmpfs { size_bytes });
    check(&tmpfs(None), vec![(tmpfs(Some(1)), &["mount /mnt size: nothing -> 1"])]);
    let usage = SecretUse { file: true, env: None, uid: 0, gid: 0, mode: 0o400 };
    let secret_with = |usage: SecretUse| {
        with(MountKind::Secret { id: "token".to_owned(), usage, required: false })
    };
    check(
        &with(secret()),
        vec![
            (
                secret_with(SecretUse { env: Some("T".to_owned()), ..usage.clone() }),
                &["mount /mnt variable: nothing -> T"],
            ),
            (
                secret_with(SecretUse { file: false, ..usage.clone() }),
                &["mount /mnt file: yes -> no"],
            ),
            (secret_with(SecretUse { uid: 1, ..usage.clone() }), &["mount /mnt uid: 0 -> 1"]),
            (secret_with(SecretUse { gid: 1, ..usage.clone() }), &["mount /mnt gid: 0 -> 1"]),
            (secret_with(SecretUse { mode: 0o444, ..usage }), &["mount /mnt mode: 0400 -> 0444"]),
        ],
    );
    let ssh_with = |uid, gid, mode| {
        with(MountKind::Ssh { id: "default".to_owned(), uid, gid, mode, required: false })
    };
    check(
        &with(ssh()),
        vec![
            (ssh_with(1, 0, 0o600), &["mount /mnt uid: 0 -> 1"]),
            (ssh_with(0, 1, 0o600), &["mount /mnt gid: 0 -> 1"]),
            (ssh_with(0, 0, 0o666), &["mount /mnt mode: 0600 -> 0666"]),
        ],
    );
    // One that came is named once, not part by part.
    let none = Op::Exec(ExecOp { mounts: Vec::new(), ..exec() });
    check(&none, vec![(with(secret()), &["mount /mnt: absent -> /mnt"])]);
}

#[test]
fn each_part_of_a_change_of_files_is_named_when_it_moves_the_key() {
    let file = |action| Op::File(FileOp { actions: vec![action] });
    let with = |change: &dyn Fn(&mut CopyOp)| file(FileAction::Copy(changed(&copy(), change)));
    let owner = || Some(OwnerSpec("1:2".to_owned()));
    check(
        &with(&|_| {}),
        vec![
            (with(&|op| op.input = 0), &["copy input: 1 -> 0"]),
            (with(&|op| op.dest = path("/usr")), &["copy destination: /usr/src -> /usr"]),
            (with(&|op| op.dest_is_dir = false), &["copy destination is a directory: yes -> no"]),
            (with(&|op| op.owner = owner()), &["copy owner: nothing -> 1:2"]),
            (with(&|op| op.mode = Some(ModeSpec::Octal(0o600))), &["copy mode: absent -> 0600"]),
            (
                with(&|op| op.mode = Some(ModeSpec::Symbolic("u+x".to_owned()))),
                &["copy mode: absent -> u+x"],
            ),
            (with(&|op| op.unpack = true), &["copy unpacking: no -> yes"]),
        ],
    );
    check_silent(
        &with(&|_| {}),
        vec![
            with(&|op| op.source = "/lib/*.c".to_owned()),
            with(&|op| op.wildcard = false),
            with(&|op| op.required = false),
            with(&|op| op.include.push("*.h".to_owned())),
            with(&|op| op.exclude.clear()),
            with(&|op| op.ignore.clear()),
        ],
    );
    let dir = |mode, owner| file(FileAction::Mkdir { path: path("/srv"), mode, owner });
    check(
        &file(mkdir()),
        vec![
            (dir(0o700, None), &["directory /srv mode: 0755 -> 0700"]),
            (dir(0o755, owner()), &["directory /srv owner: nothing -> 1:2"]),
        ],
    );
    let made = |mode, owner, content: &[u8]| {
        let content = content.to_vec();
        file(FileAction::Mkfile { path: path("/hello"), mode, owner, content })
    };
    check(
        &file(mkfile()),
        vec![
            (made(0o755, None, b"hello\n"), &["file /hello mode: 0644 -> 0755"]),
            (made(0o644, owner(), b"hello\n"), &["file /hello owner: nothing -> 1:2"]),
            (made(0o644, None, b"hi"), &["file /hello content: hello\n -> hi"]),
        ],
    );
}

#[test]
fn each_part_of_a_source_is_named_when_it_moves_the_key() {
    let image_with =
        |change: &dyn Fn(&mut ImageSource)| Op::Source(SourceOp::Image(changed(&image(), change)));
    let (one, two) = ("1".repeat(64), "2".repeat(64));
    let expected = format!("image manifest: sha256:{one} -> sha256:{two}");
    check(
        &image_with(&|_| {}),
        vec![(image_with(&|image| image.manifest = format!("sha256:{two}")), &[expected.as_str()])],
    );
    check_silent(
        &image_with(&|_| {}),
        vec![
            image_with(&|image| image.reference = "debian:stable".to_owned()),
            image_with(&|image| image.locator = "mirror.local/debian".to_owned()),
        ],
    );
}

#[test]
fn each_part_of_a_download_or_commit_is_named_when_it_moves_the_key() {
    let http = HttpSource {
        url: "http://a/f".to_owned(),
        checksum: None,
        filename: "f".to_owned(),
        mode: 0o600,
        uid: 0,
        gid: 0,
    };
    let http_with =
        |change: &dyn Fn(&mut HttpSource)| Op::Source(SourceOp::Http(changed(&http, change)));
    check(
        &http_with(&|_| {}),
        vec![
            (
                http_with(&|http| http.url = "http://b/f".to_owned()),
                &["download address: http://a/f -> http://b/f"],
            ),
            (http_with(&|http| http.filename = "g".to_owned()), &["download file name: f -> g"]),
            (http_with(&|http| http.mode = 0o644), &["download mode: 0600 -> 0644"]),
            (http_with(&|http| http.uid = 1), &["download uid: 0 -> 1"]),
            (http_with(&|http| http.gid = 1), &["download gid: 0 -> 1"]),
        ],
    );
    let git = GitSource {
        remote: "https://h/r.git".to_owned(),
        reference: None,
        checksum: None,
        subdir: GuestPath::root(),
        keep_git_dir: false,
        submodules: true,
    };
    let git_with =
        |change: &dyn Fn(&mut GitSource)| Op::Source(SourceOp::Git(changed(&git, change)));
    check(
        &git_with(&|_| {}),
        vec![
            (
                git_with(&|git| git.remote = "https://h/s.git".to_owned()),
                &["repository address: https://h/r.git -> https://h/s.git"],
            ),
            (
                git_with(&|git| git.reference = Some("v1".to_owned())),
                &["repository reference: nothing -> v1"],
            ),
            (
                git_with(&|git| git.checksum = Some("00".to_owned())),
                &["repository checksum: nothing -> 00"],
            ),
            (git_with(&|git| git.subdir = path("/d")), &["repository directory: / -> /d"]),
            (git_with(&|git| git.keep_git_dir = true), &["repository `.git` is kept: no -> yes"]),
            (git_with(&|git| git.submodules = false), &["repository submodules: yes -> no"]),
        ],
    );
}

#[test]
fn what_is_read_is_named_by_its_place() {
    let op = Op::Exec(ExecOp { mounts: vec![mount(bind()), mount(secret())], ..exec() });
    let vertex = vertex(op);
    // Of secrets only those that are to count are read.
    assert_eq!(reads(&vertex, &|_| false).len(), 2);
    let reads = reads(&vertex, &|id| id == "token");
    let with = |contents: [&str; 3]| {
        let taken = reads.iter().zip(contents);
        let taken = taken.map(|(read, text)| Taken::of(read, Digest::of(text.as_bytes()), None));
        Account::of(&vertex, taken.collect(), OPEN)
    };
    let was = with(["root", "bound", "value"]);
    let names: Vec<_> = was.reads.iter().map(|taken| (taken.how, taken.name.as_str())).collect();
    assert_eq!(names, [(How::Root, ""), (How::Bind, "/mnt"), (How::Secret, "token")]);
    for (index, contents) in [
        (0, ["another", "bound", "value"]),
        (1, ["root", "another", "value"]),
        (2, ["root", "bound", "another"]),
    ] {
        let is = with(contents);
        let (was_taken, is_taken) = (was.reads[index].clone(), is.reads[index].clone());
        let pair = TakenPair { was: Some(was_taken), is: Some(is_taken) };
        assert_eq!(is.compare(&was), [Difference::Read(pair)]);
    }
    // A secret that counts from now on is something more that is read.
    let mut fewer = was.clone();
    let secret = fewer.reads.pop();
    let read = |was: &Option<Taken>, is: &Option<Taken>| {
        [Difference::Read(TakenPair { was: was.clone(), is: is.clone() })]
    };
    assert_eq!(was.compare(&fewer), read(&None, &secret));
    assert_eq!(fewer.compare(&was), read(&secret, &None));
}

#[test]
fn what_came_or_went_does_not_move_its_neighbours() {
    let bound = |target: &str, input| {
        let kind = MountKind::Bind { input, source: path("/"), access: MountAccess::ReadOnly };
        kiln_ir::Mount { target: path(target), kind }
    };
    let exec = |mounts| Op::Exec(ExecOp { mounts, ..exec() });
    let one = exec(vec![bound("/a", 1), bound("/b", 2)]);
    let other = exec(vec![bound("/new", 1), bound("/a", 2), bound("/b", 3)]);
    // As a digest in the tests stands for the place in the list, contents move with it.
    let moved = ["read /a -> /a", "read /b -> /b"];
    assert_eq!(told(&one, &other), [&["mount /new: absent -> /new"], &moved[..]].concat());
    assert_eq!(told(&other, &one), [&["mount /new: /new -> absent"], &moved[..]].concat());

    let files = |sources: &[&str]| {
        let copies = sources.iter().map(|source| CopyOp { source: (*source).to_owned(), ..copy() });
        Op::File(FileOp { actions: copies.map(FileAction::Copy).collect() })
    };
    let last = |was: &[&str], is: &[&str]| told(&files(was), &files(is)).pop().unwrap();
    assert_eq!(last(&["x", "y"], &["x", "y", "z"]), "copy z: absent -> nothing");
    assert_eq!(last(&["x", "y", "z"], &["x", "y"]), "copy z: nothing -> absent");
    // A source's name alone is no difference: another one is told of by what it selects.
    assert_eq!(told(&files(&["x", "y"]), &files(&["x", "z"])), Vec::<String>::new());
    assert_eq!(last(&["x"], &["x", "y"]), "copy y: absent -> nothing");
}

#[test]
fn the_nearest_has_the_fewest_differences_then_the_nearest_place_then_the_newest() {
    let with = |change: &dyn Fn(&mut ExecOp)| account(&Op::Exec(changed(&exec(), change)));
    let new = with(&|_| {});
    let user = with(&|op| op.user.clear());
    let both = with(&|op| {
        op.user.clear();
        op.cwd = path("/");
    });
    let command = with(&|op| op.args[2].push('x'));
    let find = |rows: &[(&Account, u64, i64)]| {
        let found = nearest(&new, rows, |row| (row.0, row.1, row.2)).unwrap();
        rows.iter().position(|row| std::ptr::eq(row, found)).unwrap()
    };
    assert_eq!(find(&[(&both, 0, 9), (&user, 3, 1)]), 1);
    assert_eq!(find(&[(&command, 0, 9), (&both, 0, 1)]), 1, "another command weighs more");
    assert_eq!(find(&[(&user, 1, 9), (&user, 0, 1)]), 1);
    assert_eq!(find(&[(&user, 0, 1), (&user, 0, 2)]), 1);
    assert!(nearest(&new, &[], |row: &(Account, u64, i64)| (&row.0, row.1, row.2)).is_none());
}

#[test]
fn an_account_comes_back_as_it_was_and_others_are_passed_over() {
    let mut account = account(&Op::Exec(exec()));
    account.reads[0].from = Some(Giver {
        name: "[1/2] FROM base".to_owned(),
        key: Some(key(&Op::Merge)),
        top: Some(Digest::of(b"top")),
    });
    let text = account.encode().unwrap();
    assert_eq!(Account::decode(&text), Some(account.clone()));
    assert_eq!(Account::decode(&text.replacen("\"v\":1", "\"v\":2", 1)), None);
    assert_eq!(Account::decode(&text[1..]), None);
    assert_eq!(Account::decode(""), None);
    assert_eq!(Account::decode(&" ".repeat(MAX_BYTES + 1)), None);
    account.name = "x".repeat(MAX_BYTES);
    assert_eq!(account.encode(), None);
}

#[test]
fn long_values_are_kept_in_part_and_still_told_apart() {
    let made = |last: &str| {
        let content = ["ä".repeat(40_000).as_bytes(), last.as_bytes()].concat();
        let file = FileAction::Mkfile { path: path("/f"), mode: 0o644, owner: None, content };
        Op::File(FileOp { actions: vec![file] })
    };
    check(&made("a"), vec![(made("b"), &["file /f content: 80001 bytes -> 80001 bytes"])]);
    assert!(account(&made("a")).encode().unwrap().len() < 10_000);
    let binary = |last| {
        let content = vec![0xff, last];
        let file = FileAction::Mkfile { path: path("/f"), mode: 0o644, owner: None, content };
        Op::File(FileOp { actions: vec![file] })
    };
    check(&binary(1), vec![(binary(2), &["file /f content: 2 bytes -> 2 bytes"])]);
}

/// A list of everything that a layer can hold.
fn rich() -> Listing {
    let meta = |mode, uid, attribute: &str| {
        let value = attribute.as_bytes().to_vec();
        let xattrs = BTreeMap::from([(b"user.a".to_vec(), value)]);
        let xattrs = if attribute.is_empty() { BTreeMap::new() } else { xattrs };
        Meta { mode, uid, gid: uid, xattrs }
    };
    let entry = |path: &str, node, meta| {
        let path = path.as_bytes().to_vec();
        Entry { path, node, meta, mtime: Mtime::default() }
    };
    let file = Node::File { digest: Digest::of(b"x"), size_bytes: 300 };
    let entries = vec![
        entry("d", Node::Dir { opaque: false }, meta(0o755, 0, "")),
        entry("d/a", file, meta(0o4755, 70_000, "v")),
        entry("d/b", Node::Hardlink { to: b"d/a".to_vec() }, meta(0o4755, 70_000, "v")),
        entry("d/c", Node::Symlink { target: b"/x\xff".to_vec() }, meta(0o777, 0, "")),
        entry("d/e", Node::CharDevice { major: 1, minor: 300 }, meta(0o600, 0, "")),
        entry("d/f", Node::BlockDevice { major: 1, minor: 300 }, meta(0o600, 0, "")),
        entry("d/g", Node::Fifo, meta(0o600, 0, "")),
        entry("d/h", Node::Whiteout, Meta::default()),
    ];
    Listing::of_layer(&Manifest::new(entries).unwrap())
}

#[test]
fn a_list_comes_back_as_it_was_and_others_are_passed_over() {
    let list = rich();
    let bytes = list.encode().unwrap();
    assert_eq!(Listing::decode(&bytes), Some(list.clone()));
    assert_eq!(list.len(), 8);
    for end in 0..bytes.len() {
        assert_eq!(Listing::decode(&bytes[..end]), None, "cut at {end}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(Listing::decode(&damaged), None, "damaged at {at}");
    }
    assert_eq!(Listing::decode(&vec![0; 17 << 20]), None);
    assert_eq!(changes(&list, &list), []);
    assert_eq!(changes(&Listing::default(), &list).len(), 8);
}

proptest! {
    /// Also behind a checksum that fits.
    #[test]
    fn any_bytes_are_read_or_passed_over(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = b"kiln files 1\n".to_vec();
        bytes.extend(&body);
        let checksum = Digest::of(&bytes);
        bytes.extend(checksum.as_bytes());
        if let Some(list) = Listing::decode(&bytes) {
            prop_assert_eq!(Listing::decode(&list.encode().unwrap()), Some(list));
        }
        let text = String::from_utf8_lossy(&body);
        prop_assert_eq!(Account::decode(&text), None);
    }
}

#[test]
fn names_are_shown_without_what_steers_a_terminal() {
    let entry = Entry {
        path: b"a\x1b[2Jb\xff".to_vec(),
        node: Node::Fifo,
        meta: Meta::default(),
        mtime: Mtime::default(),
    };
    let list = Listing::of_layer(&Manifest::new(vec![entry]).unwrap());
    let change = &changes(&Listing::default(), &list)[0];
    assert_eq!(change.path, "a\\u{1b}[2Jb\u{fffd}");
}
