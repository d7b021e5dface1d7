//! Much at once: many files, one large file, a command that writes many files, many stages.
//!
//! Each build is a cold one, in a store of its own, and exports nothing: what is measured is the step.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, Row, time};
use crate::shell::{output, run};

/// Files of the large copy, and in each of its directories.
const FILES: usize = 50_000;
const FILES_PER_DIRECTORY: usize = 500;
/// Bytes of the large file.
const LARGE_BYTES: u64 = 1 << 30;
/// What the command does: 20,000 files in 100 directories.
const SCRIPT: &str = "for d in $(seq 100); do mkdir -p /out/$d; \
    for f in $(seq 200); do echo $d $f > /out/$d/$f; done; done";
/// Stages that copy from each other.
const STAGES: usize = 1_000;

impl Bench {
    /// A context of many files, copied as a whole.
    pub(super) fn many_files(&self) -> Result<Row> {
        let context = self.work.join("many-files");
        for directory in 0..FILES / FILES_PER_DIRECTORY {
            let path = context.join(format!("tree/{directory}"));
            fs::create_dir_all(&path)?;
            for file in 0..FILES_PER_DIRECTORY {
                fs::write(path.join(file.to_string()), format!("{directory}/{file}\n").repeat(8))?;
            }
        }
        let (ours, bare) = self.copies(&context)?;
        fs::remove_dir_all(&context)?;
        Ok(row("COPY of 50,000 files, cold", "cp -r", "1.3", ours, bare))
    }

    /// A context of one large file.
    pub(super) fn large_file(&self) -> Result<Row> {
        let context = self.work.join("large-file");
        fs::create_dir_all(context.join("tree"))?;
        // Not sparse, and not compressible by a filesystem that would.
        let mut random = fs::File::open("/dev/urandom")?;
        let mut file = fs::File::create(context.join("tree/large"))?;
        std::io::copy(&mut std::io::Read::take(&mut random, LARGE_BYTES), &mut file)?;
        let (ours, bare) = self.copies(&context)?;
        fs::remove_dir_all(&context)?;
        Ok(row("COPY of a file of 1 GiB", "cp -r", "1.3", ours, bare))
    }

    /// Copies `context/tree` as a build and by cp, in turns.
    fn copies(&self, context: &Path) -> Result<(Vec<Duration>, Vec<Duration>)> {
        fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY tree /tree\n")?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        let copy = self.work.join("bulk-copy");
        for _ in 0..self.runs {
            let tree = context.join("tree");
            self.at_rest()?;
            bare.push(time(|| {
                output(Command::new("cp").arg("-r").arg(&tree).arg(&copy)).map(drop)
            })?);
            remove(&copy)?;
            self.at_rest()?;
            ours.push(self.cold(context, &[])?);
        }
        Ok((ours, bare))
    }

    /// Waits until the disk has what was written before: the context in the first round, and in each what a build's
    /// last work writes behind it. Whoever is measured next would pay for it, and that would be `cp`, whose time
    /// would flatter ours, or in the first round both.
    fn at_rest(&self) -> Result<()> {
        run(Command::new("sync").arg("--file-system").arg(&self.work))
    }

    /// A command that writes many files, against the same command without Kiln.
    pub(super) fn many_written(&self) -> Result<Row> {
        let context = self.work.join("many-written");
        fs::create_dir_all(&context)?;
        fs::write(context.join("Dockerfile"), format!("FROM base\nRUN {SCRIPT}\n"))?;
        let root = self.base_tree()?;
        let archive = self.work.join("base.oci");
        let base = self.inputs.base_only.display().to_string();
        let target = format!("type=oci,tar=false,dest={}", archive.display());
        output(&mut self.kiln.command(&["build", "--quiet", "--output", &target, &base]))?;
        let named = format!("base=oci-layout://{}", archive.display());
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            bare.push(self.bare_starts(&root, 1, &["/bin/busybox", "sh", "-c", SCRIPT])?);
            ours.push(self.cold(&context, &["--build-context", &named])?);
        }
        Ok(row("RUN that writes 20,000 files", "the same in a bare sandbox", "1.3", ours, bare))
    }

    /// One cold build in a store that lives no longer.
    fn cold(&self, context: &Path, options: &[&str]) -> Result<Duration> {
        let store = self.work.join("bulk-store");
        let mut command = self.unexported(context);
        command.args(options).env("KILN_ROOT", &store);
        let taken = time(|| output(&mut command).map(drop))?;
        remove(&store)?;
        Ok(taken)
    }

    fn unexported(&self, context: &Path) -> Command {
        let mut command = self.kiln.command(&["build", "--quiet", "--output", "type=cacheonly"]);
        command.arg(context);
        command
    }

    /// Stages that copy from each other, cold and cached: time per vertex, and ten times as many.
    pub(super) fn stages(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut seconds = Vec::new();
        for count in [STAGES, STAGES * 10] {
            let context = self.work.join(format!("stages-{count}"));
            fs::create_dir_all(&context)?;
            fs::write(context.join("seed"), "seed\n")?;
            fs::write(context.join("Dockerfile"), stages(count))?;
            // A store of their own: the measurements that follow are not of one with so many results.
            let store = self.work.join("stages-store");
            let build =
                || time(|| output(self.unexported(&context).env("KILN_ROOT", &store)).map(drop));
            let cold = build()?.as_secs_f64();
            let mut cached: Vec<_> = (0..self.runs).map(|_| build()).collect::<Result<_>>()?;
            cached.sort_unstable();
            let cached = cached[cached.len() / 2].as_secs_f64();
            // All stages but one have two.
            let vertices = 2 * count - 1;
            let each = |total: f64| total * 1e6 / vertices as f64;
            lines.push(format!(
                "{count} stages: cold {:.1} ms, {:.0} µs a vertex (aim 2,000); cached {:.1} ms, \
                 {:.0} µs a vertex (aim 50)",
                cold * 1e3,
                each(cold),
                cached * 1e3,
                each(cached)
            ));
            seconds.push((cold, cached));
        }
        if let [(cold, cached), (ten_cold, ten_cached)] = seconds[..] {
            lines.push(format!(
                "ten times the stages: cold {:.1} times, cached {:.1} times (aim about 10)",
                ten_cold / cold,
                ten_cached / cached
            ));
        }
        Ok(lines)
    }
}

/// A stage that copies a file, and stages that each copy it from two earlier ones.
fn stages(count: usize) -> String {
    let mut text = "FROM scratch AS s0\nCOPY seed /f0\n".to_owned();
    for stage in 1..count {
        let (near, far) = (stage - 1, stage / 2);
        // Writing to a string cannot fail.
        let _ok = writeln!(
            text,
            "FROM scratch AS s{stage}\nCOPY --from=s{near} /f{near} /f{stage}\n\
             COPY --from=s{far} /f{far} /g{stage}"
        );
    }
    text
}

fn row(
    what: &'static str,
    yardstick: &'static str,
    aim: &'static str,
    ours: Vec<Duration>,
    bare: Vec<Duration>,
) -> Row {
    Row { what, yardstick, aim, ours, bare, buildah: None }
}

/// Removes a directory, if it is there. A build's last work on its store goes on behind it, so it may take a while
/// until nothing is added any more.
fn remove(path: &Path) -> Result<()> {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == ErrorKind::DirectoryNotEmpty && Instant::now() < patience =>
            {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
