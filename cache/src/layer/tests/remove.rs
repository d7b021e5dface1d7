//! Removing what a hostile command left.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::super::disk::{HOST, open_dir, open_dir_at};
use super::super::remove::remove_tree;
use super::{bytes, chmod, is_root};

/// Makes `levels` directories, one in the other, deeper than any path reaches.
pub(super) fn deepen(top: &Path, levels: usize) {
    let mut dir = open_dir(top).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&dir, "dd", rustix::fs::Mode::RWXU).unwrap();
        dir = open_dir_at(&dir, "dd").unwrap();
    }
}

#[test]
fn removes_deep_trees_odd_names_and_links_without_following() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let home = TempDir::new().unwrap();
    let top = home.path().join("top");
    fs::create_dir_all(top.join("work/work")).unwrap();
    deepen(&top, 3000);
    // A second deep tree, and a name that is in the way of taking them apart.
    fs::create_dir(top.join("other")).unwrap();
    deepen(&top.join("other"), 200);
    fs::create_dir_all(top.join(".deep-1/x")).unwrap();
    fs::write(top.join(".deep-2"), "x").unwrap();
    fs::write(top.join(bytes(b"\xff\n")), "x").unwrap();
    symlink(outside.path(), top.join("link")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    chmod(&top.join("work/work"), 0o000);
    remove_tree(&top).unwrap();
    assert!(!top.exists());
    assert!(outside.path().join("precious").exists());
    remove_tree(&top).unwrap();
    rustix::fs::statat(HOST, &top, rustix::fs::AtFlags::empty()).unwrap_err();
}

/// Set in the child of the test below: where it is to work.
const CHILD_DIR: &str = "KILN_TEST_REMOVE_DIR";

#[test]
fn an_ordinary_user_removes_directories_without_permissions() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let top = Path::new(&dir).join("top");
        fs::create_dir_all(top.join("work/work/deeper")).unwrap();
        fs::write(top.join("work/work/file"), "x").unwrap();
        for (path, mode) in [("work/work/deeper", 0o000), ("work/work", 0o000), ("work", 0o500)] {
            chmod(&top.join(path), mode);
        }
        return remove_tree(&top).unwrap();
    }
    if !is_root("an_ordinary_user_removes_directories_without_permissions") {
        return;
    }
    let home = TempDir::new().unwrap();
    chmod(home.path(), 0o777);
    // A copy, as the build directory may be closed to other users.
    let program = home.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let name = "layer::tests::remove::an_ordinary_user_removes_directories_without_permissions";
    let output = Command::new(&program)
        .args(["--exact", name])
        .env(CHILD_DIR, home.path())
        .uid(64_242)
        .gid(64_242)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert!(!home.path().join("top").exists());
}
