//! Programs for another machine, which the kernel runs by an emulator that is registered for them.
//!
//! Since Linux 6.7 each user namespace may have a list of emulators of its own: what is registered here, the machine
//! does not see. The emulator is a static shell, and the programs are scripts behind a foreign header.

use std::path::{Path, PathBuf};

use super::support::build::Kiln;
use super::support::{Work, find, have, tool};

/// A namespace whose list of emulators is empty; what follows runs in it, once `$1` is in the list.
const OWN_LIST: &str = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc\n\
     if [ -n \"$1\" ]; then printf %s \"$1\" > /proc/sys/fs/binfmt_misc/register; fi\n\
     shift\n\
     exec \"$@\"";
/// Starts a program as root of a user namespace of its own.
const UNSHARE: [&str; 7] =
    ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", OWN_LIST];

/// A machine that this one is not: its platform, and its number in headers.
fn foreign() -> (&'static str, u8) {
    if cfg!(target_arch = "aarch64") { ("riscv64", 243) } else { ("arm64", 183) }
}

/// The first bytes of a program for a machine, without what comes of them in a terminal.
fn header(machine: u8) -> [u8; 20] {
    let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\0\0";
    header[18] = machine;
    header
}

/// A line that registers an emulator, opened at once so that it need not be in any image.
fn registration(machine: u8, emulator: &Path) -> String {
    let magic: String = header(machine).iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!(":kiln-test:M::{magic}::{}:F", emulator.display())
}

/// Whether the kernel keeps lists by user namespace; says so where not.
fn has_own_lists() -> bool {
    let probe = tool(UNSHARE[0]).args(&UNSHARE[1..]).args(["sh", "", "true"]).output().unwrap();
    let said = String::from_utf8_lossy(&probe.stderr);
    if !probe.status.success() {
        kiln_testkit::skipped(&format!("no emulators by user namespace: {}", said.trim()));
    }
    probe.status.success()
}

/// The context of an image whose shell is for another machine.
fn context(work: &Work, machine: u8) -> PathBuf {
    let script = b"\nshift\neval \"$1\"\n";
    work.write("context/sh", [&header(machine)[..], script].concat());
    work.context(
        "context",
        "FROM scratch\nARG TARGETARCH\nCOPY --chmod=755 sh /bin/sh\n\
         RUN echo \"$TARGETARCH by $0\" > /made\n",
    )
}

#[test]
fn a_program_for_another_machine_runs_where_an_emulator_is_registered() {
    if !have(&["busybox", "unshare"]) || !has_own_lists() {
        return;
    }
    let work = Work::new();
    let (platform, machine) = foreign();
    let emulator = work.write("emulator/sh", std::fs::read(find("busybox").unwrap()).unwrap());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&emulator, mode).unwrap();
    let context = context(&work, machine);
    let platform_flag = format!("--platform=linux/{platform}");
    let kiln = |registered: &str| {
        let words: Vec<&str> = UNSHARE.into_iter().chain(["sh", registered]).collect();
        Kiln::at(work.path("store")).started_by(&words)
    };

    let said = kiln("").build(&context).arg(&platform_flag).fails(1);
    let refusal = format!("`/bin/sh` is a program for {platform}, which this machine cannot run");
    assert!(said.contains(&refusal), "{said}");

    let out = work.path("out");
    let registered = kiln(&registration(machine, &emulator));
    let build = registered.build(&context).arg(&platform_flag).tag("example/foreign:1");
    let steps = build.arg(format!("--output=type=local,dest={}", out.display())).run();
    assert_eq!(steps.ran().len(), 1, "the copy was made before: {steps:?}");
    let made = std::fs::read_to_string(out.join("made")).unwrap();
    assert_eq!(made, format!("{platform} by /bin/sh\n"));
    // A platform is no part of the list: what was emulated once is taken from the cache without an emulator.
    let again = kiln("").build(&context).arg(&platform_flag).run();
    assert_eq!(again.ran(), Vec::<&str>::new());
    work.assert_no_mounts();
}
