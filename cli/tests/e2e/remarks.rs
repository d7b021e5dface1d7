//! What other builders get wrong and one build cannot show; `testdata/remarks.md` lists these with all the rest.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt as _, lchown};

use kiln_testkit::Account;
use serde_json::Value;

use super::support::build::{Kiln, Steps};
use super::support::image::Image;
use super::support::{Work, bases, is_root};

#[test]
fn a_base_without_layers_is_an_empty_root_with_its_settings() {
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let (base, layout) = (work.path("base"), work.path("layout"));
    kiln.build(&work.context("base-context", "FROM scratch\nENV A=1\n")).into_layout(&base).run();
    assert_eq!(Image::of(&base).layers().len(), 0);
    work.write("context/file", "text\n");
    let context = work.context("context", "FROM base\nCOPY file /file\nENV B=$A\n");
    kiln.build(&context).layout("base", &base).into_layout(&layout).run();
    let image = Image::of(&layout);
    assert_eq!(image.layers().len(), 1);
    assert_eq!(image.names(0), ["file"]);
    let env = image.config["config"]["Env"].as_array().unwrap();
    assert_eq!(env[env.len() - 2..], ["A=1", "B=1"]);
}

#[test]
fn what_is_not_copied_is_not_read() {
    if !is_root() {
        return;
    }
    let Some(account) = Account::new("unread") else { return };
    let work = Work::new();
    work.write("own/context/wanted/file", "text\n");
    work.write("own/context/closed/file", "of somebody else\n");
    let context = work.context("own/context", "FROM scratch\nCOPY wanted /wanted/\n");
    let program = work.path("own/kiln");
    fs::copy(env!("CARGO_BIN_EXE_kiln"), &program).unwrap();
    account.give(&work.path("own"));
    let closed = work.path("own/context/closed");
    lchown(&closed, Some(0), Some(0)).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let kiln = Kiln::of(&account, program, work.path("own/store"));
    kiln.build(&context).run();
    // The directory cannot be read indeed.
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY . /all/\n").unwrap();
    let said = kiln.build(&context).fails(6);
    assert!(said.contains("closed"), "{said}");
}

#[test]
fn edits_that_keep_size_and_time_are_seen() {
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let file = work.write("context/dir/file", "before");
    let context = work.context("context", "FROM scratch\nCOPY dir /dir/\n");
    let build = || kiln.build(&context).run().ran().len();
    assert_eq!((build(), build()), (1, 0));
    let before = file.metadata().unwrap().modified().unwrap();
    fs::write(&file, "edited").unwrap();
    let opened = File::options().write(true).open(&file).unwrap();
    opened.set_times(FileTimes::new().set_modified(before)).unwrap();
    assert_eq!((build(), build()), (1, 0), "the same size and time, another content");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!((build(), build()), (1, 0), "another mode");
    fs::create_dir(context.join("dir/sub")).unwrap();
    assert_eq!((build(), build()), (1, 0), "another directory");
    fs::set_permissions(context.join("dir/sub"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!((build(), build()), (1, 0), "another mode of a directory");
}

const COUNTED: &str = "\
FROM base
ARG USED=1
RUN --mount=type=secret,id=s,env=S --mount=type=cache,target=/c --mount=source=dir,target=/m echo x >> /c/x
";

#[test]
fn a_command_runs_again_for_what_counts_alone() {
    if !is_root() {
        return;
    }
    let Some(base) = bases::busybox() else { return };
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    work.write("context/dir/file", "one\n");
    let secret = work.write("secret", "one\n");
    let context = work.context("context", COUNTED);
    let build = |arguments: &[&str]| {
        let build = kiln.build(&context).layout("base", &base);
        let build = build.arg(format!("--secret=id=s,src={}", secret.display()));
        arguments.iter().fold(build, |build, argument| build.arg(argument)).run()
    };
    let ran = |steps: Steps| steps.ran().iter().filter(|name| name.ends_with("/c/x")).count();
    assert_eq!(ran(build(&[])), 1);
    assert_eq!(ran(build(&[])), 0, "the cache holds something by now");
    fs::write(&secret, "two\n").unwrap();
    assert_eq!(ran(build(&[])), 0, "another secret");
    assert_eq!(ran(build(&["--build-arg=HTTPS_PROXY=http://127.0.0.1:9"])), 0, "a proxy");
    work.write("context/beside", "one\n");
    assert_eq!(ran(build(&[])), 0, "a file outside of the mount");
    assert_eq!(ran(build(&["--build-arg=OTHER=1"])), 0, "an argument that is not declared");
    assert_eq!(ran(build(&["--build-arg=USED=2"])), 1, "one that is, though nothing uses it");
    work.write("context/dir/file", "two\n");
    assert_eq!(ran(build(&[])), 1, "a file in the mount");
    work.assert_no_mounts();
}

#[test]
fn an_argument_makes_an_index_of_one_platform() {
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context = work.context("context", "FROM scratch\nLABEL a=b\n");
    for (argument, kind) in [("0", "manifest"), ("1", "index")] {
        let layout = work.path(argument);
        let argument = format!("--build-arg=BUILDKIT_MULTI_PLATFORM={argument}");
        kiln.build(&context).arg(argument).into_layout(&layout).run();
        let index: Value =
            serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let found = index["manifests"][0]["mediaType"].as_str().unwrap();
        assert_eq!(found, format!("application/vnd.oci.image.{kind}.v1+json"));
    }
}
