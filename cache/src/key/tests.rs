//! Which fields move a key and which do not, and golden keys.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use kiln_ir::{
    CacheSharing, CopyOp, DeviceRequest, ExecOp, FileAction, FileOp, GuestPath, ImageSource,
    LocalSource, ModeSpec, Mount, MountAccess, MountKind, NetworkMode, OwnerSpec, SecretUse,
    SecurityMode, SourceOp,
};

use super::*;

pub(crate) fn path(text: &str) -> GuestPath {
    GuestPath::new(text).unwrap()
}

pub(crate) fn exec() -> ExecOp {
    ExecOp {
        args: vec!["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()],
        env: vec![("PATH".to_owned(), "/bin".to_owned()), ("CC".to_owned(), "cc".to_owned())],
        cwd: path("/src"),
        user: "builder".to_owned(),
        hostname: None,
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        mounts: vec![
            mount(bind()),
            mount(cache()),
            mount(MountKind::Tmpfs { size_bytes: None }),
            mount(secret()),
            mount(ssh()),
        ],
        proxy_env: Vec::new(),
        devices: Vec::new(),
        extra_hosts: Vec::new(),
    }
}

pub(crate) fn device(name: &str, required: bool) -> DeviceRequest {
    DeviceRequest { name: name.to_owned(), required }
}

pub(crate) fn host(name: &str, address: &str) -> (String, String) {
    (name.to_owned(), address.to_owned())
}

pub(crate) fn mount(kind: MountKind) -> Mount {
    Mount { target: path("/mnt"), kind }
}

pub(crate) fn bind() -> MountKind {
    MountKind::Bind { input: 1, source: path("/out"), access: MountAccess::ReadOnly }
}

pub(crate) fn cache() -> MountKind {
    MountKind::Cache {
        id: "ccache".to_owned(),
        sharing: CacheSharing::Shared,
        seed: None,
        uid: 0,
        gid: 0,
        mode: 0o755,
        access: MountAccess::ReadWrite,
    }
}

pub(crate) fn secret() -> MountKind {
    let usage = SecretUse { file: true, env: None, uid: 0, gid: 0, mode: 0o400 };
    MountKind::Secret { id: "token".to_owned(), usage, required: false }
}

pub(crate) fn ssh() -> MountKind {
    let id = "default".to_owned();
    MountKind::Ssh { id, uid: 0, gid: 0, mode: 0o600, required: false }
}

pub(crate) fn copy() -> CopyOp {
    CopyOp {
        input: 1,
        source: "/src/*.c".to_owned(),
        wildcard: true,
        required: true,
        dest: path("/usr/src"),
        dest_is_dir: true,
        owner: None,
        mode: None,
        unpack: false,
        include: Vec::new(),
        exclude: vec!["*.o".to_owned()],
        ignore: vec![".git".to_owned()],
    }
}

pub(crate) fn mkdir() -> FileAction {
    FileAction::Mkdir { path: path("/srv"), mode: 0o755, owner: None }
}

pub(crate) fn mkfile() -> FileAction {
    let content = b"hello\n".to_vec();
    FileAction::Mkfile { path: path("/hello"), mode: 0o644, owner: None, content }
}

fn file(actions: Vec<FileAction>) -> Op {
    Op::File(FileOp { actions })
}

pub(crate) fn image() -> ImageSource {
    ImageSource {
        reference: "debian:13".to_owned(),
        manifest: format!("sha256:{}", "1".repeat(64)),
        locator: "docker.io/library/debian".to_owned(),
    }
}

fn inputs() -> [Digest; 2] {
    [Digest::of(b"rootfs"), Digest::of(b"selection")]
}

fn key(op: &Op) -> CacheKey {
    derive(op, &inputs())
}

pub(crate) fn changed<T: Clone>(base: &T, change: impl Fn(&mut T)) -> T {
    let mut value = base.clone();
    change(&mut value);
    value
}

/// Checks that every variant has a key of its own, different from the base's.
fn all_differ(base: &Op, variants: Vec<(&'static str, Op)>) {
    let mut seen = BTreeMap::from([(key(base), "base")]);
    for (name, op) in variants {
        if let Some(other) = seen.insert(key(&op), name) {
            panic!("`{name}` has the key of `{other}`");
        }
    }
}

fn none_differ(base: &Op, variants: Vec<(&'static str, Op)>) {
    for (name, op) in variants {
        assert_ne!(*base, op, "`{name}` changes nothing at all");
        assert_eq!(key(&op), key(base), "`{name}` moves the key");
    }
}

#[test]
fn what_a_command_is_moves_its_key() {
    let with = |change: &dyn Fn(&mut ExecOp)| Op::Exec(changed(&exec(), change));
    all_differ(
        &Op::Exec(exec()),
        vec![
            ("argument", with(&|op| op.args[2].push('x'))),
            (
                "argument split",
                with(&|op| op.args = vec!["/bin/sh".to_owned(), "-cmake".to_owned()]),
            ),
            ("variable's value", with(&|op| op.env[0].1.push('x'))),
            ("variable's name", with(&|op| op.env[0].0.push('x'))),
            ("variables' order", with(&|op| op.env.reverse())),
            ("cwd", with(&|op| op.cwd = path("/"))),
            ("user", with(&|op| op.user.clear())),
            ("hostname", with(&|op| op.hostname = Some("h".to_owned()))),
            ("network none", with(&|op| op.network = NetworkMode::None)),
            ("network host", with(&|op| op.network = NetworkMode::Host)),
            ("security", with(&|op| op.security = SecurityMode::Insecure)),
            ("device", with(&|op| op.devices.push(device("v/c=a", false)))),
            ("another device", with(&|op| op.devices.push(device("v/c=b", false)))),
            ("host name", with(&|op| op.extra_hosts.push(host("db", "10.0.0.1")))),
            ("mount gone", with(&|op| drop(op.mounts.pop()))),
            ("mounts' order", with(&|op| op.mounts.reverse())),
            ("mount's target", with(&|op| op.mounts[0].target = path("/m"))),
        ],
    );
}

#[test]
fn what_a_mount_is_moves_the_key() {
    let with =
        |kind: MountKind| Op::Exec(changed(&exec(), |op| op.mounts = vec![mount(kind.clone())]));
    let (root, write) = (path("/"), MountAccess::ReadWrite);
    let usage = SecretUse { file: true, env: None, uid: 0, gid: 0, mode: 0o400 };
    let secret_with = |usage: SecretUse| {
        with(MountKind::Secret { id: "token".to_owned(), usage, required: false })
    };
    let ssh_with = |uid, gid, mode| {
        with(MountKind::Ssh { id: "default".to_owned(), uid, gid, mode, required: false })
    };
    all_differ(
        &Op::Exec(exec()),
        vec![
            ("bind", with(bind())),
            ("input", with(MountKind::Bind { input: 0, source: root.clone(), access: write })),
            ("bind's access", with(MountKind::Bind { input: 1, source: root, access: write })),
            ("cache", with(cache())),
            ("tmpfs", with(MountKind::Tmpfs { size_bytes: None })),
            ("tmpfs's size", with(MountKind::Tmpfs { size_bytes: Some(1) })),
            ("secret", with(secret())),
            (
                "secret's variable",
                secret_with(SecretUse { env: Some("T".to_owned()), ..usage.clone() }),
            ),
            ("secret's file", secret_with(SecretUse { file: false, ..usage.clone() })),
            ("secret's user", secret_with(SecretUse { uid: 1, ..usage.clone() })),
            ("secret's group", secret_with(SecretUse { gid: 1, ..usage.clone() })),
            ("secret's mode", secret_with(SecretUse { mode: 0o444, ..usage })),
            ("ssh", with(ssh())),
            ("ssh's user", ssh_with(1, 0, 0o600)),
            ("ssh's group", ssh_with(0, 1, 0o600)),
            ("ssh's mode", ssh_with(0, 0, 0o666)),
        ],
    );
}

#[test]
fn what_no_result_depends_on_leaves_a_commands_key() {
    let with = |change: &dyn Fn(&mut ExecOp)| Op::Exec(changed(&exec(), change));
    let cache_with = |id: &str, sharing, seed, uid| {
        let id = id.to_owned();
        let access = MountAccess::ReadWrite;
        let kind = MountKind::Cache { id, sharing, seed, uid, gid: uid, mode: 0o700, access };
        with(&|op| op.mounts[1].kind = kind.clone())
    };
    let usage = SecretUse { file: true, env: None, uid: 0, gid: 0, mode: 0o400 };
    let required = MountKind::Secret { id: "token".to_owned(), usage, required: true };
    let source = path("/elsewhere");
    let moved = MountKind::Bind { input: 1, source, access: MountAccess::ReadOnly };
    none_differ(
        &Op::Exec(exec()),
        vec![
            ("proxy", with(&|op| op.proxy_env = vec![("HTTP_PROXY".to_owned(), "p".to_owned())])),
            ("cache's id", cache_with("other", CacheSharing::Shared, None, 0)),
            ("cache's sharing", cache_with("ccache", CacheSharing::Locked, None, 0)),
            ("cache's seed", cache_with("ccache", CacheSharing::Shared, Some((0, path("/"))), 0)),
            ("cache's owner", cache_with("ccache", CacheSharing::Shared, None, 1000)),
            ("secret's need", with(&|op| op.mounts[3].kind = required.clone())),
            // What is there is in the input's digest.
            ("bind's source", with(&|op| op.mounts[0].kind = moved.clone())),
        ],
    );
    let reaching = |required, address: &str| {
        let (devices, extra_hosts) = (vec![device("v/c=a", required)], vec![host("db", address)]);
        Op::Exec(ExecOp { devices, extra_hosts, ..exec() })
    };
    none_differ(
        &reaching(false, "10.0.0.1"),
        vec![
            ("device's need", reaching(true, "10.0.0.1")),
            ("host's address", reaching(false, "10.0.0.2")),
        ],
    );
}

#[test]
fn what_a_change_of_files_is_moves_its_key() {
    let with =
        |change: &dyn Fn(&mut CopyOp)| file(vec![FileAction::Copy(changed(&copy(), change))]);
    let (mode, owner) = (0o755, Some(OwnerSpec("1".to_owned())));
    let dir = |path, mode, owner| file(vec![FileAction::Mkdir { path, mode, owner }]);
    let made = |at: &str, mode, owner, content: &[u8]| {
        let (path, content) = (path(at), content.to_vec());
        file(vec![FileAction::Mkfile { path, mode, owner, content }])
    };
    all_differ(
        &file(vec![FileAction::Copy(copy())]),
        vec![
            ("input", with(&|op| op.input = 0)),
            ("dest", with(&|op| op.dest = path("/usr"))),
            ("dest is a directory", with(&|op| op.dest_is_dir = false)),
            ("owner", with(&|op| op.owner = Some(OwnerSpec("1".to_owned())))),
            ("mode", with(&|op| op.mode = Some(ModeSpec::Octal(0o600)))),
            ("mode in words", with(&|op| op.mode = Some(ModeSpec::Symbolic("600".to_owned())))),
            ("unpack", with(&|op| op.unpack = true)),
            ("twice", file(vec![FileAction::Copy(copy()), FileAction::Copy(copy())])),
            ("nothing", file(vec![])),
            ("mkdir", file(vec![mkdir()])),
            ("mkdir's path", dir(path("/s"), mode, None)),
            ("mkdir's mode", dir(path("/srv"), 0o700, None)),
            ("mkdir's owner", dir(path("/srv"), mode, owner.clone())),
            ("mkfile", file(vec![mkfile()])),
            ("mkfile's path", made("/h", 0o644, None, b"hello\n")),
            ("mkfile's mode", made("/hello", mode, None, b"hello\n")),
            ("mkfile's owner", made("/hello", 0o644, owner, b"hello\n")),
            ("mkfile's bytes", made("/hello", 0o644, None, b"hello")),
            ("both", file(vec![mkdir(), mkfile()])),
            ("both, the other way round", file(vec![mkfile(), mkdir()])),
        ],
    );
}

#[test]
fn what_the_selection_says_leaves_a_copys_key() {
    let with =
        |change: &dyn Fn(&mut CopyOp)| file(vec![FileAction::Copy(changed(&copy(), change))]);
    none_differ(
        &file(vec![FileAction::Copy(copy())]),
        vec![
            ("source", with(&|op| op.source = "/lib/*.c".to_owned())),
            ("wildcard", with(&|op| op.wildcard = false)),
            ("required", with(&|op| op.required = false)),
            ("include", with(&|op| op.include.push("*.h".to_owned()))),
            ("exclude", with(&|op| op.exclude.clear())),
            ("ignore", with(&|op| op.ignore.clear())),
        ],
    );
}

#[test]
fn an_image_is_its_manifest() {
    let base = Op::Source(SourceOp::Image(image()));
    let with =
        |change: &dyn Fn(&mut ImageSource)| Op::Source(SourceOp::Image(changed(&image(), change)));
    all_differ(
        &base,
        vec![
            ("manifest", with(&|image| image.manifest = format!("sha256:{}", "2".repeat(64)))),
            ("scratch", Op::Source(SourceOp::Scratch)),
            ("local", Op::Source(SourceOp::Local(LocalSource { name: "context".to_owned() }))),
            ("merge", Op::Merge),
            ("diff", Op::Diff),
        ],
    );
    none_differ(
        &base,
        vec![
            ("reference", with(&|image| image.reference = "debian:stable".to_owned())),
            ("locator", with(&|image| image.locator = "mirror.local/debian".to_owned())),
        ],
    );
}

#[test]
fn inputs_count_by_content_number_and_order() {
    let op = Op::Exec(exec());
    let [a, b] = inputs();
    let keys = [vec![], vec![a], vec![b], vec![a, b], vec![b, a], vec![a, a], vec![a, b, b]];
    let distinct: std::collections::BTreeSet<_> =
        keys.iter().map(|inputs| derive(&op, inputs)).collect();
    assert_eq!(distinct.len(), keys.len());
    let walked: Vec<_> = parts(&op, &[a, b]).collect();
    let expected = [(Part::Definition, op.definition()), (Part::Input(0), a), (Part::Input(1), b)];
    assert_eq!(walked, expected);
}

#[test]
fn text_and_back() {
    let key = key(&Op::Merge);
    assert_eq!(key.to_string().parse::<CacheKey>().unwrap(), key);
    assert_eq!(CacheKey::from_digest(*key.digest()), key);
    assert!("x".parse::<CacheKey>().is_err());
}

/// A key that moves without [`FORMAT`] moving with it would leave records that are never found again;
/// one that stays while its meaning moves would find wrong ones.
#[test]
fn golden_keys() {
    let ops = [
        ("exec", Op::Exec(exec())),
        ("file-copy", file(vec![FileAction::Copy(copy())])),
        ("file-mkdir", file(vec![mkdir()])),
        ("file-mkfile", file(vec![mkfile()])),
        ("source-image", Op::Source(SourceOp::Image(image()))),
        ("merge", Op::Merge),
        ("diff", Op::Diff),
    ];
    let mut found = format!("format {FORMAT}\n");
    for (name, op) in &ops {
        writeln!(found, "{name} {}", key(op)).unwrap();
    }
    let golden =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/cache/keys/golden.txt");
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap();
    assert_eq!(found, expected, "raise `FORMAT`, then `cargo xtask bless`");
}
