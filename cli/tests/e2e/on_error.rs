//! Shells in the sandboxes of steps that failed, while their builds wait.

use std::path::Path;
use std::process::Command;

use kiln_testkit::{Account, Person};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::shell::Running;
use super::support::build::Kiln;
use super::support::{Work, bases};

/// Fails until the cache has a file, which only whoever looks into the failed step can make.
const DOCKERFILE: &str = r#"FROM base
ENV NAME=value PS1="look> "
WORKDIR /work
RUN chown 1000 .
USER 1000:1000
RUN --network=none --mount=type=cache,target=/cache,uid=1000 --mount=type=secret,id=token,uid=1000 \
    --mount=type=tmpfs,target=/mem --mount=type=bind,source=a,target=/seen \
    echo made > made && echo memory > /mem/kept && echo shared > /dev/shm/kept && test -e /cache/mended || exit 7
RUN ls
"#;

/// The step of which the shell is, as it is told.
const PLACE: &str = "/Dockerfile:6\r\n";
/// What the prompt's text ends with.
const PROMPT: &str = "look> ";

struct Bed {
    work: Work,
    kiln: Kiln,
    account: Option<Account>,
}

impl Bed {
    fn new() -> Self {
        let work = Work::new();
        let kiln = Kiln::at(work.path("store"));
        Self { work, kiln, account: None }
    }

    /// The same, with Kiln of an ordinary user.
    fn of_user(purpose: &str) -> Option<Self> {
        let account = Account::new(purpose)?;
        let work = Work::new();
        let kiln = Kiln::of_account(&account, &work);
        Some(Self { work, kiln, account: Some(account) })
    }

    /// A build of a Dockerfile.
    fn command(&self, dockerfile: &str, base: &Path, more: &[&str]) -> Command {
        let context = self.work.context("context", dockerfile);
        self.work.write("context/a", "content");
        self.work.write("token", "hunter2");
        if let Some(account) = &self.account {
            account.give(&context);
            account.give(&self.work.path("token"));
        }
        let mut command = self.kiln.command(&["build", "--progress=plain"]);
        command
            .arg(format!("--build-context=base=oci-layout://{}", base.display()))
            .arg(format!("--secret=id=token,src={}", self.work.path("token").display()))
            .args(more)
            .arg(context);
        command
    }

    fn assert_nothing_is_left(&self, person: &Person) {
        assert!(person.finds_the_terminal_as_it_was());
        self.work.assert_no_mounts();
        self.work.assert_no_sandboxes();
    }
}

fn a_person_looks_around(bed: &Bed) {
    let Some(base) = bases::busybox() else { return };
    let mut person = Person::new();
    let mut build =
        Running(person.starts(&mut bed.command(DOCKERFILE, &base, &["--on-error=shell"])));
    person.sees("failed with exit code 7\r\n --> ");
    person.sees(PLACE);
    person.sees("`/bin/sh` runs in this step's own sandbox");
    person.sees("`exit` or Ctrl-D leaves it");
    person.sees(PROMPT);
    assert!(!person.finds_the_terminal_as_it_was());
    person.types(
        "cat made /mem/kept /dev/shm/kept; cat /run/secrets/token /seen; echo; ls /sys/class/net\n",
    );
    person.sees("made\r\nmemory\r\nshared\r\nhunter2content\r\nlo\r\n");
    person.types("echo $NAME $TERM; pwd; id -u; tty; stty size\n");
    person.sees("value dumb\r\n/work\r\n1000\r\n/dev/pts/0\r\n24 80\r\n");
    person.types("sh -c 'echo sle''eps; exec sleep 1000'\n");
    person.sees("sleeps\r\n");
    // It is the command that is interrupted, not the build.
    person.types("\u{3}");
    person.sees(PROMPT);
    person.types("touch late /cache/mended; exit 3\n");
    person.sees("failed with exit code 7\r\n");
    assert_eq!(build.0.wait().unwrap().code(), Some(1));
    bed.assert_nothing_is_left(&person);
    let again = bed.kiln.build(&bed.work.path("context")).layout("base", &base);
    let token = format!("--secret=id=token,src={}", bed.work.path("token").display());
    assert_eq!(again.arg(token).run().said("RUN ls"), "made\n");
    bed.kiln.print(&["system", "check"]);
}

#[test]
fn a_person_looks_around_where_a_step_failed() {
    a_person_looks_around(&Bed::new());
}

#[test]
fn a_person_who_is_not_root_looks_around_where_a_step_failed() {
    let Some(bed) = Bed::of_user("onerror") else { return };
    a_person_looks_around(&bed);
}

#[test]
fn without_a_terminal_nothing_is_built() {
    let Some(base) = bases::busybox() else { return };
    let bed = Bed::new();
    let output = bed.command(DOCKERFILE, &base, &["--on-error=shell"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "error: `--on-error=shell` needs a terminal as standard input and standard output\n  \
         = help: build without it; `kiln debug shell STEP` then opens a shell with what the failed step found\n"
    );
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(bed.kiln.print(&["history", "ls"]).lines().count(), 1, "no build is recorded");
}

/// Leaves the shell of a step; answers what was shown before, and the number that the step wrote.
fn leaves_one(person: &mut Person) -> (String, String) {
    let before = person.sees("leaves it");
    person.sees(PROMPT);
    person.types("touch /cache/go; until [ -e /cache/gone ]; do sleep 0.05; done\n");
    person.sees(PROMPT);
    person.types("cat /number; echo le''aves; exit\n");
    let seen = person.sees("leaves\r\n");
    assert!(!seen.contains("line"), "the view was not held: {seen}");
    (before, seen.lines().rev().nth(1).unwrap().to_owned())
}

/// Two steps fail, and a third goes on until both have and somebody looks around.
const BOTH: &str = r#"FROM base AS made
ENV PS1="look> "
FROM made AS one
RUN --mount=type=cache,target=/cache echo 1 | tee /number > /cache/1; exit 11
FROM made AS two
RUN --mount=type=cache,target=/cache echo 2 | tee /number > /cache/2; exit 12
FROM made AS three
RUN --mount=type=cache,target=/cache until [ -e /cache/go -a -e /cache/1 -a -e /cache/2 ]; do sleep 0.05; done; \
    i=0; while [ $i -lt 3000 ]; do echo "line $i"; i=$((i+1)); done; touch /cache/gone
FROM base
COPY --from=one / /one
COPY --from=two / /two
COPY --from=three / /three
"#;

#[test]
fn steps_that_fail_get_one_shell_after_the_other() {
    let Some(base) = bases::busybox() else { return };
    for more in
        [&["--on-error=shell", "--jobs=3"][..], &["--on-error=shell", "--jobs=3", "--keep-going"]]
    {
        let bed = Bed::new();
        let mut person = Person::new();
        let mut build = Running(person.starts(&mut bed.command(BOTH, &base, more)));
        let ((_, one), (between, two)) = (leaves_one(&mut person), leaves_one(&mut person));
        assert!(one != two && one.len() + two.len() == 2, "{one} {two}");
        // What went on meanwhile is shown, and both failures are told.
        let after = person.sees("\nerror: `[");
        assert!((between + &after).contains("line 2999"), "{after}");
        person.sees("failed with exit code 1");
        person.sees("\nerror: `[");
        person.sees("failed with exit code 1");
        assert_eq!(build.0.wait().unwrap().code(), Some(1));
        bed.assert_nothing_is_left(&person);
    }
}

#[test]
fn a_build_that_is_ended_takes_the_shell_along() {
    let Some(base) = bases::busybox() else { return };
    for of_user in [false, true] {
        let bed = if of_user { Bed::of_user("ended") } else { Some(Bed::new()) };
        let Some(bed) = bed else { return };
        let mut person = Person::new();
        let mut build =
            Running(person.starts(&mut bed.command(DOCKERFILE, &base, &["--on-error=shell"])));
        person.sees(PROMPT);
        let pid = Pid::from_raw(i32::try_from(build.0.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert_eq!(build.0.wait().unwrap().code(), Some(130));
        bed.assert_nothing_is_left(&person);
    }
}

#[test]
fn an_image_without_a_shell_is_told() {
    const BARE: &str = r#"FROM scratch
ENV PS1="look> "
COPY --from=base /bin/busybox /ash
RUN ["/ash", "-c", "exit 9"]
"#;
    let Some(base) = bases::busybox() else { return };
    let bed = Bed::new();
    let mut person = Person::new();
    let mut build = Running(person.starts(&mut bed.command(BARE, &base, &["--on-error=shell"])));
    person.sees("kiln: `/bin/sh` was not found\r\n");
    person.sees("= help: if the image has no shell, name a program of its own: `--on-error=shell=PROGRAM`\r\n");
    assert_eq!(build.0.wait().unwrap().code(), Some(1));
    let more = ["--on-error=shell=/ash"];
    let mut build = Running(person.starts(&mut bed.command(BARE, &base, &more)));
    person.sees(PROMPT);
    person.types("\u{4}");
    assert_eq!(build.0.wait().unwrap().code(), Some(1));
    bed.assert_nothing_is_left(&person);
}
