//! What one run costs, beside the least that the kernel needs for the same.
//!
//! `run_cost ROOT BASE [COUNT]`: runs `/bin/busybox true` in the directory ROOT, which holds a static
//! busybox; BASE is an empty directory on a filesystem that can hold overlay's upper layers. The
//! yardstick is clone(2) with the same namespaces, one overlay mount, pivot_root(2) and execve(2). They
//! take turns, so that whatever else the machine does meets both.
//!
//! `run_cost ROOT BASE COUNT bare [PROGRAM [ARGUMENT…]]`: the yardstick alone, COUNT times one after the
//! other, with any program; prints the time of all together in nanoseconds. `cargo xtask bench` calls this. The yardstick is here because it needs
//! `unsafe` for clone(2), which this crate alone may use.

use std::error::Error;
use std::ffi::CString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_executor::{
    Cancel, HostFacts, Input, Network, Process, RunSpec, Sandboxes, Security, Upcoming, helper_main,
};
use kiln_ir::GuestPath;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

fn main() -> Result<(), Box<dyn Error>> {
    helper_main();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, base, rest @ ..] = arguments.as_slice() else {
        return Err("run_cost ROOT BASE [COUNT]".into());
    };
    let count = rest.first().map_or(Ok(100), |count| count.parse())?;
    let (root, base) = (Path::new(root), Path::new(base));
    if rest.get(1).is_some_and(|mode| mode == "bare") {
        let command: Vec<_> =
            rest[2..].iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?;
        let command = if command.is_empty() { nothing() } else { command };
        let total = bare_total(root, base, count, &command)?;
        return Ok(writeln!(std::io::stdout(), "{}", total.as_nanos())?);
    }
    let facts = HostFacts::gather()?;
    let without_filter = HostFacts { has_filters: false, ..facts.clone() };
    let sandboxes = Sandboxes::new("/proc/self/exe".into(), facts);
    let unfiltered = Sandboxes::new("/proc/self/exe".into(), without_filter);
    let scratch = base.join("scratch");
    std::fs::create_dir(&scratch)?;
    let (mut bare, mut whole, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..count {
        let dirs = directories(base, &format!("bare-{index}"))?;
        bare.push(time(|| yardstick(root, &dirs, &nothing()))?);
        let dirs = directories(base, &format!("run-{index}"))?;
        whole.push(time(|| one_run(root, dirs, &scratch, &sandboxes))?);
        let dirs = directories(base, &format!("open-{index}"))?;
        open.push(time(|| one_run(root, dirs, &scratch, &unfiltered))?);
    }
    let (bare, whole, open) = (median(bare), median(whole), median(open));
    writeln!(
        std::io::stdout(),
        "yardstick {bare:?}, run {whole:?} ({open:?} without a filter of system calls), ratio {:.2} \
         (medians of {count})",
        whole.as_secs_f64() / bare.as_secs_f64()
    )?;
    Ok(())
}

/// The command that does nothing.
fn nothing() -> Vec<CString> {
    vec![c"/bin/busybox".to_owned(), c"true".to_owned()]
}

fn bare_total(
    root: &Path,
    base: &Path,
    count: usize,
    command: &[CString],
) -> Result<Duration, Box<dyn Error>> {
    let mut total = Duration::ZERO;
    for index in 0..count {
        let dirs = directories(base, &format!("bare-{index}"))?;
        total += time(|| yardstick(root, &dirs, command))?;
    }
    Ok(total)
}

fn directories(base: &Path, name: &str) -> std::io::Result<[PathBuf; 3]> {
    let dirs = ["upper", "work", "scratch"].map(|kind| base.join(name).join(kind));
    for dir in &dirs {
        std::fs::create_dir_all(dir)?;
    }
    Ok(dirs)
}

fn time(what: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    what()?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn one_run(
    root: &Path,
    [upper, work, _]: [PathBuf; 3],
    scratch: &Path,
    sandboxes: &Sandboxes,
) -> Result<(), Box<dyn Error>> {
    let spec = RunSpec {
        lowers: vec![root.to_owned()],
        upper,
        work,
        scratch: scratch.to_owned(),
        process: Process {
            args: vec!["/bin/busybox".to_owned(), "true".to_owned()],
            env: Vec::new(),
            cwd: GuestPath::root(),
            user: String::new(),
            input: Input::Nothing,
        },
        hostname: "bench".to_owned(),
        network: Network::Host,
        security: Security::Sandbox,
        mounts: Vec::new(),
        limits: Vec::new(),
        extra_hosts: Vec::new(),
        shm_size_bytes: None,
    };
    let exit = sandboxes.run(&spec, Upcoming::Another, &mut |_, _| {}, &Cancel::never())?;
    if exit.success() { Ok(()) } else { Err(format!("{exit:?}").into()) }
}

fn yardstick(root: &Path, dirs: &[PathBuf; 3], command: &[CString]) -> Result<(), Box<dyn Error>> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    let mut stack = vec![0; 256 << 10];
    let body = Box::new(|| if bare_start(root, dirs, command).is_err() { 1 } else { 0 });
    // SAFETY: this program has one thread, and the child gets a copy of its memory, so it may run any
    // code; the stack is the child's own and larger than what `bare_start` needs.
    let child = unsafe { nix::sched::clone(body, &mut stack, flags, Some(libc::SIGCHLD)) }?;
    let status = nix::sys::wait::waitpid(child, None)?;
    if matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)) {
        return Ok(());
    }
    Err(format!("{status:?}").into())
}

fn bare_start(
    root: &Path,
    [upper, work, scratch]: &[PathBuf; 3],
    command: &[CString],
) -> Result<(), Box<dyn Error>> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr,volatile",
        root.display(),
        upper.display(),
        work.display()
    );
    let fs = Some("overlay");
    nix::mount::mount(fs, scratch.as_path(), fs, MsFlags::empty(), Some(options.as_str()))?;
    nix::unistd::chdir(scratch.as_path())?;
    nix::unistd::pivot_root(".", ".")?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::execve::<_, &std::ffi::CStr>(&command[0], command, &[])?;
    Ok(())
}
