//! How commands start and end, and what is left of them: nothing.

#![expect(clippy::unwrap_used, reason = "a part of tests")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{
    Bed, TESTBED, can_run, execute, execute_in, is_mounted_below, process_exists, wait_until,
};
use kiln_executor::{
    Cancel, ExecutorError, Exit, HostFacts, Network, RunSpec, Sandboxes, Upcoming,
};
use kiln_ir::GuestPath;
use nix::sys::signal::{SigSet, Signal};

fn check_exit(script: &str, expected: Exit) {
    if can_run() {
        assert_eq!(execute(&Bed::new().spec(script)).unwrap().exit, expected, "{script}");
    }
}

#[test]
fn exit_codes() {
    check_exit("exit 0", Exit::Code(0));
    check_exit("exit 1", Exit::Code(1));
    check_exit("exit 255", Exit::Code(255));
    check_exit("kill -9 $$", Exit::Signal(9));
    check_exit("kill -TERM $$", Exit::Signal(15));
}

fn check_program(args: &[&str], code: i32, message: &str) {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    bed.write("plain", "text");
    bed.write("script", "#!/no/such/shell\n");
    let script = bed.image().join("script");
    let mut permissions = std::fs::metadata(&script).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&script, permissions).unwrap();
    let mut spec = bed.spec("");
    spec.process.args = args.iter().map(|&arg| arg.to_owned()).collect();
    let outcome = execute(&spec).unwrap();
    assert_eq!((outcome.exit, outcome.stderr.trim()), (Exit::Code(code), message));
}

#[test]
fn programs_that_do_not_start() {
    check_program(&["nothing"], 127, "kiln: `nothing` was not found in PATH (/bin)");
    check_program(&["/bin/nothing"], 127, "kiln: `/bin/nothing` was not found");
    check_program(&["/plain"], 126, "kiln: `/plain` is not an executable file");
    check_program(&["/bin"], 126, "kiln: `/bin` is not an executable file");
    check_program(
        &["/script"],
        127,
        "kiln: `/script` cannot run: the interpreter or loader it names is not in the image",
    );
}

#[test]
fn programs_are_found_along_the_path() {
    if can_run() {
        let mut spec = Bed::new().spec("");
        spec.process.args = vec!["echo".to_owned(), "found".to_owned()];
        // The bed, and with it the image, is gone.
        assert!(execute(&spec).is_err());
        let bed = Bed::new();
        let mut spec = bed.spec("");
        spec.process.args = vec!["echo".to_owned(), "found".to_owned()];
        assert_eq!(common::success(&spec), "found");
    }
}

#[test]
fn orphans_are_reaped() {
    if can_run() {
        // The inner shell ends at once and leaves its child to the first process.
        let script = "for i in 1 2 3; do sh -c 'true & exec true'; done; \
            for i in $(seq 100 2>/dev/null || echo 1 2 3 4 5 6 7 8 9); do true; done; \
            sleep 0.2; grep -l '^State:.*Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
        assert_eq!(Bed::new().output(script), "0");
    }
}

#[test]
fn the_first_process_is_kilns() {
    if can_run() {
        let script = "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/environ /proc/1/mem /proc/1/fd/3 /proc/1/exe 2>&1 | grep -c denied";
        assert_eq!(Bed::new().output(script), "kiln-sandbox 4");
    }
}

#[test]
fn background_processes_end_with_the_command() {
    if can_run() {
        let word = format!("4{}", std::process::id());
        let bed = Bed::new();
        let script = format!("sleep {word} >/dev/null 2>&1 & echo started");
        assert_eq!(bed.output(&script), "started");
        assert!(!process_exists(&word));
    }
}

#[test]
fn a_command_that_closes_its_outputs_is_waited_for() {
    check_exit("exec >&- 2>&-; sleep 0.1; exit 5", Exit::Code(5));
}

#[test]
fn outputs_stay_apart_and_whole() {
    if can_run() {
        let script = "yes | head -c 1000000; yes n | head -c 500000 >&2";
        let outcome = execute(&Bed::new().spec(script)).unwrap();
        assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (1_000_000, 500_000));
        assert!(outcome.stdout.bytes().all(|byte| byte == b'y' || byte == b'\n'));
    }
}

#[test]
fn cancel_kills_everything() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let word = format!("5{}", std::process::id());
    let spec =
        bed.spec(&format!("trap '' TERM INT; sleep {word} & echo ready; wait; sleep {word}"));
    let flag = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&flag);
    let cancel = Cancel::when(move || asked.load(Ordering::Relaxed));
    let mut on_output = |_, _: &[u8]| flag.store(true, Ordering::Relaxed);
    let sandboxes = common::sandboxes();
    let start = std::time::Instant::now();
    let result = sandboxes.run(&spec, Upcoming::Nothing, &mut on_output, &cancel);
    drop(sandboxes);
    assert!(matches!(result, Err(ExecutorError::Cancelled)), "{result:?}");
    assert!(start.elapsed().as_secs() < 5);
    assert!(!process_exists(&word));
    assert!(!is_mounted_below(bed.dir.path()));
}

#[test]
fn a_killed_caller_leaves_nothing() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let word = format!("6{}", std::process::id());
    let mut caller = Command::new(TESTBED)
        .args([bed.fresh("base"), bed.image()])
        .args(["", "host", "/bin/sh", "-c"])
        .arg(format!("echo ready; sleep {word} & sleep {word}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(caller.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert!(is_mounted_below(bed.dir.path()));
    caller.kill().unwrap();
    caller.wait().unwrap();
    wait_until("a process outlived its caller", || !process_exists(&word));
    wait_until("a mount outlived its caller", || !is_mounted_below(bed.dir.path()));
    wait_until("a helper outlived its caller", || {
        !process_exists(&bed.image().display().to_string())
    });
}

#[test]
fn nothing_of_the_caller_leaks() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    // Descriptor 7 is open in the caller and not marked to be closed.
    let script = "exec 7</etc/passwd; exec \"$@\"";
    let mut caller = Command::new("/bin/busybox")
        .args(["sh", "-c", script, "sh", TESTBED])
        .args([bed.fresh("base"), bed.image()])
        .args(["", "host", "/bin/sh", "-c"])
        .arg("echo /proc/self/fd/*; env | sort; readlink /proc/self/cwd")
        .env("KILN_SECRET", "of the caller")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    caller.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    caller.wait().unwrap();
    let expected = "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2";
    let (descriptors, rest) = text.split_once('\n').unwrap();
    // The shell itself has the directory open while it lists it.
    assert_eq!(descriptors.trim_end_matches(" /proc/self/fd/3"), expected);
    assert_eq!(rest, "HOME=/\nPATH=/bin\nPWD=/\nSHLVL=1\n/\n");
}

/// What a caller ignores, as one that `nohup` started does, or blocks, the command would inherit.
#[test]
fn no_signal_is_ignored_or_blocked() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR2);
    blocked.thread_block().unwrap();
    let caller = Command::new("/bin/busybox")
        .args(["sh", "-c", "trap '' HUP INT QUIT TERM USR1; exec \"$@\"", "sh", TESTBED])
        .args([bed.fresh("base"), bed.image()])
        // A shell would ignore signals of its own accord.
        .args(["", "host", "/bin/busybox", "grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"])
        .output()
        .unwrap();
    blocked.thread_unblock().unwrap();
    let text = String::from_utf8(caller.stdout).unwrap();
    assert_eq!(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn many_at_once() {
    if !can_run() {
        return;
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let bed = Bed::new();
                for index in 0..5 {
                    assert_eq!(bed.output(&format!("echo {index}")), index.to_string());
                }
            });
        }
    });
}

#[test]
fn the_directory_is_made_and_entered() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.spec("pwd; stat -c '%a %u' .");
    spec.process.cwd = GuestPath::new("/new/place").unwrap();
    assert_eq!(common::success(&spec), "/new/place\n755 0");
    assert_eq!(common::listing(&spec.upper), ["new", "new/place"]);
    let mut spec = bed.spec("true");
    spec.process.cwd = GuestPath::new("/bin/busybox").unwrap();
    let error = execute(&spec).unwrap_err().to_string();
    assert!(error.contains("enter the working directory `/bin/busybox`"), "{error}");
}

#[test]
fn a_missing_helper_is_named() {
    if can_run() {
        let facts = HostFacts::gather().unwrap();
        let spec = Bed::new().spec("true");
        let sandboxes = Sandboxes::new("/no/such/helper".into(), facts);
        let error = execute_in(&sandboxes, &spec, Upcoming::Nothing).unwrap_err();
        assert_eq!(error.to_string(), "cannot start the sandbox helper `/no/such/helper`");
    }
}

#[test]
fn a_spare_sandbox_serves_the_next_command() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let (sandboxes, scratch) = (common::sandboxes(), bed.fresh("shared"));
    let run = |script: &str, network| {
        let spec = RunSpec { scratch: scratch.clone(), network, ..bed.spec(script) };
        let outcome = execute_in(&sandboxes, &spec, Upcoming::Another).unwrap();
        assert_eq!(outcome.exit, Exit::Code(0), "{outcome:?}");
        outcome.stdout.trim().to_owned()
    };
    // Nothing of one command's is there for the next: neither files in memory nor processes.
    let script = "ls /dev/shm; touch /dev/shm/left; sleep 99 & cat /proc/self/mountinfo | wc -l";
    let first = run(script, Network::Host);
    for _ in 0..3 {
        assert_eq!(run(script, Network::Host), first);
    }
    // One that does not fit is left alone.
    assert_eq!(run("ls /sys/class/net", Network::None), "lo");
    assert_ne!(run("readlink /proc/self/ns/net", Network::Host), "");
    drop(sandboxes);
    wait_until("a mount outlived its sandboxes", || !is_mounted_below(bed.dir.path()));
}

#[test]
fn a_spare_sandbox_that_failed_says_why() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let sandboxes = common::sandboxes();
    let spec = bed.spec("true");
    let missing = RunSpec { scratch: bed.dir.path().join("no/such/place"), ..bed.spec("true") };
    let error = execute_in(&sandboxes, &missing, Upcoming::Another).unwrap_err().to_string();
    assert!(error.starts_with("cannot set up the sandbox: mount memory at"), "{error}");
    let error = execute_in(&sandboxes, &missing, Upcoming::Nothing).unwrap_err().to_string();
    assert!(error.starts_with("cannot set up the sandbox: mount memory at"), "{error}");
    assert_eq!(execute_in(&sandboxes, &spec, Upcoming::Nothing).unwrap().exit, Exit::Code(0));
}
