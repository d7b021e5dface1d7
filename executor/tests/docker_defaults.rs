//! What a command finds in its sandbox by default, point by point as in a container of Docker's.

#[expect(dead_code, reason = "each test program uses its own part")]
mod common;

use common::{Bed, can_run, execute, success};
use kiln_executor::{
    Access, Exit, MountSource, MountSpec, Network, Resource, ResourceLimit, RunSpec, Security,
};
use kiln_ir::GuestPath;

/// Runs a script in a bare sandbox and compares its output.
fn check(script: &str, expected: &str) {
    if can_run() {
        assert_eq!(Bed::new().output(script), expected, "{script}");
    }
}

fn status(field: &str) -> String {
    format!("sed -n 's/^{field}:[[:space:]]*//p' /proc/self/status")
}

#[test]
fn bounding_capabilities() {
    check(&status("CapBnd"), "00000000a80425fb");
}

#[test]
fn effective_and_permitted_capabilities() {
    check(&status("CapEff"), "00000000a80425fb");
    check(&status("CapPrm"), "00000000a80425fb");
}

#[test]
fn inheritable_and_ambient_capabilities() {
    check(&status("CapInh"), "0000000000000000");
    check(&status("CapAmb"), "0000000000000000");
}

#[test]
fn other_users_have_no_capabilities_but_may_gain_them() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.spec("grep -E 'Cap(Eff|Prm|Bnd)' /proc/self/status | tr -d '\\t\\n'");
    spec.process.user = "1000:1000".to_owned();
    let expected = "CapPrm:0000000000000000CapEff:0000000000000000CapBnd:00000000a80425fb";
    assert_eq!(success(&spec), expected);
}

#[test]
fn insecure_keeps_all_capabilities() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim().to_owned();
    let script = format!("{}; touch /sys/kernel/mm/ksm/run 2>&1", status("CapEff"));
    let spec = RunSpec { security: Security::Insecure, ..bed.spec(&script) };
    assert_eq!(success(&spec), own);
}

#[test]
fn new_privileges_are_allowed() {
    check(&status("NoNewPrivs"), "0");
}

#[test]
fn set_user_id_programs_work() {
    use std::os::unix::fs::PermissionsExt as _;
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    bed.write("etc/passwd", "root::0:0::/:/bin/sh\napp::1000:1000::/:/bin/sh\n");
    let su = bed.image().join("bin/su");
    std::fs::remove_file(&su).unwrap();
    std::fs::copy("/bin/busybox", &su).unwrap();
    std::fs::set_permissions(&su, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let mut spec = bed.spec("id -u; /bin/su root -c 'id -u'");
    spec.process.user = "app".to_owned();
    assert_eq!(success(&spec), "1000\n0");
}

#[test]
fn masked_files_are_empty() {
    check("cat /proc/kcore /proc/keys /proc/timer_list /proc/interrupts 2>/dev/null | wc -c", "0");
}

#[test]
fn masked_directories_are_empty_and_read_only() {
    check("ls /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v : | tr -d '\\n'", "");
    check("mkdir /sys/firmware/x 2>&1 | grep -c Read-only", "1");
}

#[test]
fn kernel_settings_are_read_only() {
    for path in ["sys/kernel/domainname", "irq/default_smp_affinity", "sysrq-trigger"] {
        let script =
            format!("test ! -e /proc/{path} || (echo x > /proc/{path}) 2>&1 | grep -c Read-only");
        if can_run() {
            let found = Bed::new().output(&format!("{script}; true"));
            assert!(found == "1" || found.is_empty(), "{path}: {found}");
        }
    }
    check("(echo x > /proc/sys/kernel/domainname) 2>&1 | grep -c Read-only", "1");
}

#[test]
fn sys_is_read_only() {
    check("grep -c ' /sys sysfs ro,' /proc/mounts", "1");
}

#[test]
fn devices() {
    let script = "cd /dev; stat -c '%n %t:%T %a %F' null zero full random urandom tty";
    let expected = "null 1:3 666 character special file\nzero 1:5 666 character special file\n\
        full 1:7 666 character special file\nrandom 1:8 666 character special file\n\
        urandom 1:9 666 character special file\ntty 5:0 666 character special file";
    check(script, expected);
    check(
        "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c",
        "4\n3",
    );
}

#[test]
fn device_links() {
    let script = "cd /dev; for link in core fd ptmx stderr stdin stdout; do readlink $link; done";
    let expected =
        "/proc/kcore\n/proc/self/fd\npts/ptmx\n/proc/self/fd/2\n/proc/self/fd/0\n/proc/self/fd/1";
    check(script, expected);
}

#[test]
fn dev_holds_nothing_else() {
    let expected =
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    check("echo $(ls /dev)", expected);
}

#[test]
fn shared_memory_and_queues() {
    check("stat -c '%a' /dev/shm /dev/mqueue", "1777\n1777");
    check("grep -E '(/dev/shm|/dev/mqueue|/dev/pts) ' /proc/mounts | wc -l", "3");
    check("touch /dev/shm/x && ls /dev/shm", "x");
}

#[test]
fn new_terminals_can_be_opened() {
    check("test -c /dev/pts/ptmx && stat -c '%a' /dev/pts/ptmx", "666");
}

#[test]
fn input_is_empty() {
    check("readlink /proc/self/fd/0; cat", "/dev/null");
}

#[test]
fn outputs_can_be_opened_by_name() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.spec("echo out > /dev/stdout; echo err > /dev/stderr");
    spec.process.user = "1000".to_owned();
    let outcome = execute(&spec).unwrap();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn mode_of_new_files() {
    check("umask", "0022");
}

#[test]
fn session_and_terminal() {
    // Fields after the command's name: state, parent, group, session, terminal.
    check("set -- $(sed 's/.*) //' /proc/self/stat); echo $4 $5", "1 0");
}

#[test]
fn host_name_and_hosts() {
    check(
        "hostname; grep -c kiln-test /etc/hosts; grep -c '127.0.0.1.*localhost' /etc/hosts",
        "kiln-test\n1\n1",
    );
}

#[test]
fn name_servers_are_the_hosts() {
    if can_run() {
        let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        assert_eq!(Bed::new().output("cat /etc/resolv.conf"), host.trim());
        let bed = Bed::new();
        let refused = bed.spec("echo x >> /etc/resolv.conf");
        assert_eq!(execute(&refused).unwrap().exit, Exit::Code(1));
    }
}

#[test]
fn no_network_but_loopback() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let script = "ls /sys/class/net; ifconfig lo | grep -c UP; cat /etc/resolv.conf";
    let spec = RunSpec { network: Network::None, ..bed.spec(script) };
    assert_eq!(success(&spec), "lo\n1");
}

#[test]
fn the_hosts_network() {
    if can_run() {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(Bed::new().output("readlink /proc/self/ns/net"), own.display().to_string());
    }
}

#[test]
fn own_namespaces() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    for kind in ["mnt", "pid", "ipc", "uts", "cgroup"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let inside = bed.output(&format!("readlink /proc/self/ns/{kind}"));
        assert_ne!(inside, own.display().to_string());
    }
}

#[test]
fn own_keyring() {
    if !can_run() || !std::path::Path::new("/proc/keys").exists() {
        return;
    }
    let bed = Bed::new();
    // Insecure, because /proc/keys is masked otherwise.
    let keys = |bed: &Bed| {
        let script = "sed -n 's/ .*_ses.*//p' /proc/keys";
        success(&RunSpec { security: Security::Insecure, ..bed.spec(script) })
    };
    assert_ne!(keys(&bed), keys(&bed), "both runs saw the same session keyring");
}

#[test]
fn limits_as_given() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let limits = vec![ResourceLimit { resource: Resource::Nofile, soft: Some(77), hard: Some(99) }];
    let spec = RunSpec { limits, ..bed.spec("ulimit -Sn; ulimit -Hn") };
    assert_eq!(success(&spec), "77\n99");
}

#[test]
fn groups_of_the_user() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    bed.write("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:7:8::/home/app:/bin/sh\n");
    bed.write("etc/group", "a:x:20:app\nb:x:30:app,root\n");
    let script = "sed -n 's/^Groups:[[:space:]]*//p' /proc/self/status; id -u; id -g; echo $HOME";
    let check = |user: &str, expected: &str| {
        let mut spec = bed.spec(script);
        spec.process.user = user.to_owned();
        assert_eq!(success(&spec), expected);
    };
    check("app", "8 20 30 \n7\n8\n/home/app");
    check("app:b", "30 \n7\n30\n/home/app");
    check("", "0 30 \n0\n0\n/root");
    check("9", "0 \n9\n0\n/");
    let mut unknown = bed.spec("true");
    unknown.process.user = "nobody".to_owned();
    let error = execute(&unknown).unwrap_err();
    assert_eq!(error.to_string(), "no user `nobody` in /etc/passwd");
}

/// Makes one system call in a sandbox; answers the name of its error, or `ok`.
fn system_call(bed: &Bed, security: Security, call: &str) -> String {
    let script = format!(
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\nresult = libc.syscall({call})\n\
         print('ok' if result >= 0 else errno.errorcode[ctypes.get_errno()])"
    );
    let mut spec = RunSpec { security, ..bed.spec("") };
    spec.process.args = ["/usr/bin/python3", "-S", "-c", &script].map(str::to_owned).to_vec();
    let source = MountSource::Directory { path: "/usr".into(), access: Access::ReadOnly };
    spec.mounts.push(MountSpec { target: GuestPath::new("/usr").expect("a path"), source });
    success(&spec)
}

/// A sandbox's image with what the machine's python needs; nothing where that cannot be had.
fn bed_for_system_calls() -> Option<Bed> {
    if !can_run() {
        return None;
    }
    if !cfg!(target_arch = "x86_64") || !std::path::Path::new("/usr/bin/python3").exists() {
        kiln_testkit::skipped("no python3, or not x86_64");
        return None;
    }
    let bed = Bed::new();
    for name in ["lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), bed.image().join(name)).expect("a link");
    }
    Some(bed)
}

#[test]
fn system_calls_that_containers_do_not_have() {
    let Some(bed) = bed_for_system_calls() else { return };
    for (name, call, expected) in [
        ("getpid", "39", "ok"),
        ("keyctl", "250, 0, -3, 0", "EPERM"),
        ("add_key", "248, b'user', b'k', b'v', 1, -3", "EPERM"),
        ("request_key", "249, b'user', b'k', 0, -3", "EPERM"),
        ("bpf", "321, 0, 0, 0", "EPERM"),
        ("perf_event_open", "298, 0, 0, -1, -1, 0", "EPERM"),
        ("mount", "165, b'none', b'/dev', b'tmpfs', 0, 0", "EPERM"),
        ("umount2", "166, b'/dev', 0", "EPERM"),
        ("fsopen", "430, b'tmpfs', 0", "EPERM"),
        ("unshare(CLONE_NEWUSER)", "272, 0x10000000", "EPERM"),
        ("clone(CLONE_NEWUSER)", "56, 0x10000011, 0, 0, 0, 0", "EPERM"),
        ("clone3", "435, 0, 0", "ENOSYS"),
        ("setns", "308, 0, 0", "EPERM"),
        ("io_uring_setup", "425, 1, 0", "EPERM"),
        ("userfaultfd", "323, 0", "EPERM"),
        ("open_by_handle_at", "304, -1, 0, 0", "EPERM"),
        ("init_module", "175, 0, 0, b''", "EPERM"),
        ("kexec_load", "246, 0, 0, 0, 0", "EPERM"),
        ("personality(0)", "135, 0", "ok"),
        ("personality(0xffffffff)", "135, 0xffffffff", "ok"),
        ("personality(READ_IMPLIES_EXEC)", "135, 0x0400000", "EPERM"),
        ("socket(AF_UNIX)", "41, 1, 1, 0", "ok"),
        ("socket(AF_VSOCK)", "41, 40, 1, 0", "EPERM"),
        ("socket(AF_ALG)", "41, 38, 5, 0", "EPERM"),
        ("chroot", "161, b'/'", "ok"),
        ("one that no kernel has", "1000", "ENOSYS"),
    ] {
        assert_eq!(system_call(&bed, Security::Sandbox, call), expected, "{name}");
    }
}

#[test]
fn insecure_filters_no_system_call() {
    let Some(bed) = bed_for_system_calls() else { return };
    for call in ["165, b'none', b'/bin', b'tmpfs', 0, 0", "272, 0x10000000", "135, 0x0400000"] {
        assert_eq!(system_call(&bed, Security::Insecure, call), "ok", "{call}");
    }
    assert_eq!(
        success(&RunSpec { security: Security::Insecure, ..bed.spec(&status("Seccomp")) }),
        "0"
    );
}

#[test]
fn system_calls_are_filtered() {
    check(&status("Seccomp"), "2");
}
