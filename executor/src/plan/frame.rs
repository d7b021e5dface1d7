//! A sandbox without its root filesystem: all that commands have in common.

use std::path::Path;

use super::step::{FileSource, Frame, Kind, MountFlag, Namespace, Step};
use super::{Layout, bind, docker, kept_capabilities};
use crate::{Access, HostFacts, Ids, Network, RunSpec, Security};

/// Lays out the frame of one command's sandbox. Commands whose frames are equal may take each other's.
pub(super) fn plan(spec: &RunSpec, facts: &HostFacts, layout: &Layout<'_>) -> Frame {
    let mut steps = vec![
        Step::NewSession,
        Step::PrivateMounts,
        Step::SetHostname { name: spec.hostname.clone() },
    ];
    if spec.network == Network::None {
        steps.push(Step::LoopbackUp);
    }
    steps.push(Step::HostTmpfs { path: layout.memory() });
    write_files(spec, facts, layout, &mut steps);
    steps.push(Step::OpenFrame { at: layout.frame() });
    mount_kernel_filesystems(spec, facts, &mut steps);
    populate_dev(spec.security, facts, &mut steps);
    if spec.security == Security::Sandbox {
        steps.extend(docker::MASKED.iter().map(|&path| Step::Mask { path: path.to_owned() }));
        steps.extend(docker::READ_ONLY.iter().map(|&path| Step::Protect { path: path.to_owned() }));
    }
    let keep = kept_capabilities(spec.security);
    steps.push(Step::LimitCapabilities { keep, last: facts.last_capability });
    Frame { namespaces: namespaces(spec.network), steps }
}

fn namespaces(network: Network) -> Vec<Namespace> {
    let mut namespaces =
        vec![Namespace::Mount, Namespace::Pid, Namespace::Ipc, Namespace::Uts, Namespace::Cgroup];
    if network == Network::None {
        namespaces.push(Namespace::Network);
    }
    namespaces
}

fn write_files(spec: &RunSpec, facts: &HostFacts, layout: &Layout<'_>, steps: &mut Vec<Step>) {
    let resolv_conf = match spec.network {
        Network::Host => facts.resolv_conf.clone(),
        Network::None => Vec::new(),
    };
    let files = [(layout.resolv_conf(), resolv_conf), (layout.hosts(), docker::hosts(spec))];
    steps.extend(files.map(|(path, content)| {
        Step::WriteFile(FileSource { path, content: content.into(), mode: 0o644, uid: 0, gid: 0 })
    }));
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
    let shm_size_bytes = spec.shm_size_bytes.unwrap_or(docker::SHM_SIZE_BYTES);
    let shm = format!("mode=1777,size={shm_size_bytes}");
    mount("tmpfs", "/dev/shm", &[NoSuid, NoExec, NoDev], &shm);
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

fn populate_dev(security: Security, facts: &HostFacts, steps: &mut Vec<Step>) {
    if facts.ids == Ids::All {
        let more = match security {
            Security::Sandbox => &[][..],
            Security::Insecure => &docker::INSECURE_DEVICES,
        };
        steps.extend(docker::DEVICES.iter().chain(more).map(|device| Step::MakeDevice {
            path: device.path.to_owned(),
            kind: device.kind,
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
