//! Carries out steps: which process does which, and who reports what.
//!
//! All effects go through [`Kernel`].

use std::io;

use crate::foreign::{self, HEADER_BYTES, Program};
use crate::kernel::{Identity, Kernel, Spawned};
use crate::report::{Fault, Report};
use crate::users;
use crate::{Exit, Step};

/// The most that is read of the guest's user database, in bytes.
const DATABASE_LIMIT: u64 = 4 << 20;
/// Where programs are looked for when the command's environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Takes the frame's steps, none of which forks.
pub(crate) fn prepare(steps: &[Step], kernel: &mut impl Kernel) -> Result<(), Fault> {
    steps
        .iter()
        .try_for_each(|step| kernel.perform(step).map_err(|error| Fault::step(step, &error)))
}

/// Takes the steps in order, in both processes they lead to: the sandbox's first one, and the command's.
/// Returns what there is to report, but in a process that became the command.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kernel takes all steps but three")]
pub(crate) fn apply<K: Kernel>(steps: &[Step], kernel: &mut K) -> Report {
    let mut home = None;
    for (index, step) in steps.iter().enumerate() {
        let done = match step {
            Step::ForkCommand => return run(step, &steps[index + 1..], kernel),
            Step::BecomeUser { .. } => become_user(step, kernel).map(|found| home = Some(found)),
            Step::Execute { args, env, .. } => {
                return execute(args, env, home.as_deref(), kernel);
            }
            other => kernel.perform(other).map_err(|error| Fault::step(other, &error)),
        };
        if let Err(fault) = done {
            return Report::Failed(fault);
        }
    }
    Report::Ended(Exit::Code(0))
}

/// Has the rest of the steps taken by a process of their own, and waits until it ends.
fn run<K: Kernel>(step: &Step, rest: &[Step], kernel: &mut K) -> Report {
    let spawned = kernel.spawn(&mut |kernel| apply(rest, kernel));
    let ended = spawned.and_then(|spawned| match spawned {
        Spawned::Command(command) => kernel.reap(command).map(Report::Ended),
        Spawned::NotExecuted(report) => Ok(report),
    });
    ended.unwrap_or_else(|error| Report::Failed(Fault::step(step, &error)))
}

/// Becomes the step's user and returns its home directory.
fn become_user(step: &Step, kernel: &mut impl Kernel) -> Result<String, Fault> {
    let Step::BecomeUser { user, keep_capabilities, may_set_groups } = step else {
        return Ok(String::new());
    };
    let mut read = |path: &str| {
        let content = kernel.read_guest_file(path, DATABASE_LIMIT);
        content
            .map(Option::unwrap_or_default)
            .map_err(|error| Fault::step(&format!("read `{path}` of the image"), &error))
    };
    let (passwd, group) = (read(users::PASSWD)?, read(users::GROUP)?);
    let found = users::find(user, &passwd, &group)?;
    let groups = may_set_groups.then(|| {
        let mut groups = vec![found.gid];
        groups.extend(found.supplementary.iter().filter(|&&gid| gid != found.gid));
        groups
    });
    let identity = Identity { uid: found.uid, gid: found.gid, groups };
    kernel.become_user(&identity, *keep_capabilities).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::EINVAL) => Fault::UnmappedId { kind: "user".to_owned(), id: found.uid },
            _ => Fault::step(step, &error),
        }
    })?;
    Ok(found.home)
}

/// Becomes the command, or says why not.
fn execute(
    args: &[String],
    env: &[(String, String)],
    home: Option<&str>,
    kernel: &mut impl Kernel,
) -> Report {
    let env = environment(env, home);
    let Some(program) = args.first().filter(|program| !program.is_empty()) else {
        return not_executed(127, "the command is empty".to_owned());
    };
    if program.contains('/') {
        let error = kernel.execute(program, args, &env);
        return explain(program, program, &error, kernel);
    }
    let path = env.iter().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);
    let mut refused = None;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{}/{program}", directory.trim_end_matches('/'));
        let error = kernel.execute(&candidate, args, &env);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) if !kernel.exists(&candidate) => {}
            Some(libc::EACCES) => refused = refused.or(Some((candidate, error))),
            _ => return explain(program, &candidate, &error, kernel),
        }
    }
    match refused {
        Some((candidate, error)) => explain(program, &candidate, &error, kernel),
        None => not_executed(127, format!("`{program}` was not found in PATH ({path})")),
    }
}

/// The command's variables: the last of each name, and `HOME`.
fn environment(env: &[(String, String)], home: Option<&str>) -> Vec<(String, String)> {
    let mut result: Vec<(String, String)> = Vec::with_capacity(env.len() + 1);
    for (name, value) in env {
        match result.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => old.clone_from(value),
            None => result.push((name.clone(), value.clone())),
        }
    }
    if !result.iter().any(|(name, _)| name == "HOME") {
        result.push(("HOME".to_owned(), home.unwrap_or("/").to_owned()));
    }
    result
}

fn explain(program: &str, path: &str, error: &io::Error, kernel: &mut impl Kernel) -> Report {
    if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOEXEC))
        && let Some((program, architecture)) = foreign(path, kernel)
    {
        return not_executed(
            126,
            format!("`{program}` is a program for {architecture}, which this machine cannot run"),
        );
    }
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) if kernel.exists(path) => not_executed(
            127,
            format!("`{path}` cannot run: the interpreter or loader it names is not in the image"),
        ),
        Some(libc::ENOENT | libc::ENOTDIR) => {
            not_executed(127, format!("`{program}` was not found"))
        }
        Some(libc::EACCES) => not_executed(126, format!("`{path}` is not an executable file")),
        Some(libc::ENOEXEC) => not_executed(
            126,
            format!("`{path}` is neither a program for this machine nor a script with a `#!` line"),
        ),
        _ => not_executed(126, format!("`{path}` cannot run: {error}")),
    }
}

/// The program for another machine that executing a path comes down to, and which machine that is.
fn foreign(path: &str, kernel: &mut impl Kernel) -> Option<(String, &'static str)> {
    let mut read = |path: &str| kernel.read_guest_file(path, HEADER_BYTES).ok().flatten();
    let header = read(path)?;
    match foreign::look(&header) {
        Program::Foreign(architecture) => Some((path.to_owned(), architecture)),
        Program::Script(interpreter) => match foreign::look(&read(interpreter)?) {
            Program::Foreign(architecture) => Some((interpreter.to_owned(), architecture)),
            Program::Script(_) | Program::Other => None,
        },
        Program::Other => None,
    }
}

fn not_executed(code: i32, message: String) -> Report {
    Report::NotExecuted { code, message }
}

#[cfg(test)]
mod tests;
