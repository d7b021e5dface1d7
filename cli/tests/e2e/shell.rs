//! Shells before and after the steps of builds that are over.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use kiln_testkit::Person;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::build::Kiln;
use super::support::{Work, bases};

const DOCKERFILE: &str = "FROM base AS made
ENV NAME=value
WORKDIR /work
RUN --mount=type=cache,target=/cache,uid=1000 chown 1000 . && echo kept > /cache/kept && echo one > one
USER 1000:1000
ARG API_TOKEN
RUN --mount=type=cache,target=/cache,uid=1000 --mount=type=secret,id=token,uid=1000 \\
    --mount=type=bind,source=a,target=/seen echo two > two
COPY --chown=7:8 a /copied
";

/// A build that is over.
struct Bed {
    work: Work,
    kiln: Kiln,
}

impl Bed {
    fn new() -> Option<Self> {
        let work = Work::new();
        let base = bases::busybox()?;
        let kiln = Kiln::at(work.path("store"));
        let context = work.context("context", DOCKERFILE);
        work.write("context/a", "content");
        work.write("token", "hunter2");
        kiln.build(&context).layout("base", &base).arg("--build-arg=API_TOKEN=hunter3").run();
        Some(Self { work, kiln })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.kiln.command(&[&["debug", "shell"], arguments].concat())
    }

    /// What a script prints, and its exit code.
    fn runs(&self, arguments: &[&str], script: &str) -> (String, Option<i32>) {
        let output = self.command(&[arguments, &["--", "sh", "-c", script]].concat()).output();
        shown(output.unwrap())
    }
}

fn shown(output: Output) -> (String, Option<i32>) {
    let text = String::from_utf8(output.stdout).unwrap();
    (text + &String::from_utf8(output.stderr).unwrap(), output.status.code())
}

#[test]
fn a_command_runs_where_a_step_ran() {
    let Some(bed) = Bed::new() else { return };
    let around = "cat one two; echo $NAME; pwd; id -u; cat /cache/kept /seen; exit 5";
    let withheld = "note: not recorded, since they may be secret: `API_TOKEN`; use `--env`\n";
    let expected = format!("one\ntwo\nvalue\n/work\n1000\nkept\ncontent{withheld}");
    assert_eq!(bed.runs(&[":7"], around), (expected, Some(5)));
    let given = ["--env=API_TOKEN=x", ":7"];
    assert_eq!(bed.runs(&given, "echo $API_TOKEN"), ("x\n".to_owned(), Some(0)));
    let before = ["--env=API_TOKEN=x", "--before", "^0", ":7"];
    assert_eq!(bed.runs(&before, "ls"), ("one\n".to_owned(), Some(0)));
    assert_eq!(bed.runs(&[":4"], "id -u; ls"), ("0\none\n".to_owned(), Some(0)));
    // A copy has the surroundings of the command below it.
    assert_eq!(
        bed.runs(&[":9"], "id -u; pwd; cat /copied; ls / | grep -c seen"),
        ("1000\n/work\ncontent0\n".to_owned(), Some(1))
    );
    assert_eq!(bed.runs(&[":4"], "kill -9 $$"), (String::new(), Some(137)));
    bed.work.assert_no_mounts();
}

#[test]
fn what_is_written_is_thrown_away_and_secrets_are_given_anew() {
    let Some(bed) = Bed::new() else { return };
    assert_eq!(bed.runs(&[":4"], "echo x > one; rm -r /bin/ls; cat one").0, "x\n");
    assert_eq!(bed.runs(&[":4"], "cat one; ls").0, "one\none\n");
    let look = "cat /run/secrets/token || echo none";
    let token = format!("--secret=id=token,src={}", bed.work.path("token").display());
    let (without, _) = bed.runs(&["--env=API_TOKEN=x", ":7"], look);
    assert!(without.contains("none\n"), "{without}");
    assert_eq!(bed.runs(&["--env=API_TOKEN=x", &token, ":7"], look).0, "hunter2");
    bed.kiln.print(&["system", "check"]);
    bed.work.assert_no_mounts();
}

#[test]
fn without_a_terminal_a_shell_reads_a_pipe() {
    let Some(bed) = Bed::new() else { return };
    let mut command = bed.command(&[":4"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"cat one\necho why >&2\nexit 3\n").unwrap();
    let expected = ("one\nwhy\n".to_owned(), Some(3));
    assert_eq!(shown(child.wait_with_output().unwrap()), expected);
    let missing = bed.command(&["--shell=/no/shell", ":4"]).output().unwrap();
    assert_eq!(shown(missing), ("kiln: `/no/shell` was not found\n".to_owned(), Some(127)));
}

/// Ends a program with its value.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_person_has_a_terminal_and_gets_it_back() {
    let Some(bed) = Bed::new() else { return };
    let mut person = Person::new();
    let mut shell = Running(person.starts(&mut bed.command(&["--env=PS1=> ", ":4"])));
    person.sees("> ");
    assert!(!person.finds_the_terminal_as_it_was());
    person.types("stty size; echo $TERM $(tty)\n");
    person.sees("24 80\r\ndumb /dev/pts/0\r\n");
    person.types("sh -c 'echo sle''eps; exec sleep 1000'\n");
    person.sees("sleeps\r\n");
    person.types("\u{3}");
    person.sees("> ");
    person.types("exit 6\n");
    assert_eq!(shell.0.wait().unwrap().code(), Some(6));
    assert!(person.finds_the_terminal_as_it_was());
    bed.work.assert_no_mounts();
}

#[test]
fn a_person_whose_shell_is_killed_gets_the_terminal_back() {
    let Some(bed) = Bed::new() else { return };
    let mut person = Person::new();
    let mut shell = Running(person.starts(&mut bed.command(&["--env=PS1=> ", ":4"])));
    person.sees("> ");
    let pid = Pid::from_raw(i32::try_from(shell.0.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(shell.0.wait().unwrap().code(), Some(130));
    assert!(person.finds_the_terminal_as_it_was());
    bed.work.assert_no_mounts();
}
