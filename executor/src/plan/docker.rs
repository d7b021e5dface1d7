//! What Docker's containers have by default: capabilities, hidden paths, devices and links.

use super::DeviceKind;
use crate::RunSpec;

/// A node of `/dev`, mode 0666 and root's.
pub(super) struct Device {
    pub(super) path: &'static str,
    pub(super) kind: DeviceKind,
    pub(super) major: u32,
    pub(super) minor: u32,
}

const fn character(path: &'static str, major: u32, minor: u32) -> Device {
    Device { path, kind: DeviceKind::Character, major, minor }
}

const fn loop_device(path: &'static str, minor: u32) -> Device {
    Device { path, kind: DeviceKind::Block, major: 7, minor }
}

/// The most that `/dev/shm` holds.
pub(super) const SHM_SIZE_BYTES: u64 = 64 << 20;

/// The character devices of every container.
pub(super) const DEVICES: [Device; 6] = [
    character("/dev/null", 1, 3),
    character("/dev/zero", 1, 5),
    character("/dev/full", 1, 7),
    character("/dev/random", 1, 8),
    character("/dev/urandom", 1, 9),
    character("/dev/tty", 5, 0),
];

/// What an insecure sandbox has besides, as BuildKit's has.
pub(super) const INSECURE_DEVICES: [Device; 10] = [
    character("/dev/fuse", 10, 229),
    character("/dev/loop-control", 10, 237),
    loop_device("/dev/loop0", 0),
    loop_device("/dev/loop1", 1),
    loop_device("/dev/loop2", 2),
    loop_device("/dev/loop3", 3),
    loop_device("/dev/loop4", 4),
    loop_device("/dev/loop5", 5),
    loop_device("/dev/loop6", 6),
    loop_device("/dev/loop7", 7),
];

/// The symbolic links of every container's `/dev`.
pub(super) const DEV_LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Paths whose content is hidden; those the kernel lacks are passed over.
pub(super) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that cannot be written to; those the kernel lacks are passed over.
pub(super) const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Numbers of the capabilities a container's root has (capabilities(7)): CHOWN, DAC_OVERRIDE, FOWNER,
/// FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE,
/// SETFCAP.
const CAPABILITIES: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// Docker's default capabilities as a set of bits.
#[must_use]
pub fn default_capabilities() -> u64 {
    CAPABILITIES.iter().fold(0, |set, number| set | 1 << number)
}

/// The text of a container's `/etc/hosts`.
pub(super) fn hosts(spec: &RunSpec) -> Vec<u8> {
    let extra: String =
        spec.extra_hosts.iter().map(|(name, address)| format!("{address}\t{name}\n")).collect();
    let hostname = &spec.hostname;
    format!(
        "127.0.0.1\tlocalhost {hostname}\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n\
         {extra}"
    )
    .into_bytes()
}
