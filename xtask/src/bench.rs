//! What builds cost, each as a ratio to what the same machine needs for the bare work in the same minute.
//!
//! Times in seconds mean little on a machine that others use too; so each measurement takes turns with
//! its yardstick, and the ratio of the two medians is what counts. The store is a new one beside the
//! build's output. Buildah, where installed, is timed once on the same Dockerfiles, and on a tenth of the
//! chain, times ten.

mod buildah;
mod bulk;
mod inputs;
mod plan;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use self::buildah::Buildah;
use self::inputs::Inputs;
use crate::base::{Kiln, NAME, provide};
use crate::shell::{output, run, say, top};

/// Commands in the chain.
const CHAIN: usize = 100;

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Stages that copy from each other, cold and cached
    Stages,
    /// Commands one after the other, cold and cached
    Chain,
    /// A context of many files: unchanged, and one changed
    Context,
    /// A COPY of many files
    ManyFiles,
    /// A RUN that writes many files
    ManyWritten,
    /// A COPY of one large file
    LargeFile,
    /// Plans of long Dockerfiles
    Plan,
}

/// Everything that a measurement needs.
struct Bench {
    kiln: Kiln,
    inputs: Inputs,
    /// Ours alone, and removed at the end.
    work: PathBuf,
    /// The example that holds the bare start of a sandbox.
    yardstick: PathBuf,
    runs: usize,
}

/// One row of the table.
struct Row {
    what: &'static str,
    yardstick: &'static str,
    aim: &'static str,
    ours: Vec<Duration>,
    bare: Vec<Duration>,
    buildah: Option<Duration>,
}

/// Measures everything, or only some of it, and prints the table.
pub(crate) fn bench(runs: usize, only: &[Part]) -> Result<()> {
    let wanted = |part: Part| only.is_empty() || only.contains(&part);
    let top = top()?;
    say("compiling kiln (release) ...");
    fs::create_dir_all(top.join("target"))?;
    let work = tempfile::Builder::new().prefix("bench-").tempdir_in(top.join("target"))?;
    let bench = Bench {
        kiln: Kiln::build(&top, work.path().join("store"))?,
        yardstick: build_yardstick(&top)?,
        inputs: Inputs::make(&work.path().join("inputs"), CHAIN)?,
        work: work.path().to_owned(),
        runs: runs.max(1),
    };
    provide(&bench.kiln)?;
    let buildah = Buildah::find(&bench.kiln, work.path())?;
    // Before anything has been removed: ext4 without a journal passes over each inode that was freed within
    // the last minutes whenever it looks for a new one (`recently_deleted` in fs/ext4/ialloc.c), which
    // makes every small file that is made after many were removed many times as dear.
    let mut notes = if wanted(Part::Stages) { bench.stages()? } else { Vec::new() };
    let mut rows = Vec::new();
    if wanted(Part::Chain) {
        rows.extend([bench.chain(&buildah)?, bench.chain_written()?, bench.chain_cached()?]);
    }
    if wanted(Part::Context) {
        rows.extend(bench.context(&buildah)?);
    }
    if wanted(Part::ManyFiles) {
        rows.push(bench.many_files()?);
    }
    if wanted(Part::ManyWritten) {
        rows.push(bench.many_written()?);
    }
    if wanted(Part::LargeFile) {
        rows.push(bench.large_file()?);
    }
    if wanted(Part::Plan) {
        notes.extend(plan::plans(&top)?);
    }
    print(rows.into_iter(), bench.runs);
    notes.iter().for_each(|line| say(line));
    if buildah.is_none() {
        say("buildah: absent (not installed), not timed");
    }
    Ok(())
}

fn build_yardstick(top: &Path) -> Result<PathBuf> {
    run(Command::new("cargo")
        .args(["build", "--quiet", "--release", "--locked", "--package", "kiln-executor"])
        .args(["--example", "run_cost"])
        .current_dir(top))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(top.join("target"), PathBuf::from);
    Ok(target.join("release/examples/run_cost"))
}

impl Bench {
    /// Cold, by one step after the other: what a step costs beyond its sandbox.
    fn chain(&self, buildah: &Option<Buildah>) -> Result<Row> {
        let root = self.base_tree()?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            bare.push(self.bare_starts(&root, CHAIN, &[])?);
            ours.push(self.build(&self.inputs.chain, &["--no-cache"])?);
        }
        Ok(Row {
            what: "chain of 100 RUN, cold",
            yardstick: "100 bare clone+overlay+pivot+exec",
            aim: "2.0",
            ours,
            bare,
            buildah: match buildah {
                Some(buildah) => Some(buildah.build(&self.inputs.chain_tenth, true)? * 10),
                None => None,
            },
        })
    }

    /// As [`Self::chain`], of commands that each write a file, so that each has a root filesystem and a layer of its own.
    fn chain_written(&self) -> Result<Row> {
        let root = self.base_tree()?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let write = ["/bin/busybox", "sh", "-c", "echo 1 > /file-1"];
            bare.push(self.bare_starts(&root, CHAIN, &write)?);
            ours.push(self.build(&self.inputs.chain_written, &["--no-cache"])?);
        }
        Ok(Row {
            what: "the same, each writes a file",
            yardstick: "the same bare, each writes a file",
            aim: "-",
            ours,
            bare,
            buildah: None,
        })
    }

    /// Nothing to do: the yardstick is the start of any process, so the ratio tells little and the time
    /// all.
    fn chain_cached(&self) -> Result<Row> {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        self.build(&self.inputs.chain, &[])?;
        for _ in 0..self.runs {
            bare.push(time(|| self.kiln_version())?);
            ours.push(self.build(&self.inputs.chain, &[])?);
        }
        Ok(Row {
            what: "the same, cached",
            yardstick: "kiln --version",
            aim: "-",
            ours,
            bare,
            buildah: None,
        })
    }

    /// A context of many files: nothing changed, and one file changed.
    fn context(&self, buildah: &Option<Buildah>) -> Result<[Row; 2]> {
        let context = &self.inputs.context;
        let copy = self.work.join("copy");
        let (mut cached, mut walks) = (Vec::new(), Vec::new());
        let (mut changed, mut copies) = (Vec::new(), Vec::new());
        self.build(context, &[])?;
        for round in 0..self.runs {
            walks.push(time(|| walk(context).map(drop))?);
            cached.push(self.build(context, &[])?);
            self.inputs.change_one_file(round)?;
            copies.push(time(|| {
                walk(context)?;
                output(Command::new("cp").arg("-r").arg(context).arg(&copy)).map(drop)
            })?);
            changed.push(self.build(context, &[])?);
            fs::remove_dir_all(&copy)?;
            // What the last build remembers of the context is then older than the racy moment.
            std::thread::sleep(Duration::from_millis(100));
            self.build(context, &[])?;
        }
        let mut others = [None, None];
        if let Some(buildah) = buildah {
            buildah.build(context, false)?;
            others[0] = Some(buildah.build(context, false)?);
            self.inputs.change_one_file(self.runs)?;
            others[1] = Some(buildah.build(context, false)?);
        }
        Ok([
            Row {
                what: "18 steps, 10,000 files, cached",
                yardstick: "one parallel stat walk",
                aim: "2.0",
                ours: cached,
                bare: walks,
                buildah: others[0],
            },
            Row {
                what: "the same, one file changed",
                yardstick: "the walk + cp -r",
                aim: "0.7",
                ours: changed,
                bare: copies,
                buildah: others[1],
            },
        ])
    }

    fn build(&self, context: &Path, options: &[&str]) -> Result<Duration> {
        let context = context.display().to_string();
        let mut command = self.kiln.command(&["build", "--quiet", "--tag", "bench"]);
        command.args(options).arg(context);
        time(|| output(&mut command).map(drop))
    }

    /// The base's files, for a sandbox without Kiln.
    fn base_tree(&self) -> Result<PathBuf> {
        let root = self.work.join("root");
        if !root.exists() {
            let unpack = format!("type=local,dest={}", root.display());
            let context = self.inputs.base_only.display().to_string();
            run(&mut self.kiln.command(&["build", "--quiet", "--output", &unpack, &context]))?;
        }
        Ok(root)
    }

    fn kiln_version(&self) -> Result<()> {
        output(&mut self.kiln.command(&["--version"])).map(drop)
    }

    /// A command, or else one that does nothing, so many times in the least of a sandbox.
    fn bare_starts(&self, root: &Path, count: usize, command_line: &[&str]) -> Result<Duration> {
        let base = tempfile::tempdir_in(&self.work)?;
        // An ordinary user needs a user namespace for it, as Kiln does.
        let mut command = if nix::unistd::geteuid().is_root() {
            Command::new(&self.yardstick)
        } else {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--mount"]).arg(&self.yardstick);
            command
        };
        command.arg(root).arg(base.path()).args([&count.to_string(), "bare"]);
        command.args(command_line);
        let nanoseconds = output(&mut command)?.trim().parse().context("the yardstick's time")?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}

/// Looks at everything below a directory, on all cores; says how many files there are.
fn walk(dir: &Path) -> Result<usize> {
    let (mut dirs, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { &mut dirs } else { &mut files }.push(entry.path());
    }
    let here = files.len();
    for file in files {
        fs::symlink_metadata(&file).with_context(|| file.display().to_string())?;
    }
    let below = dirs.into_par_iter().map(|dir| walk(&dir)).sum::<Result<usize>>()?;
    Ok(here + below)
}

fn time(what: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    what()?;
    Ok(start.elapsed())
}

fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64()
}

fn print(rows: impl Iterator<Item = Row>, runs: usize) {
    say(&format!("\nBase {NAME}. Milliseconds, medians of {runs}; buildah once."));
    say(&format!(
        "{:<31} {:>8}  {:<34} {:>8} {:>6} {:>5} {:>9}",
        "work", "kiln", "yardstick", "alone", "ratio", "aim", "buildah"
    ));
    for row in rows {
        let (ours, bare) = (median(&row.ours), median(&row.bare));
        let buildah = row.buildah.map_or("-".to_owned(), |time| ms(time.as_secs_f64()));
        say(&format!(
            "{:<31} {:>8}  {:<34} {:>8} {:>6.2} {:>5} {:>9}",
            row.what,
            ms(ours),
            row.yardstick,
            ms(bare),
            ours / bare,
            row.aim,
            buildah
        ));
    }
}

fn ms(seconds: f64) -> String {
    format!("{:.1}", seconds * 1e3)
}
