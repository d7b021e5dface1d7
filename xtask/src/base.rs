//! A base image for the demo and the benchmarks, from the first source that answers.
//!
//! The order: the local store, the registry, Debian's `busybox-static` package (installed, or fetched by
//! `apt-get download`, which needs no root). The package becomes an image by a build of Kiln's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell::{output, run, say};

/// The name under which the base is known to the store.
pub(crate) const NAME: &str = "busybox:latest";

/// The built `kiln` and the store it works on.
pub(crate) struct Kiln {
    binary: PathBuf,
    root: PathBuf,
}

impl Kiln {
    /// Compiles `kiln` as it ships and points it at a store of its own.
    pub(crate) fn build(top: &Path, root: PathBuf) -> Result<Self> {
        run(Command::new("cargo")
            .args(["build", "--quiet", "--release", "--locked", "--package", "kiln-cli"])
            .current_dir(top))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(top.join("target"), PathBuf::from);
        fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        Ok(Self { binary: target.join("release/kiln"), root })
    }

    /// A call of `kiln` on this store.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("KILN_ROOT", &self.root);
        command
    }
}

/// Puts a base image named [`NAME`] into the store, and says where it came from.
pub(crate) fn provide(kiln: &Kiln) -> Result<()> {
    if output(&mut kiln.command(&["inspect", NAME])).is_ok() {
        say(&format!("base: {NAME}, from the local store"));
        return Ok(());
    }
    let work = tempfile::tempdir().context("a temporary directory")?;
    fs::write(work.path().join("Dockerfile"), format!("FROM {NAME}\n"))?;
    let context = work.path().display().to_string();
    if output(&mut kiln.command(&["build", "--quiet", "--tag", NAME, &context])).is_ok() {
        say(&format!("base: {NAME}, from the registry"));
        return Ok(());
    }
    from_package(kiln, work.path())?;
    say(&format!("base: {NAME}, made from Debian's busybox-static (no registry answered)"));
    Ok(())
}

fn from_package(kiln: &Kiln, work: &Path) -> Result<()> {
    fs::copy(static_busybox(work)?, work.join("busybox")).context("copying busybox")?;
    fs::write(work.join("passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(work.join("group"), "root:x:0:\n")?;
    fs::write(
        work.join("Dockerfile"),
        "FROM scratch\n\
         COPY --chmod=755 busybox /bin/busybox\n\
         COPY --chmod=644 passwd group /etc/\n\
         RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
         RUN mkdir -p -m 1777 /tmp && mkdir -p /root /var /usr\n\
         CMD [\"sh\"]\n",
    )?;
    let context = work.display().to_string();
    run(&mut kiln.command(&["build", "--quiet", "--tag", NAME, &context]))
}

/// A statically linked busybox on this machine, fetched if need be.
fn static_busybox(work: &Path) -> Result<PathBuf> {
    let installed = [Path::new("/bin/busybox"), Path::new("/usr/bin/busybox")];
    if let Some(path) = installed.into_iter().find(|path| is_static(path)) {
        return Ok(path.to_owned());
    }
    output(Command::new("apt-get").args(["download", "busybox-static"]).current_dir(work))
        .context("no registry answers, and Debian's busybox-static cannot be fetched either")?;
    let packages = fs::read_dir(work)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = packages
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .max()
        .context("apt-get left no package")?;
    let unpacked = work.join("package");
    output(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))?;
    let found = ["bin/busybox", "usr/bin/busybox"].map(|path| unpacked.join(path));
    match found.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("the busybox-static package holds no busybox"),
    }
}

/// Whether a program asks for no dynamic loader: an ELF file without an interpreter's path.
fn is_static(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| {
        bytes.starts_with(b"\x7fELF")
            && !bytes[..bytes.len().min(4096)].windows(7).any(|window| window == b"ld-linu")
    })
}
