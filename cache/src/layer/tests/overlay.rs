//! Layers against the kernel: what a command saw in an overlay mount is what the layer shows.

use std::path::Path;
use std::process::Command;

use kiln_ir::Digest;

use super::{Home, is_root};
use crate::view::View;

/// Runs a shell script in an overlay of `lowers`, lowest first, mounted in a mount namespace of its own.
/// Its output is what it prints.
fn in_overlay(lowers: &[&Path], upper: Option<(&Path, &Path)>, script: &str) -> String {
    let lowers: Vec<_> = lowers.iter().rev().map(|path| path.to_str().unwrap()).collect();
    let mut options = format!("userxattr,lowerdir={}", lowers.join(":"));
    if let Some((upper, work)) = upper {
        options += &format!(",upperdir={},workdir={}", upper.display(), work.display());
    }
    let target = tempfile::TempDir::new().unwrap();
    let script = format!(
        "set -e; mount -t overlay overlay -o '{options}' {target}; cd {target}; {script}",
        target = target.path().display()
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

const LIST: &str = "find . -mindepth 1 -printf '%P %y %m %s %l\\n' | sed 's/ d \\([0-9]*\\) [0-9]* $/ d \\1/' | sort";

/// The same list from manifests alone.
fn list(view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    for found in view.walk(b"") {
        let path = String::from_utf8_lossy(&found.entry.path).into_owned();
        let mode = format!("{:o}", found.entry.meta.mode);
        lines.push(match (found.content(), found.entry.node.link_target()) {
            (Some((_, size)), _) => format!("{path} f {mode} {size} "),
            (None, Some(target)) => {
                let text = String::from_utf8_lossy(target);
                format!("{path} l {mode} {} {text}", target.len())
            }
            (None, None) => format!("{path} d {mode}"),
        });
    }
    lines.sort();
    lines
}

/// Runs the script on the lowers, commits, and compares three views of the result.
fn check(home: &Home, lowers: &[Digest], script: &str) -> Digest {
    let staging = home.store.stage().unwrap();
    let dirs: Vec<_> = lowers.iter().map(|layer| home.store.path(layer)).collect();
    let dirs: Vec<&Path> = dirs.iter().map(std::path::PathBuf::as_path).collect();
    let (upper, work) = (staging.upper(), staging.work());
    let seen = in_overlay(&dirs, Some((&upper, &work)), &format!("{script}; {LIST}"));
    let layer = home.store.commit_upper(staging, lowers).unwrap();
    let all: Vec<Digest> = lowers.iter().copied().chain([layer]).collect();
    let view = View::new(&home.store, &all).unwrap();
    let mut seen: Vec<&str> = seen.lines().collect();
    seen.sort_unstable();
    assert_eq!(list(&view), seen, "by its manifest: {script}");
    let mut dirs = dirs;
    let committed = home.store.path(&layer);
    dirs.push(&committed);
    let mounted = in_overlay(&dirs, None, LIST);
    let mut mounted: Vec<&str> = mounted.lines().collect();
    mounted.sort_unstable();
    assert_eq!(mounted, seen, "by its directory: {script}");
    let manifest = home.store.manifest(&layer).unwrap();
    let on_disk = super::disk(&committed);
    assert_eq!(on_disk.len(), manifest.entries().len(), "{on_disk:?}");
    assert_eq!(home.staged(), 0);
    layer
}

#[test]
fn a_layer_shows_what_the_command_saw() {
    if !is_root("a_layer_shows_what_the_command_saw") {
        return;
    }
    let home = Home::new();
    let first = home
        .layer(&[], &["a/", "a/1=one", "a/2=two", "a/s/", "a/s/x=x", "b=b", "l>a", "k/", "k/y=y"]);
    let second = home.layer(&[first], &["-k", "a/s/", "a/s/z=z", "c/", "c/d/", "c/d/e=e"]);
    for script in [
        "true",
        "rm b",
        "rm -r a; mkdir a; echo 3 >a/3",
        "rm -r a; mkdir -p a/s/new; echo 3 >a/1",
        "rm -r a; echo file >a",
        "rm b; mkdir b; echo x >b/x; rm b/x",
        "mv a/1 a/one; chmod 600 a/2; ln a/2 a/two; rm l; ln -s c l",
        "rm -r c; mkdir -p c/d; rm -r a/s; mkdir a/s",
        "mkdir k; echo y >k/other; rm a/s/x",
        "cp -a a n; rm n/1; mv n/2 b; touch gone; rm gone",
        "rm -r a b c l",
    ] {
        check(&home, &[first, second], script);
    }
}

#[test]
fn the_same_change_is_the_same_layer_however_it_came_about() {
    if !is_root("the_same_change_is_the_same_layer_however_it_came_about") {
        return;
    }
    let home = Home::new();
    let base = home.layer(&[], &["a/", "a/1=one", "a/s/", "a/s/x=x"]);
    let top = home.layer(&[base], &["b=b"]);
    let opaque = check(&home, &[base, top], "rm -r a; mkdir a; echo 2 >a/2");
    let one_by_one = check(&home, &[base, top], "rm -r a/s a/1; echo 2 >a/2");
    assert_eq!(home.listing(&opaque), home.listing(&one_by_one));
    assert_eq!(opaque, one_by_one);
    // A new directory is marked opaque by the kernel too; the mark must not reach the layer.
    let new = check(&home, &[base, top], "mkdir -m 755 n; echo 2 >n/2");
    let written = home.layer(&[base, top], &["n/", "n/2=2\n"]);
    assert_eq!(new, written);
}

#[test]
fn the_kernel_reads_what_the_writer_wrote() {
    if !is_root("the_kernel_reads_what_the_writer_wrote") {
        return;
    }
    let home = Home::new();
    let base = home.layer(&[], &["a/", "a/1=one", "b/", "b/2=2", "c=c", "d/", "d/x=x"]);
    let top = home.layer(&[base], &["!a", "a/new=n", "-c", "-d", "d/y=y"]);
    let dirs = [home.store.path(&base), home.store.path(&top)];
    let mounted = in_overlay(&[&dirs[0], &dirs[1]], None, LIST);
    let mut mounted: Vec<&str> = mounted.lines().collect();
    mounted.sort_unstable();
    let view = View::new(&home.store, &[base, top]).unwrap();
    assert_eq!(list(&view), mounted);
    assert_eq!(
        mounted,
        ["a d 755", "a/new f 644 1 ", "b d 755", "b/2 f 644 1 ", "d d 755", "d/y f 644 1 "]
    );
}
