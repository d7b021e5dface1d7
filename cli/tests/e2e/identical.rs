//! One Dockerfile gives one image: whoever builds it, how often, and however many steps run at once.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use kiln_testkit::Account;

use super::support::build::Kiln;
use super::support::image::Image;
use super::support::{Work, bases, find, have, is_root, output, tool};

/// Owners, links, deletions, times, and several stages that run at the same time.
const DOCKERFILE: &str = "\
FROM base AS left
COPY --chown=1000:1000 tree /left
RUN sleep 0.2 && chown 33:44 /left/one && chmod 4755 /left/one && touch -d @86400 /left/sub/two

FROM base AS right
RUN mkdir -p /right/old/deep /right/gone && echo a > /right/old/a && echo b > /right/gone/b \\
    && ln -s ../etc/passwd /right/symlink && echo c > /right/first && ln /right/first /right/second \\
    && echo more >> /right/second && chown -h 7:8 /right/symlink && mkfifo /right/fifo && chmod 1777 /right/old/deep
RUN rm -r /right/gone && rm -r /right/old && mkdir /right/old && echo new > /right/old/new
RUN chown 1000 /right/old/new

FROM base
COPY --from=left /left /srv/left
COPY --from=right --chown=app:app /right /srv/right
COPY --from=right /right /srv/kept
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch \\
    date > /cache/x && touch /scratch/y && rm /etc/group && ln /bin/busybox /srv/box
USER app
RUN id > /tmp/id
";

/// With the host's setcap, as a package's installation uses it.
const CAPABILITY: &str = "\
USER root
RUN --mount=type=bind,source=host,target=/host \\
    cp /bin/busybox /srv/ping && /host/ld.so --library-path /host /host/setcap cap_net_raw+ep /srv/ping
";

/// The base, the context and, as far as the host has it, setcap.
struct Case {
    work: Work,
    context: PathBuf,
    base: PathBuf,
    capability: bool,
}

impl Case {
    fn new() -> Option<Self> {
        let base = bases::busybox()?;
        let work = Work::new();
        let base = work.copy(&base, "base");
        work.write("context/tree/one", "1\n");
        work.write("context/tree/sub/two", "2\n");
        fs::set_permissions(work.path("context/tree/one"), Permissions::from_mode(0o600)).unwrap();
        let capability = copy_setcap(&work);
        let more = if capability { CAPABILITY } else { "" };
        let context = work.context("context", &format!("{DOCKERFILE}{more}"));
        Some(Self { work, context, base, capability })
    }

    /// Builds into a layout named `place`, in the store `place` too.
    fn build(&self, kiln: &Kiln, place: &str, jobs: &str) -> Image {
        let layout = self.work.path(&format!("for-{place}/layout"));
        let build = kiln.build(&self.context).layout("base", &self.base).at_epoch();
        build.tag("identical").into_layout(&layout).arg("--jobs").arg(jobs).run();
        self.work.assert_no_mounts();
        Image::of(&layout)
    }

    /// Builds in an empty store.
    fn build_anew(&self, place: &str, jobs: &str) -> Image {
        self.work.write(&format!("for-{place}/x"), "");
        let kiln = Kiln::at(self.work.path(&format!("for-{place}/store")));
        self.build(&kiln, place, jobs)
    }
}

/// Puts setcap with its libraries into the context, if the host has one.
fn copy_setcap(work: &Work) -> bool {
    if !have(&["setcap", "ldd"]) {
        return false;
    }
    let setcap = find("setcap").unwrap();
    work.write("context/host/setcap", fs::read(&setcap).unwrap());
    let libraries = output(tool("ldd").arg(setcap));
    let files = libraries.split_whitespace().map(Path::new).filter(|word| word.is_absolute());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let name = if name.starts_with("ld-") { "ld.so" } else { name };
        let copy = work.write(&format!("context/host/{name}"), fs::read(file).unwrap());
        fs::set_permissions(copy, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(work.path("context/host/setcap"), Permissions::from_mode(0o755)).unwrap();
    true
}

/// Two images, and where they differ if they do.
fn assert_same(one: &Image, other: &Image) {
    assert_eq!(one.layers().len(), other.layers().len());
    for index in 0..one.layers().len() {
        let differ = || format!("layer {index}\n{}\n{}", one.listing(index), other.listing(index));
        assert_eq!(one.layers()[index], other.layers()[index], "{}", differ());
    }
    assert_eq!(one.config, other.config);
    assert_eq!(one.digest, other.digest);
}

#[test]
fn twice_from_an_empty_store() {
    let Some(case) = Case::new() else { return };
    assert_same(&case.build_anew("first", "2"), &case.build_anew("second", "2"));
}

#[test]
fn from_files_older_than_the_epoch() {
    let Some(case) = Case::new() else { return };
    let as_made = case.build_anew("made", "2");
    // What the epoch is to hide is not only what is later than it.
    for path in ["context/tree/one", "context/tree/sub/two", "context/tree/sub"] {
        let old = fs::File::open(case.work.path(path)).unwrap();
        old.set_modified(UNIX_EPOCH - Duration::from_secs(86_400)).unwrap();
    }
    assert_same(&as_made, &case.build_anew("old", "2"));
}

#[test]
fn one_step_at_a_time_and_eight() {
    let Some(case) = Case::new() else { return };
    assert_same(&case.build_anew("one", "1"), &case.build_anew("eight", "8"));
}

#[test]
fn by_root_and_by_an_ordinary_user() {
    if !is_root() {
        return;
    }
    let Some(case) = Case::new() else { return };
    let Some(account) = Account::new("all") else { return };
    account.give(&case.context);
    let kiln = Kiln::of_account(&account, &case.work);
    let theirs = case.build(&kiln, "user", "2");
    let ours = case.build_anew("root", "2");
    assert_same(&ours, &theirs);
    let exported = case.work.path("for-user/layout/index.json");
    assert_eq!(fs::metadata(exported).unwrap().uid(), account.uid);
}

/// Debian's files have owners, set-user-id bits and times of all kinds.
#[test]
fn on_debian_by_root_and_by_an_ordinary_user() {
    const CHANGES: &str = "\
FROM base
RUN export SOURCE_DATE_EPOCH=0 && adduser --quiet --system --group --home /var/lib/app app
RUN cp -a /etc/skel /usr/bin/passwd /var/mail /srv && rm -r /usr/share/doc && mkdir /usr/share/doc
";
    if !is_root() {
        return;
    }
    let Some(base) = bases::c() else { return };
    let Some(account) = Account::new("debian") else { return };
    let work = Work::new();
    let context = work.context("context", CHANGES);
    let base = work.copy(&base, "base");
    let build = |kiln: &Kiln, place: &str| {
        let layout = work.path(place).join("layout");
        kiln.build(&context).layout("base", &base).at_epoch().into_layout(&layout).run();
        Image::of(&layout)
    };
    let theirs = build(&Kiln::of_account(&account, &work), "for-user");
    fs::create_dir(work.path("for-root")).unwrap();
    let ours = build(&Kiln::at(work.path("for-root/store")), "for-root");
    assert_same(&ours, &theirs);
    work.assert_no_mounts();
}

#[test]
fn the_image_holds_what_the_steps_made() {
    if !is_root() || !have(&["umoci", "getcap"]) {
        return;
    }
    let Some(case) = Case::new() else { return };
    case.build_anew("only", "2");
    let image = format!("{}:latest", case.work.path("for-only/layout").display());
    let bundle = case.work.path("bundle");
    output(tool("umoci").args(["unpack", "--image", &image]).arg(&bundle));
    let root = bundle.join("rootfs");
    let fact = |path: &str| {
        let meta = fs::symlink_metadata(root.join(path)).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777, meta.mtime())
    };
    assert_eq!(fact("srv/left/one"), (33, 44, 0o4755, 0));
    assert_eq!(fact("srv/left/sub/two"), (1000, 1000, 0o644, 0));
    assert_eq!(fact("srv/right/first"), (1000, 1000, 0o644, 0));
    assert_eq!(fact("srv/kept/old/new"), (1000, 0, 0o644, 0));
    assert_eq!(fact("srv/kept/symlink"), (7, 8, 0o777, 0));
    let inode = |path: &str| fs::metadata(root.join(path)).unwrap().ino();
    assert_eq!(inode("srv/kept/first"), inode("srv/kept/second"));
    assert_eq!(fs::read_to_string(root.join("srv/kept/first")).unwrap(), "c\nmore\n");
    let names = |path: &str| {
        let entries = fs::read_dir(root.join(path)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("srv/kept"), ["fifo", "first", "old", "second", "symlink"]);
    assert_eq!(names("srv/kept/old"), ["new"]);
    assert!(!root.join("etc/group").exists());
    assert!(!root.join("cache").exists() && !root.join("scratch").exists());
    if case.capability {
        let seen = output(tool("getcap").arg(root.join("srv/ping")));
        assert!(seen.contains("cap_net_raw=ep"), "{seen}");
    }
}
