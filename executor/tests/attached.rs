//! Commands that are attached to their caller: by a terminal, as a person has one, and by pipes; and those that are run in
//! what a command that failed has left.

#![expect(clippy::unwrap_used, reason = "a part of tests")]

#[expect(dead_code, reason = "what is attached has other outputs")]
mod common;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Bed, can_run, is_mounted_below, process_exists, sandboxes, wait_until};
use kiln_executor::{
    Attachment, Cancel, ExecutorError, Exit, Input, Left, MountSource, MountSpec, RunSpec,
    Upcoming, WindowSize,
};

use kiln_ir::GuestPath;
use kiln_testkit::Person;

/// Says that a test is over, however it ends.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(thread::panicking(), Ordering::Relaxed);
    }
}

/// Has a command run on a terminal, while a person does things.
fn with_person<T: Send>(
    run: impl FnOnce(&Attachment<'_>, &Cancel) -> T + Send,
    act: impl FnOnce(&mut Person),
) -> T {
    let mut person = Person::new();
    person.makes_it_raw();
    let terminal = person.terminal().try_clone_to_owned().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&over);
    let cancel = Cancel::when(move || asked.load(Ordering::Relaxed));
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            let fd = terminal.as_fd();
            run(&Attachment { input: fd, output: fd, error: fd }, &cancel)
        });
        let _over = Over(over);
        act(&mut person);
        run.join().unwrap()
    })
}

fn on_terminal(spec: &RunSpec) -> RunSpec {
    let mut spec = spec.clone();
    spec.process.input = Input::Terminal(WindowSize { rows: 24, columns: 80 });
    spec
}

/// Attaches a spec to a person's terminal.
fn attached(spec: &RunSpec, act: impl FnOnce(&mut Person)) -> Result<Exit, ExecutorError> {
    let spec = on_terminal(spec);
    with_person(|attachment, cancel| sandboxes().attach(&spec, attachment, cancel), act)
}

#[test]
fn a_command_has_a_terminal_of_the_sandboxs_own() {
    if !can_run() {
        return;
    }
    let script = "tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all; stty size; exit 7";
    let exit = attached(&Bed::new().spec(script), |person| {
        person.sees("/dev/pts/0\r\nall\r\n24 80\r\n");
    });
    assert_eq!(exit.unwrap(), Exit::Code(7));
}

#[test]
fn a_person_works_in_a_shell() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.spec("");
    spec.process.args = vec!["/bin/sh".to_owned()];
    spec.process.env.push(("PS1".to_owned(), "> ".to_owned()));
    let exit = attached(&spec, |person| {
        person.sees("> ");
        person.types("echo a$((1+1))b > /made; cat /made\n");
        person.sees("a2b\r\n> ");
        person.types("sh -c 'echo sle''eps; exec sleep 1000'\n");
        person.sees("sleeps\r\n");
        // The shell and what it runs have the terminal, so it is not we that are interrupted.
        person.types("\u{3}");
        person.sees("> ");
        person.resizes(50, 132);
        person
            .types("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.05; done; echo re''sized\n");
        person.sees("resized\r\n> ");
        person.types("exit 3\n");
    });
    assert_eq!(exit.unwrap(), Exit::Code(3));
    assert_eq!(std::fs::read(spec.upper.join("made")).unwrap(), b"a2b\n");
    wait_until("a mount is left", || !is_mounted_below(bed.dir.path()));
}

#[test]
fn the_terminal_is_the_users() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.spec("echo named > $(tty); stat -c %u:%a $(tty); cat /dev/tty");
    spec.process.user = "1000:1000".to_owned();
    let exit = attached(&spec, |person| {
        person.sees("named\r\n1000:620\r\n");
        // The end of the input, as a person types it.
        person.types("typed\n\u{4}");
        person.sees("typed\r\ntyped\r\n");
    });
    assert_eq!(exit.unwrap(), Exit::Code(0));
}

#[test]
fn all_output_is_shown_before_the_end() {
    if !can_run() {
        return;
    }
    for _ in 0..20 {
        let exit =
            attached(&Bed::new().spec("yes 0123456 | head -c 100000; echo; echo last"), |person| {
                person.sees("last\r\n");
            });
        assert_eq!(exit.unwrap(), Exit::Code(0));
    }
}

#[test]
fn a_program_that_is_missing_is_told_on_the_terminal() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.spec("");
    spec.process.args = vec!["/no/shell".to_owned()];
    let exit = attached(&spec, |person| {
        person.sees("kiln: `/no/shell` was not found\r\n");
    });
    assert_eq!(exit.unwrap(), Exit::Code(127));
}

#[test]
fn a_terminal_cannot_be_made_where_an_image_hides_it() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.spec("true");
    let target = GuestPath::new("/dev/pts").unwrap();
    spec.mounts.push(MountSpec { target, source: MountSource::Tmpfs { size_bytes: None } });
    let error = attached(&spec, |_| {}).unwrap_err().to_string();
    assert!(error.contains("make a terminal"), "{error}");
}

/// Runs a script between pipes; `input` is written by a thread. Its exit, output and errors.
fn piped(
    spec: &RunSpec,
    input: Vec<u8>,
    cancel: &Cancel,
) -> (Result<Exit, ExecutorError>, String, String) {
    let mut spec = spec.clone();
    spec.process.input = Input::Pipe;
    let (read_input, write_input) = std::io::pipe().unwrap();
    let (mut read_output, write_output) = std::io::pipe().unwrap();
    let (mut read_errors, write_errors) = std::io::pipe().unwrap();
    thread::spawn(move || {
        let mut write_input = write_input;
        // The command need not read it all.
        write_input.write_all(&input).unwrap_or_default();
    });
    let output = thread::spawn(move || std::io::read_to_string(&mut read_output).unwrap());
    let errors = thread::spawn(move || std::io::read_to_string(&mut read_errors).unwrap());
    let attachment = Attachment {
        input: read_input.as_fd(),
        output: write_output.as_fd(),
        error: write_errors.as_fd(),
    };
    let exit = sandboxes().attach(&spec, &attachment, cancel);
    drop((write_output, write_errors, read_input));
    (exit, output.join().unwrap(), errors.join().unwrap())
}

fn check_piped(script: &str, input: Vec<u8>, exit: Exit, output: &str, errors: &str) {
    let (found, out, err) = piped(&Bed::new().spec(script), input, &Cancel::never());
    assert_eq!((found.unwrap(), out.as_str(), err.as_str()), (exit, output, errors), "{script}");
}

#[test]
fn without_a_terminal_there_are_pipes() {
    if !can_run() {
        return;
    }
    let check = check_piped;
    check(
        "wc -c; echo why >&2; exit 4",
        vec![b'x'; 1_000_000],
        Exit::Code(4),
        "1000000\n",
        "why\n",
    );
    check("[ -t 0 ] || cat", b"\x03\x04raw\n".to_vec(), Exit::Code(0), "\u{3}\u{4}raw\n", "");
    check("head -c 1", vec![b'x'; 10_000_000], Exit::Code(0), "x", "");
    check("cat", Vec::new(), Exit::Code(0), "", "");
}

#[test]
fn an_attached_command_is_cancelled() {
    if !can_run() {
        return;
    }
    let word = format!("7{}", std::process::id());
    let running = Arc::new(AtomicBool::new(false));
    let (seen, sleeper) = (Arc::clone(&running), word.clone());
    let cancel = Cancel::when(move || {
        seen.fetch_or(process_exists(&sleeper), Ordering::Relaxed);
        seen.load(Ordering::Relaxed)
    });
    let bed = Bed::new();
    let (exit, ..) = piped(&bed.spec(&format!("sleep {word}")), Vec::new(), &cancel);
    assert!(matches!(exit, Err(ExecutorError::Cancelled)), "{exit:?}");
    assert!(running.load(Ordering::Relaxed) && !process_exists(&word));
    wait_until("a mount is left", || !is_mounted_below(bed.dir.path()));
}

#[test]
fn a_command_whose_output_nobody_takes_ends() {
    if !can_run() {
        return;
    }
    let null = File::open("/dev/null").unwrap();
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let attachment =
        Attachment { input: null.as_fd(), output: write.as_fd(), error: write.as_fd() };
    let bed = Bed::new();
    let mut spec = bed.spec("yes");
    spec.process.input = Input::Pipe;
    let exit = sandboxes().attach(&spec, &attachment, &Cancel::never());
    assert_eq!(exit.unwrap(), Exit::Signal(13));
}

/// A command that fails, having used all places where something can be left.
fn failing(bed: &Bed, then: &str) -> RunSpec {
    let script = "echo root > /made; echo memory > /tmp/kept; echo shared > /dev/shm/kept; \
                  cat /run/secret > /tmp/copy; rm /bin/yes; sleep 1000 & ";
    let mut spec = bed.spec(&format!("{script}{then}"));
    let secret =
        MountSource::Secret { content: b"hush\n".to_vec().into(), mode: 0o444, uid: 0, gid: 0 };
    for (target, source) in
        [("/tmp", MountSource::Tmpfs { size_bytes: None }), ("/run/secret", secret)]
    {
        spec.mounts.push(MountSpec { target: GuestPath::new(target).unwrap(), source });
    }
    spec
}

/// Runs a command that fails, then a shell in its sandbox.
fn look_around(spec: &RunSpec, shell: &str, act: impl FnOnce(&mut Person)) -> (Exit, Exit) {
    let sandboxes = sandboxes();
    let (exit, left) = sandboxes
        .start(spec, None)
        .unwrap()
        .finish(Upcoming::Another, &mut |_, _| {}, &Cancel::never())
        .unwrap();
    let mut again = on_terminal(spec);
    again.process.args = vec![shell.to_owned()];
    again.process.env.push(("PS1".to_owned(), "> ".to_owned()));
    let Left::Failed(failed) = left else { panic!("{left:?}") };
    let looked = with_person(|attachment, cancel| failed.attach(&again, attachment, cancel), act);
    (exit, looked.unwrap())
}

#[test]
fn a_person_works_in_the_sandbox_of_a_command_that_failed() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let spec = failing(&bed, "exit 3");
    let exits = look_around(&spec, "/bin/sh", |person| {
        person.sees("> ");
        person.types("cat /made /tmp/kept /dev/shm/kept /tmp/copy /run/secret; ls /bin/yes\n");
        person.sees("root\r\nmemory\r\nshared\r\nhush\r\nhush\r\n");
        person.sees("No such file or directory\r\n");
        person.types("ps | grep '[s]leep' || echo no''ne\n");
        person.sees("none\r\n> ");
        person.types("exit 4\n");
    });
    assert_eq!(exits, (Exit::Code(3), Exit::Code(4)));
    wait_until("a mount is left", || !is_mounted_below(bed.dir.path()));
}

#[test]
fn a_sandbox_of_a_command_that_never_was_is_kept_too() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut spec = failing(&bed, "");
    spec.process.args = vec!["/no/program".to_owned()];
    let exits = look_around(&spec, "/bin/sh", |person| {
        person.sees("> ");
        person.types("exit 4\n");
    });
    assert_eq!(exits, (Exit::Code(127), Exit::Code(4)));
    let missing = look_around(&failing(&bed, "kill -9 $$"), "/no/shell", |person| {
        person.sees("kiln: `/no/shell` was not found\r\n");
    });
    assert_eq!(missing, (Exit::Signal(9), Exit::Code(127)));
    wait_until("a mount is left", || !is_mounted_below(bed.dir.path()));
}

#[test]
fn a_failed_sandbox_that_nobody_wants_ends() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let sandboxes = sandboxes();
    let run = |script| {
        let (upcoming, cancel) = (Upcoming::Nothing, Cancel::never());
        sandboxes.start(&failing(&bed, script), None)?.finish(upcoming, &mut |_, _| {}, &cancel)
    };
    let (exit, left) = run("true").unwrap();
    assert!(exit.success() && !matches!(left, Left::Failed(_)));
    drop(left);
    let (_, failed) = run("false").unwrap();
    assert!(is_mounted_below(bed.dir.path()), "it is there until it is dropped");
    drop(failed);
    wait_until("a mount is left", || !is_mounted_below(bed.dir.path()));
}
