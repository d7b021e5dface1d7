//! What Docker's containers have by default: capabilities, hidden paths, devices and links.

/// A node of `/dev`, mode 0666 and root's.
pub(super) struct Device {
    pub(super) path: &'static str,
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// The character devices of every container.
pub(super) const DEVICES: [Device; 6] = [
    Device { path: "/dev/null", major: 1, minor: 3 },
    Device { path: "/dev/zero", major: 1, minor: 5 },
    Device { path: "/dev/full", major: 1, minor: 7 },
    Device { path: "/dev/random", major: 1, minor: 8 },
    Device { path: "/dev/urandom", major: 1, minor: 9 },
    Device { path: "/dev/tty", major: 5, minor: 0 },
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
pub(super) fn hosts(hostname: &str) -> Vec<u8> {
    format!(
        "127.0.0.1\tlocalhost {hostname}\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n"
    )
    .into_bytes()
}
