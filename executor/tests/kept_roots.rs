//! The root filesystem of a command that changed nothing goes to the next one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test program uses its own part")]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::{Bed, can_run, is_mounted_below, listing, sandboxes, wait_until};
use kiln_executor::{Cancel, Exit, KeptRoot, Left, RunSpec, Sandboxes, Security, Upcoming};

/// Runs a script that must succeed; answers its output and the root, if that is kept.
fn run(
    sandboxes: &Sandboxes,
    spec: &RunSpec,
    root: Option<KeptRoot>,
) -> (String, Option<KeptRoot>) {
    let mut output = Vec::new();
    let (exit, left) = sandboxes
        .start(spec, root)
        .unwrap()
        .finish(
            Upcoming::Another,
            &mut |_, bytes| output.extend_from_slice(bytes),
            &Cancel::never(),
        )
        .unwrap();
    let output = String::from_utf8(output).unwrap();
    assert_eq!(exit, Exit::Code(0), "{output}");
    let root = match left {
        Left::Untouched(root) => Some(root),
        Left::Changes => None,
        Left::Failed(failed) => panic!("{failed:?}"),
    };
    (output, root)
}

/// Another command for the directories of a spec. Its layers are not there, so that no other root can be mounted.
fn another(spec: &RunSpec, script: &str) -> RunSpec {
    let mut next = spec.clone();
    next.lowers = vec!["/no/such/layer".into()];
    next.process.args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    next
}

#[test]
fn a_root_serves_until_something_changes_in_it() {
    if !can_run() {
        return;
    }
    let (bed, sandboxes) = (Bed::new(), sandboxes());
    let spec = bed.spec("echo mine > /dev/shm/mine; sleep 1000 & cat /bin/busybox > /dev/null");
    let (_, root) = run(&sandboxes, &spec, None);
    let root = root.expect("nothing was changed in it");
    let second = another(&spec, "ls /dev/shm; ps | grep '[s]leep'; hostname; ls -d /etc/hosts");
    let (output, root) = run(&sandboxes, &second, Some(root));
    assert_eq!(output, "kiln-test\n/etc/hosts\n", "nothing else of the first command is left");
    assert!(listing(&spec.upper).is_empty());
    let third = another(&spec, "echo new > /bin/new; rm /bin/yes");
    let (_, root) = run(&sandboxes, &third, Some(root.expect("nor by the second")));
    assert!(root.is_none());
    assert_eq!(listing(&spec.upper), ["bin", "bin/new", "bin/yes"]);
    drop(sandboxes);
    wait_until("a mount is left", || !is_mounted_below(bed.dir.path()));
}

#[test]
fn what_has_no_entry_in_a_layer_is_a_change_too() {
    if !can_run() {
        return;
    }
    let (bed, sandboxes) = (Bed::new(), sandboxes());
    for script in
        ["chmod 711 /", "chown 7 /", "chgrp 7 /", "touch -d '2001-01-01 00:00' /", "> /a; rm /a"]
    {
        let (_, root) = run(&sandboxes, &bed.spec(script), None);
        assert!(root.is_none(), "{script}");
    }
    let mode = fs::metadata(bed.image()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "the image itself is as it was");
}

#[test]
fn a_command_without_limits_has_a_root_of_its_own() {
    if !can_run() {
        return;
    }
    let (bed, sandboxes) = (Bed::new(), sandboxes());
    let mut spec = bed.spec("true");
    spec.security = Security::Insecure;
    assert!(run(&sandboxes, &spec, None).1.is_none());
}

#[test]
fn a_command_that_fails_in_a_kept_root_is_told_of() {
    if !can_run() {
        return;
    }
    let (bed, sandboxes) = (Bed::new(), sandboxes());
    let spec = bed.spec("true");
    let (_, root) = run(&sandboxes, &spec, None);
    let failing = another(&spec, "echo changed > /changed; exit 3");
    let (exit, left) = sandboxes
        .start(&failing, root)
        .unwrap()
        .finish(Upcoming::Nothing, &mut |_, _| {}, &Cancel::never())
        .unwrap();
    assert_eq!(exit, Exit::Code(3));
    assert!(matches!(left, Left::Failed(_)));
    assert_eq!(listing(&spec.upper), ["changed"]);
    drop(left);
    drop(sandboxes);
    wait_until("a mount is left", || !is_mounted_below(bed.dir.path()));
}

#[test]
fn a_kept_root_goes_when_it_is_dropped() {
    if !can_run() {
        return;
    }
    let (bed, sandboxes) = (Bed::new(), sandboxes());
    let spec = bed.spec("true");
    let (_, root) = run(&sandboxes, &spec, None);
    drop(root.unwrap());
    drop(sandboxes);
    // Overlay would refuse directories that another mount still uses, or a work directory that was not cleaned.
    fs::remove_dir_all(&spec.work).unwrap();
    fs::create_dir(&spec.work).unwrap();
    let again = common::success(&spec);
    assert_eq!(again, "");
}
