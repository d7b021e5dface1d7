//! Base images, made by Kiln from what Debian has, once for all tests and runs.
//!
//! Each is an OCI layout in `target/test-bases`, under a name with a version: a change of how it is made
//! comes with another version. Whoever makes one holds a lock, so that tests and processes that run at the
//! same time wait for it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::build::Kiln;
use super::{find, remove, tool};

/// The release that base images are of.
const SUITE: &str = "bookworm";

/// Debian with Python and pip.
pub(crate) fn python() -> Option<PathBuf> {
    once("python-v1", |dir| debian(dir, "python3,python3-pip"))
}

/// Debian with a C compiler.
pub(crate) fn c() -> Option<PathBuf> {
    once("c-v1", |dir| debian(dir, "gcc,libc6-dev"))
}

/// A statically linked busybox and two accounts; a megabyte.
pub(crate) fn busybox() -> Option<PathBuf> {
    once("busybox-v1", from_busybox)
}

/// Makes a layout if it is not there. `make` gets an empty directory and puts a context of a build there,
/// or says what is missing.
fn once(name: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> Option<PathBuf> {
    let bases = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("test-bases");
    fs::create_dir_all(&bases).unwrap();
    let lock = File::create(bases.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let base = bases.join(name);
    if base.is_dir() {
        return Some(base);
    }
    let work = tempfile::tempdir_in(&bases).unwrap();
    let context = work.path().join("context");
    fs::create_dir(&context).unwrap();
    if let Err(missing) = make(&context) {
        kiln_testkit::skipped(&format!("no base image {name}: {missing}"));
        return None;
    }
    let layout = work.path().join("layout");
    let kiln = Kiln::at(work.path().join("store"));
    kiln.build(&context).tag("base").into_layout(&layout).at_epoch().run();
    fs::rename(layout, &base).unwrap();
    remove(work.path());
    Some(base)
}

fn debian(context: &Path, packages: &str) -> Result<(), String> {
    if find("mmdebstrap").is_none() {
        return Err("mmdebstrap is not installed".to_owned());
    }
    let made = tool("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--include", packages, SUITE])
        .arg(context.join("rootfs.tar"))
        .env("SOURCE_DATE_EPOCH", "0")
        .output()
        .unwrap();
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        return Err(format!("mmdebstrap: {}: {said}", made.status));
    }
    let dockerfile = "FROM scratch\nADD rootfs.tar /\nCMD [\"bash\"]\n";
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    Ok(())
}

fn from_busybox(context: &Path) -> Result<(), String> {
    let busybox = find("busybox").ok_or("busybox-static is not installed")?;
    let program = fs::read(busybox).unwrap();
    // A dynamically linked program names its loader near its start.
    if program[..4096].windows(4).any(|bytes| bytes == b"/ld-") {
        return Err("busybox is not statically linked (Debian: busybox-static)".to_owned());
    }
    fs::write(context.join("busybox"), program).unwrap();
    let accounts = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
    for (name, text) in [("passwd", accounts), ("group", "root:x:0:\napp:x:1000:\n")] {
        fs::write(context.join(name), text).unwrap();
        fs::set_permissions(context.join(name), Permissions::from_mode(0o644)).unwrap();
    }
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch\n\
         COPY --chmod=755 busybox /bin/busybox\n\
         COPY passwd group /etc/\n\
         RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
         RUN mkdir -p -m 1777 /tmp && mkdir /root\n\
         CMD [\"sh\"]\n",
    )
    .unwrap();
    Ok(())
}
