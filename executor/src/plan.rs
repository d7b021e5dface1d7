//! The sandbox as data: which steps make it, in which order.
//!
//! Pure. The order carries meaning. A [`Frame`] is what does not depend on the command and its files: the
//! namespaces, `/proc`, `/sys` and `/dev`. Its steps are taken by the sandbox's first process, which may
//! be long before the command is known. The steps that follow are taken by the same process up to
//! [`Step::ForkCommand`], and by the command's after it. What needs the host's paths comes before
//! [`Step::Pivot`], what follows the guest's paths after [`Step::LeaveHost`], what needs privilege before
//! [`Step::BecomeUser`].

mod docker;
mod frame;
mod seccomp;
mod step;

use std::path::{Path, PathBuf};

pub use docker::default_capabilities;
pub(crate) use seccomp::Filter;
pub use step::{
    DeviceKind, FileSource, Frame, Kind, MountFlag, MountPoint, Namespace, RootMount, SandboxPlan,
    Step,
};

use crate::{Access, HostFacts, Ids, Input, MountSource, MountSpec, Process, RunSpec, Security};

/// Lays out the sandbox for one command.
#[must_use]
pub fn plan(spec: &RunSpec, facts: &HostFacts) -> SandboxPlan {
    let layout = Layout { scratch: &spec.scratch };
    let mut steps = Vec::new();
    prepare_sources(spec, &layout, &mut steps);
    steps.push(Step::MountRoot(root_mount(spec, &layout)));
    steps.extend(
        FRAME_DIRECTORIES.map(|directory| Step::AttachFrame { directory: directory.to_owned() }),
    );
    mount_files(spec, &layout, &mut steps);
    steps.push(Step::Pivot);
    steps.extend(plan_command(spec, facts));
    SandboxPlan { frame: frame::plan(spec, facts, &layout), steps }
}

/// The steps to the command in a sandbox whose root filesystem is mounted: the last part of [`plan()`], and all that
/// another command in the same sandbox takes.
pub(crate) fn plan_command(spec: &RunSpec, facts: &HostFacts) -> Vec<Step> {
    let input = match spec.process.input {
        Input::Nothing => Step::NullInput,
        Input::Pipe => Step::OfferPipe,
        Input::Terminal(size) => Step::OfferTerminal(size),
    };
    let mut steps = vec![input, Step::ForkCommand];
    start_command(spec, facts, &mut steps);
    steps
}

/// Has a plan take over the root filesystem of an earlier command, which must be that of the same spec but for what is run
/// in it.
pub(crate) fn take_root(steps: &mut [Step]) {
    for step in steps {
        if let Step::MountRoot(RootMount { upper, at, .. }) = step {
            *step = Step::TakeRoot { upper: std::mem::take(upper), at: std::mem::take(at) };
        }
    }
}

/// What of a root filesystem the frame supplies.
const FRAME_DIRECTORIES: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Where things stand in the scratch directory.
struct Layout<'a> {
    scratch: &'a Path,
}

impl Layout<'_> {
    /// A filesystem in memory: for secrets, which must not reach a disk, and for small files, which are
    /// made there at a tenth of the cost.
    fn memory(&self) -> PathBuf {
        self.scratch.join("memory")
    }

    fn root(&self) -> PathBuf {
        self.memory().join("root")
    }

    /// Stands for the root until that is mounted.
    fn frame(&self) -> PathBuf {
        self.memory().join("frame")
    }

    fn hosts(&self) -> PathBuf {
        self.memory().join("hosts")
    }

    fn resolv_conf(&self) -> PathBuf {
        self.memory().join("resolv.conf")
    }

    fn secret(&self, index: usize) -> PathBuf {
        self.memory().join(format!("secret-{index}"))
    }

    fn snapshot(&self, index: usize) -> PathBuf {
        self.memory().join(format!("snapshot-{index}"))
    }
}

/// Makes, outside the root, what is later mounted into it.
fn prepare_sources(spec: &RunSpec, layout: &Layout<'_>, steps: &mut Vec<Step>) {
    for (index, mount) in spec.mounts.iter().enumerate() {
        match &mount.source {
            MountSource::Secret { content, mode, uid, gid } => {
                steps.push(Step::WriteFile(FileSource {
                    path: layout.secret(index),
                    content: content.clone(),
                    mode: *mode,
                    uid: *uid,
                    gid: *gid,
                }));
            }
            MountSource::Snapshot { lowers, path, writable } => {
                steps.push(Step::OpenSnapshot {
                    lowers: lowers.clone(),
                    writable: writable.clone(),
                    scratch: layout.scratch.to_owned(),
                    at: layout.snapshot(index),
                    path: path.as_str().to_owned(),
                });
            }
            MountSource::Directory { .. }
            | MountSource::Tmpfs { .. }
            | MountSource::File { .. } => {}
        }
    }
}

fn root_mount(spec: &RunSpec, layout: &Layout<'_>) -> RootMount {
    let fixed = FRAME_DIRECTORIES.iter().map(|path| (path, Kind::Directory));
    let fixed = fixed.chain([(&"/etc/resolv.conf", Kind::File), (&"/etc/hosts", Kind::File)]);
    let mut mount_points: Vec<MountPoint> =
        fixed.map(|(&path, kind)| MountPoint { path: path.to_owned(), kind }).collect();
    let mut snapshots = 0;
    for mount in &spec.mounts {
        let kind = match mount.source {
            MountSource::Directory { .. } | MountSource::Tmpfs { .. } => Kind::Directory,
            MountSource::Secret { .. } | MountSource::File { .. } => Kind::File,
            MountSource::Snapshot { .. } => {
                snapshots += 1;
                Kind::OfSnapshot(snapshots - 1)
            }
        };
        mount_points.push(MountPoint { path: mount.target.as_str().to_owned(), kind });
    }
    // What stands on /dev, /proc or /sys is made on the filesystem mounted there.
    mount_points.retain(|point| {
        !FRAME_DIRECTORIES.iter().any(|directory| {
            point.path.strip_prefix(directory).is_some_and(|below| below.starts_with('/'))
        })
    });
    RootMount {
        lowers: spec.lowers.clone(),
        upper: spec.upper.clone(),
        work: spec.work.clone(),
        scratch: layout.scratch.to_owned(),
        at: layout.root(),
        mount_points,
        // Without Docker's limits a command may also have changed how it is mounted.
        outlives: spec.security == Security::Sandbox,
    }
}

fn mount_files(spec: &RunSpec, layout: &Layout<'_>, steps: &mut Vec<Step>) {
    steps.push(bind(&layout.resolv_conf(), "/etc/resolv.conf", Kind::File, Access::ReadOnly));
    steps.push(bind(&layout.hosts(), "/etc/hosts", Kind::File, Access::ReadOnly));
    let mut snapshots = 0;
    for (index, mount) in spec.mounts.iter().enumerate() {
        steps.push(mount_requested(mount, index, layout, &mut snapshots));
    }
}

fn mount_requested(
    mount: &MountSpec,
    index: usize,
    layout: &Layout<'_>,
    snapshots: &mut usize,
) -> Step {
    let target = mount.target.as_str();
    match &mount.source {
        MountSource::Directory { path, access } => bind(path, target, Kind::Directory, *access),
        MountSource::File { path, access } => bind(path, target, Kind::File, *access),
        MountSource::Secret { .. } => {
            bind(&layout.secret(index), target, Kind::File, Access::ReadOnly)
        }
        MountSource::Tmpfs { size_bytes } => {
            Step::Tmpfs { target: target.to_owned(), size_bytes: *size_bytes }
        }
        MountSource::Snapshot { .. } => {
            *snapshots += 1;
            Step::AttachSnapshot { index: *snapshots - 1, target: target.to_owned() }
        }
    }
}

fn bind(source: &Path, target: &str, kind: Kind, access: Access) -> Step {
    Step::Bind { source: source.to_owned(), target: target.to_owned(), kind, access }
}

fn start_command(spec: &RunSpec, facts: &HostFacts, steps: &mut Vec<Step>) {
    let Process { args, env, cwd, user, input } = &spec.process;
    if let Input::Terminal(_) = input {
        steps.push(Step::TakeTerminal);
    }
    if !spec.limits.is_empty() {
        steps.push(Step::SetLimits { limits: spec.limits.clone() });
    }
    steps.push(Step::NewKeyring);
    // Whoever may gain privileges must be privileged to install a filter.
    if spec.security == Security::Sandbox && facts.has_filters {
        steps.push(Step::FilterSystemCalls);
    }
    steps.extend([
        Step::LeaveHost,
        Step::EnterDirectory { path: cwd.as_str().to_owned() },
        Step::BecomeUser {
            user: user.clone(),
            keep_capabilities: kept_capabilities(spec.security),
            may_set_groups: facts.ids != Ids::Single,
        },
        Step::Execute { args: args.clone(), env: env.clone(), cwd: cwd.as_str().to_owned() },
    ]);
}

fn kept_capabilities(security: Security) -> u64 {
    match security {
        Security::Sandbox => docker::default_capabilities(),
        Security::Insecure => u64::MAX,
    }
}

#[cfg(test)]
mod tests;
