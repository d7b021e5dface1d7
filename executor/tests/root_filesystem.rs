//! What is mounted where, and that none of it is ever in the layer.

#![expect(clippy::unwrap_used, reason = "a part of tests")]

#[expect(dead_code, reason = "each test program uses its own part")]
mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use common::{Bed, can_run, execute, listing, success};
use kiln_executor::{Access, Exit, MountSource, MountSpec, RunSpec, Security, Writable};
use kiln_ir::GuestPath;

fn mount(target: &str, source: MountSource) -> MountSpec {
    MountSpec { target: GuestPath::new(target).unwrap(), source }
}

fn secret(content: &str) -> MountSource {
    MountSource::Secret { content: content.as_bytes().to_vec().into(), mode: 0o440, uid: 5, gid: 6 }
}

#[test]
fn nothing_of_kilns_is_in_the_layer() {
    if can_run() {
        let bed = Bed::new();
        let spec = bed.spec("cat /etc/hosts > /dev/null; ls -R / > /dev/null 2>&1; true");
        success(&spec);
        assert_eq!(listing(&spec.upper), Vec::<String>::new());
    }
}

#[test]
fn only_changes_are_in_the_layer() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    bed.write("etc/old", "x");
    bed.write("data/gone", "x");
    let script = "echo new > /etc/new; rm /data/gone; mkdir /made; echo x > /tmp.txt";
    let spec = RunSpec { mounts: vec![mount("/run/secrets/a", secret("s"))], ..bed.spec(script) };
    success(&spec);
    assert_eq!(listing(&spec.upper), ["data", "data/gone", "etc", "etc/new", "made", "tmp.txt"]);
    let gone = fs::symlink_metadata(spec.upper.join("data/gone")).unwrap();
    assert_eq!((gone.mode() & libc::S_IFMT, gone.rdev()), (libc::S_IFCHR, 0));
}

#[test]
fn a_copied_up_directory_is_as_the_image_had_it() {
    if !can_run() {
        return;
    }
    // /etc lacks hosts and resolv.conf, so it is in a stub layer too, be it the one below or the one on top.
    for links in [false, true] {
        check_copy_up(links);
    }
}

fn check_copy_up(with_a_dangling_link: bool) {
    let bed = Bed::new();
    let etc = bed.image().join("etc");
    fs::create_dir(&etc).unwrap();
    if with_a_dangling_link {
        symlink("/nowhere", etc.join("resolv.conf")).unwrap();
    }
    std::os::unix::fs::chown(&etc, Some(12), Some(34)).unwrap();
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o2751)).unwrap();
    rustix::fs::setxattr(&etc, "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    // Not the time at which a stub is made.
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    fs::File::open(&etc).unwrap().set_modified(long_ago).unwrap();
    let before = fs::metadata(&etc).unwrap();
    let times = "stat -c '%a %u %g %Y' /etc";
    let seen = bed.output(times);
    assert_eq!(seen, format!("2751 12 34 {}", before.mtime()));
    let spec = bed.spec("touch -d @1000 /etc/x; touch -d @2000 /etc");
    success(&spec);
    let upper = spec.upper.join("etc");
    let after = fs::metadata(&upper).unwrap();
    assert_eq!((after.mode() & 0o7777, after.uid(), after.gid()), (0o2751, 12, 34));
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&upper, "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"kept");
    assert_eq!(listing(&spec.upper), ["etc", "etc/x"]);
}

#[test]
fn the_root_has_the_images_mode_and_owner() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    fs::set_permissions(bed.image(), fs::Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(bed.image(), Some(3), Some(4)).unwrap();
    let spec = bed.spec("stat -c '%a %u %g' /");
    fs::set_permissions(&spec.upper, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(success(&spec), "711 3 4");
}

#[test]
fn linked_mount_points_are_followed_inside() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    fs::create_dir_all(bed.image().join("run")).unwrap();
    fs::create_dir_all(bed.image().join("var")).unwrap();
    fs::create_dir_all(bed.image().join("real-etc")).unwrap();
    symlink("/run", bed.image().join("var/run")).unwrap();
    symlink("../../../../real-etc", bed.image().join("etc")).unwrap();
    // Dangling, as on systems whose resolver is a service.
    symlink("../run/systemd/resolve/stub.conf", bed.image().join("real-etc/resolv.conf")).unwrap();
    let script = "cat /run/secrets/key /etc/hosts | grep -c -E 'hush|localhost$|kiln-test'; \
        test -f /run/systemd/resolve/stub.conf; cat /etc/resolv.conf > /dev/null";
    let spec = RunSpec {
        mounts: vec![mount("/var/run/secrets/key", secret("hush\n"))],
        ..bed.spec(script)
    };
    assert_eq!(success(&spec), "2");
    assert_eq!(listing(&spec.upper), Vec::<String>::new());
    assert_eq!(listing(&bed.image().join("run")), Vec::<String>::new());
}

#[test]
fn links_never_lead_outside() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let outside = bed.fresh("outside");
    symlink(&outside, bed.image().join("escape")).unwrap();
    symlink("/proc/1/root", bed.image().join("magic")).unwrap();
    let mounts = vec![mount("/escape/in", MountSource::Tmpfs { size_bytes: None })];
    let spec = RunSpec { mounts, ..bed.spec("mount | grep -c '/in type'") };
    assert_eq!(success(&spec), "1");
    assert_eq!(listing(&outside), Vec::<String>::new());
}

#[test]
fn the_way_up_never_leads_to_the_host() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let outside = bed.fresh("outside");
    symlink("/bin/..", bed.image().join("up")).unwrap();
    // Made and entered by Kiln itself, before the command is there.
    let cwd = format!("/up{}/made", outside.display());
    for _ in 0..20 {
        let mut spec = bed.spec("pwd -P");
        spec.process.cwd = GuestPath::new(&cwd).unwrap();
        assert_eq!(success(&spec), outside.join("made").display().to_string());
        assert_eq!(listing(&outside), Vec::<String>::new());
    }
}

#[test]
fn secrets() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let script = "stat -c '%a %u %g' /run/secrets/key; cat /run/secrets/key; echo; \
        grep -c ' /run/secrets/key tmpfs ro' /proc/mounts";
    let spec =
        RunSpec { mounts: vec![mount("/run/secrets/key", secret("hush"))], ..bed.spec(script) };
    assert_eq!(success(&spec), "440 5 6\nhush\n1");
    assert_eq!(listing(&spec.scratch.join("memory")), Vec::<String>::new());
}

#[test]
fn directories() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let cache = bed.fresh("cache");
    fs::write(cache.join("old"), "x").unwrap();
    let directory = |access| MountSource::Directory { path: cache.clone(), access };
    let mounts =
        vec![mount("/rw", directory(Access::ReadWrite)), mount("/ro", directory(Access::ReadOnly))];
    let script = "ls /rw; echo y > /rw/new; echo z > /ro/no";
    let spec = RunSpec { mounts, ..bed.spec(script) };
    let outcome = execute(&spec).unwrap();
    assert_eq!((outcome.exit, outcome.stdout.as_str()), (Exit::Code(1), "old\n"));
    assert!(outcome.stderr.contains("Read-only"), "{outcome:?}");
    assert_eq!(listing(&cache), ["new", "old"]);
    assert_eq!(listing(&spec.upper), Vec::<String>::new());
}

fn layer(bed: &Bed, files: &[(&str, &str)]) -> PathBuf {
    let layer = bed.fresh("layer");
    for (path, content) in files {
        let path = layer.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    layer
}

#[test]
fn snapshots() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let low = layer(&bed, &[("out/a", "low"), ("out/b", "low")]);
    let high = layer(&bed, &[("out/b", "high"), ("file", "one")]);
    symlink("/out", high.join("link")).unwrap();
    let snapshot = |path: &str, writable| MountSource::Snapshot {
        lowers: vec![low.clone(), high.clone()],
        path: GuestPath::new(path).unwrap(),
        writable,
    };
    let writable = Writable { upper: bed.fresh("upper"), work: bed.fresh("work") };
    let mounts = vec![
        mount("/ro", snapshot("/out", None)),
        mount("/linked", snapshot("/link", None)),
        mount("/rw", snapshot("/out", Some(writable))),
        mount("/one/file", snapshot("/file", None)),
        mount("/all", snapshot("/", None)),
    ];
    let script = "cat /ro/a /ro/b /linked/b /one/file /all/file; echo x > /rw/a; cat /rw/a /ro/a; \
        echo x > /ro/a 2>/dev/null || echo kept";
    let spec = RunSpec { mounts, ..bed.spec(script) };
    assert_eq!(success(&spec), "lowhighhighoneonex\nlowkept");
    assert_eq!(listing(&spec.upper), Vec::<String>::new());
    assert_eq!(fs::read_to_string(low.join("out/a")).unwrap(), "low");
}

#[test]
fn a_snapshot_of_one_layer_or_none() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let snapshot =
        |lowers| MountSource::Snapshot { lowers, path: GuestPath::root(), writable: None };
    let one = layer(&bed, &[("file", "one")]);
    let mounts = vec![mount("/one", snapshot(vec![one])), mount("/none", snapshot(vec![]))];
    let spec = RunSpec { mounts, ..bed.spec("cat /one/file; ls /none | wc -l") };
    assert_eq!(success(&spec), "one0");
}

#[test]
fn a_missing_path_of_a_snapshot_is_named() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let source = MountSource::Snapshot {
        lowers: vec![bed.image()],
        path: GuestPath::new("/no/such").unwrap(),
        writable: None,
    };
    let error =
        execute(&RunSpec { mounts: vec![mount("/x", source)], ..bed.spec("true") }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot set up the sandbox: open `/no/such` of a mounted stage or image"
    );
}

#[test]
fn mounts_in_mounts() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let cache = bed.fresh("cache");
    let mounts = vec![
        mount("/a", MountSource::Tmpfs { size_bytes: Some(1 << 20) }),
        mount("/a/b/c", MountSource::Directory { path: cache.clone(), access: Access::ReadWrite }),
        mount("/dev/pipes/doc", secret("script")),
    ];
    let script = "echo x > /a/b/c/file; cat /dev/pipes/doc; stat -f -c %T /a 2>/dev/null | head -c 0; \
        dd if=/dev/zero of=/a/big bs=1M count=2 2>&1 | grep -c 'No space'";
    let spec = RunSpec { mounts, ..bed.spec(script) };
    assert_eq!(success(&spec), "script1");
    assert_eq!(listing(&cache), ["file"]);
    assert_eq!(listing(&spec.upper), Vec::<String>::new());
}

#[test]
fn an_empty_image() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let programs =
        MountSource::Directory { path: bed.image().join("bin"), access: Access::ReadOnly };
    let spec = RunSpec {
        lowers: vec![],
        mounts: vec![mount("/bin", programs)],
        ..bed.spec("echo hello > /world; echo $(ls /)")
    };
    assert_eq!(success(&spec), "bin dev etc proc sys world");
    assert_eq!(listing(&spec.upper), ["world"]);
}

#[test]
fn two_hundred_layers_with_long_names() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let long = bed.dir.path().join("l".repeat(200)).join("m".repeat(200));
    let mut lowers = vec![bed.image()];
    for index in 0..200 {
        let layer = long.join(index.to_string());
        fs::create_dir_all(layer.join("many")).unwrap();
        fs::write(layer.join("many").join(index.to_string()), "x").unwrap();
        fs::write(layer.join("last"), index.to_string()).unwrap();
        lowers.push(layer);
    }
    let spec = RunSpec { lowers, ..bed.spec("ls /many | wc -l; cat /last; rm -r /many") };
    assert_eq!(success(&spec), "200\n199");
    assert_eq!(listing(&spec.upper), ["many"]);
}

#[test]
fn a_file_in_the_way_is_named() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    bed.write("srv", "a file");
    let mounts = vec![mount("/srv/data", MountSource::Tmpfs { size_bytes: None })];
    let error = execute(&RunSpec { mounts, ..bed.spec("true") }).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("the mount point `/srv/data`"), "{error}: {source}");
}

/// The stub layers of a kind in a scratch directory.
fn stubs(spec: &RunSpec, kind: &str) -> Vec<String> {
    let mut found = listing(&spec.scratch);
    found.retain(|path| path.starts_with(kind) && !path.contains('/'));
    found
}

#[test]
fn stub_layers_are_shared_where_they_fit() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let etc = bed.image().join("etc");
    fs::create_dir(&etc).unwrap();
    // What the stub below all layers has of this name is hidden by a link that leads to nothing.
    symlink("/etc/resolv.new", etc.join("resolv.conf")).unwrap();
    let first = bed.spec("stat -c %a /etc; echo x > /etc/x; rm /etc/hosts 2> /dev/null; true");
    assert_eq!(success(&first), "755");
    let made = stubs(&first, "stub-exact-");
    assert_eq!(made.len(), 1);
    // What the first wrote is not in what the second finds.
    let again = RunSpec { scratch: first.scratch.clone(), ..bed.spec("ls /etc") };
    assert_eq!(success(&again), "hosts\nresolv.conf\nresolv.new");
    assert_eq!(stubs(&again, "stub-exact-"), made);
    // The image's own directory is another now, so its copy in the stub must be another too.
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o711)).unwrap();
    let changed = RunSpec { scratch: first.scratch.clone(), ..bed.spec("stat -c %a /etc") };
    assert_eq!(success(&changed), "711");
    assert_eq!(stubs(&changed, "stub-exact-").len(), 2);
    assert_eq!(listing(&changed.upper), Vec::<String>::new());
}

#[test]
fn one_stub_layer_serves_all_images_that_hide_nothing() {
    if !can_run() {
        return;
    }
    let (bed, other) = (Bed::new(), Bed::new());
    let first = bed.spec("ls / /etc");
    assert_eq!(success(&first), "/:\nbin\ndev\netc\nproc\nsys\n\n/etc:\nhosts\nresolv.conf");
    let made = stubs(&first, "stub-");
    assert_eq!(made.len(), 1, "{made:?}");
    other.write("etc/hosts", "the image's own");
    fs::set_permissions(other.image().join("etc"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(other.image().join("etc/hosts"), fs::Permissions::from_mode(0o600))
        .unwrap();
    let script = "stat -c %a /etc; grep -c localhost /etc/hosts; umount /etc/hosts";
    let spec = RunSpec {
        scratch: first.scratch.clone(),
        security: Security::Insecure,
        ..other.spec(&format!("{script}; cat /etc/hosts"))
    };
    let seen = success(&spec);
    assert!(seen.starts_with("711\n") && seen.ends_with("the image's own"), "{seen}");
    assert_eq!(stubs(&spec, "stub-"), made);
    assert_eq!(listing(&spec.upper), Vec::<String>::new());
}

#[test]
fn a_mount_point_is_a_file_for_one_command_and_a_directory_for_the_next() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let (file, tmpfs) = (secret("s"), MountSource::Tmpfs { size_bytes: None });
    let first = RunSpec { mounts: vec![mount("/mnt", file)], ..bed.spec("cat /mnt") };
    assert_eq!(success(&first), "s");
    let script = "touch /mnt/x && ls /mnt";
    let next = RunSpec { mounts: vec![mount("/mnt", tmpfs)], ..bed.spec(script) };
    assert_eq!(success(&RunSpec { scratch: first.scratch.clone(), ..next }), "x");
}

#[test]
fn mount_points_that_a_layer_has_removed_are_supplied() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    bed.write("etc/hosts", "of a lower layer");
    let removed = bed.fresh("removed");
    fs::create_dir(removed.join("etc")).unwrap();
    let mode = rustix::fs::Mode::empty();
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, removed.join("etc/hosts"), kind, mode, 0).unwrap();
    let lowers = vec![bed.image(), removed];
    let spec = RunSpec { lowers, ..bed.spec("grep -c localhost$ /etc/hosts; echo x > /etc/x") };
    success(&spec);
    assert_eq!(listing(&spec.upper), ["etc", "etc/x"]);
}

#[test]
fn runs_at_the_same_time_share_a_scratch_directory() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let scratch = bed.fresh("scratch");
    let specs: Vec<_> = (0..8)
        .map(|_| RunSpec { scratch: scratch.clone(), ..bed.spec("cat /etc/hosts > /dev/null") })
        .collect();
    std::thread::scope(|scope| {
        for spec in &specs {
            scope.spawn(|| assert_eq!(execute(spec).unwrap().exit, Exit::Code(0)));
        }
    });
    assert_eq!(stubs(&specs[0], "stub-").len(), 1);
}
