//! The sandbox as data: which steps make it, in which order.
//!
//! Pure. The order carries meaning: what needs the host's paths comes before [`Step::Pivot`], what needs
//! privilege before [`Step::BecomeUser`], and the two forks divide the list among three processes: the
//! helper takes the steps up to [`Step::ForkInit`], the sandbox's first process those up to
//! [`Step::ForkCommand`], the command the rest.

mod docker;
mod step;

use std::path::{Path, PathBuf};

pub use docker::default_capabilities;
pub use step::{FileSource, Kind, MountFlag, MountPoint, Namespace, RootMount, SandboxPlan, Step};

use crate::{Access, HostFacts, Ids, MountSource, MountSpec, Network, Process, RunSpec, Security};

/// Lays out the sandbox for one command.
#[must_use]
pub fn plan(spec: &RunSpec, facts: &HostFacts) -> SandboxPlan {
    let layout = Layout { scratch: &spec.scratch };
    let mut steps = vec![
        Step::Isolate { namespaces: namespaces(spec.network) },
        Step::ForkInit,
        Step::NewSession,
        Step::PrivateMounts,
        Step::SetHostname { name: spec.hostname.clone() },
    ];
    if spec.network == Network::None {
        steps.push(Step::LoopbackUp);
    }
    prepare_sources(spec, facts, &layout, &mut steps);
    steps.push(Step::MountRoot(root_mount(spec, &layout)));
    mount_kernel_filesystems(spec, facts, &mut steps);
    mount_files(spec, &layout, &mut steps);
    steps.push(Step::Pivot);
    populate_dev(facts, &mut steps);
    if spec.security == Security::Sandbox {
        steps.extend(docker::MASKED.iter().map(|&path| Step::Mask { path: path.to_owned() }));
        steps.extend(docker::READ_ONLY.iter().map(|&path| Step::Protect { path: path.to_owned() }));
    }
    steps.push(Step::NullInput);
    steps.push(Step::ForkCommand);
    start_command(spec, facts, &mut steps);
    SandboxPlan { steps }
}

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

fn namespaces(network: Network) -> Vec<Namespace> {
    let mut namespaces =
        vec![Namespace::Mount, Namespace::Pid, Namespace::Ipc, Namespace::Uts, Namespace::Cgroup];
    if network == Network::None {
        namespaces.push(Namespace::Network);
    }
    namespaces
}

/// Makes, outside the root, what is later mounted into it.
fn prepare_sources(spec: &RunSpec, facts: &HostFacts, layout: &Layout<'_>, steps: &mut Vec<Step>) {
    steps.push(Step::HostTmpfs { path: layout.memory() });
    let resolv_conf = match spec.network {
        Network::Host => facts.resolv_conf.clone(),
        Network::None => Vec::new(),
    };
    for (path, content) in
        [(layout.resolv_conf(), resolv_conf), (layout.hosts(), docker::hosts(&spec.hostname))]
    {
        steps.push(Step::WriteFile(FileSource {
            path,
            content: content.into(),
            mode: 0o644,
            uid: 0,
            gid: 0,
        }));
    }
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
            | MountSource::Socket { .. } => {}
        }
    }
}

fn root_mount(spec: &RunSpec, layout: &Layout<'_>) -> RootMount {
    let fixed = [
        ("/proc", Kind::Directory),
        ("/sys", Kind::Directory),
        ("/dev", Kind::Directory),
        ("/etc/resolv.conf", Kind::File),
        ("/etc/hosts", Kind::File),
    ];
    let mut mount_points: Vec<MountPoint> =
        fixed.map(|(path, kind)| MountPoint { path: path.to_owned(), kind }).into();
    let mut snapshots = 0;
    for mount in &spec.mounts {
        let kind = match mount.source {
            MountSource::Directory { .. } | MountSource::Tmpfs { .. } => Kind::Directory,
            MountSource::Secret { .. } | MountSource::Socket { .. } => Kind::File,
            MountSource::Snapshot { .. } => {
                snapshots += 1;
                Kind::OfSnapshot(snapshots - 1)
            }
        };
        mount_points.push(MountPoint { path: mount.target.as_str().to_owned(), kind });
    }
    // What stands on /dev, /proc or /sys is made on the filesystem mounted there.
    mount_points.retain(|point| {
        !["/proc/", "/sys/", "/dev/"].iter().any(|prefix| point.path.starts_with(prefix))
    });
    RootMount {
        lowers: spec.lowers.clone(),
        upper: spec.upper.clone(),
        work: spec.work.clone(),
        scratch: layout.scratch.to_owned(),
        at: layout.root(),
        mount_points,
    }
}

fn mount_kernel_filesystems(spec: &RunSpec, facts: &HostFacts, steps: &mut Vec<Step>) {
    use MountFlag::{NoDev, NoExec, NoSuid, ReadOnly, StrictAtime};
    let mut mount = |fs: &str, target: &str, flags: &[MountFlag], options: &str| {
        steps.push(Step::Mount {
            fs: fs.to_owned(),
            target: target.to_owned(),
            flags: flags.to_vec(),
            options: options.to_owned(),
        });
    };
    mount("proc", "/proc", &[NoSuid, NoExec, NoDev], "");
    mount("tmpfs", "/dev", &[NoSuid, StrictAtime], "mode=755,size=65536k");
    // Group 5 is `tty`; where only id 0 exists the nodes stay root's.
    let terminals = if facts.ids == Ids::Single {
        "newinstance,ptmxmode=0666,mode=0620"
    } else {
        "newinstance,ptmxmode=0666,mode=0620,gid=5"
    };
    mount("devpts", "/dev/pts", &[NoSuid, NoExec], terminals);
    mount("tmpfs", "/dev/shm", &[NoSuid, NoExec, NoDev], "mode=1777,size=65536k");
    mount("mqueue", "/dev/mqueue", &[NoSuid, NoExec, NoDev], "");
    let sys_access = match spec.security {
        Security::Sandbox => Access::ReadOnly,
        Security::Insecure => Access::ReadWrite,
    };
    // A sysfs shows a network namespace, and only that namespace's owner may mount it.
    if facts.ids == Ids::All || spec.network == Network::None {
        let mut flags = vec![NoSuid, NoExec, NoDev];
        if sys_access == Access::ReadOnly {
            flags.push(ReadOnly);
        }
        mount("sysfs", "/sys", &flags, "");
    } else {
        steps.push(bind(Path::new("/sys"), "/sys", Kind::Directory, sys_access));
    }
    if facts.ids != Ids::All {
        for device in &docker::DEVICES {
            steps.push(bind(Path::new(device.path), device.path, Kind::File, Access::ReadWrite));
        }
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
        MountSource::Socket { path } => bind(path, target, Kind::File, Access::ReadWrite),
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

fn populate_dev(facts: &HostFacts, steps: &mut Vec<Step>) {
    if facts.ids == Ids::All {
        steps.extend(docker::DEVICES.iter().map(|device| Step::MakeDevice {
            path: device.path.to_owned(),
            major: device.major,
            minor: device.minor,
        }));
    }
    steps.extend(
        docker::DEV_LINKS
            .iter()
            .map(|(path, to)| Step::Symlink { path: (*path).to_owned(), to: (*to).to_owned() }),
    );
}

fn start_command(spec: &RunSpec, facts: &HostFacts, steps: &mut Vec<Step>) {
    let Process { args, env, cwd, user } = &spec.process;
    if !spec.limits.is_empty() {
        steps.push(Step::SetLimits { limits: spec.limits.clone() });
    }
    let keep = match spec.security {
        Security::Sandbox => docker::default_capabilities(),
        Security::Insecure => u64::MAX,
    };
    steps.extend([
        Step::EnterDirectory { path: cwd.as_str().to_owned() },
        Step::NewKeyring,
        Step::BecomeUser {
            user: user.clone(),
            keep_capabilities: keep,
            last_capability: facts.last_capability,
            may_set_groups: facts.ids != Ids::Single,
        },
        Step::Execute { args: args.clone(), env: env.clone(), cwd: cwd.as_str().to_owned() },
    ]);
}

#[cfg(test)]
mod tests;
