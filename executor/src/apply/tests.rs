//! The interpreter on a kernel that only records.

use super::*;

/// Answers as told, and writes down what it is asked.
#[derive(Default)]
struct Fake {
    log: Vec<String>,
    /// Whether the process that leads to the command ends up as it.
    becomes_command: bool,
    /// The step, by its words, that fails, and how.
    fails: Option<(&'static str, i32)>,
    /// Programs by path, and how executing each fails.
    programs: Vec<(&'static str, i32)>,
    passwd: Option<&'static str>,
}

impl Kernel for Fake {
    fn perform(&mut self, step: &Step) -> io::Result<()> {
        self.log.push(step.to_string());
        match self.fails {
            Some((failing, errno)) if failing == step.to_string() => {
                Err(io::Error::from_raw_os_error(errno))
            }
            _ => Ok(()),
        }
    }

    fn spawn(&mut self, lead: &mut dyn FnMut(&mut Self) -> Report) -> io::Result<Spawned> {
        match self.becomes_command {
            true => Ok(Spawned::Command(2)),
            false => Ok(Spawned::NotExecuted(lead(self))),
        }
    }

    fn reap(&mut self, command: i32) -> io::Result<Exit> {
        self.log.push(format!("reap {command}"));
        Ok(Exit::Code(3))
    }

    fn read_guest_file(&mut self, path: &str, _limit: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(self.passwd.filter(|_| path == users::PASSWD).map(|text| text.as_bytes().to_vec()))
    }

    fn become_user(&mut self, identity: &Identity, keep: u64) -> io::Result<()> {
        self.log.push(format!("{identity:?} {keep}"));
        if identity.uid == 77 { Err(io::Error::from_raw_os_error(libc::EINVAL)) } else { Ok(()) }
    }

    fn execute(&mut self, path: &str, _args: &[String], env: &[(String, String)]) -> io::Error {
        self.log.push(format!("execute {path} {env:?}"));
        let known = self.programs.iter().find(|(program, _)| *program == path);
        io::Error::from_raw_os_error(known.map_or(libc::ENOENT, |(_, errno)| *errno))
    }

    fn exists(&mut self, path: &str) -> bool {
        self.programs.iter().any(|(program, _)| *program == path)
    }
}

fn command(user: &str, args: &[&str], path: &str) -> Vec<Step> {
    let env = vec![
        ("A".to_owned(), "1".to_owned()),
        ("PATH".to_owned(), path.to_owned()),
        ("A".to_owned(), "2".to_owned()),
    ];
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    vec![
        Step::NullInput,
        Step::ForkCommand,
        Step::BecomeUser { user: user.to_owned(), keep_capabilities: 5, may_set_groups: true },
        Step::Execute { args, env, cwd: "/".to_owned() },
    ]
}

#[test]
fn a_failing_step_ends_the_frame() {
    let mut kernel = Fake { fails: Some(("start a session", libc::EPERM)), ..Fake::default() };
    let steps = [Step::PrivateMounts, Step::NewSession, Step::LoopbackUp];
    let detail = String::new();
    let fault = Fault::Step { step: "start a session".to_owned(), errno: libc::EPERM, detail };
    assert_eq!(prepare(&steps, &mut kernel), Err(fault));
    assert_eq!(kernel.log, ["make mounts private", "start a session"]);
}

#[test]
fn the_first_process_reports_the_end() {
    let mut kernel = Fake { becomes_command: true, ..Fake::default() };
    let report = apply(&command("", &["x"], "/bin"), &mut kernel);
    assert_eq!(report, Report::Ended(Exit::Code(3)));
    assert_eq!(kernel.log, ["open `/dev/null`", "reap 2"]);
}

#[test]
fn a_failing_step_ends_the_plan() {
    let mut kernel = Fake { fails: Some(("open `/dev/null`", libc::EPERM)), ..Fake::default() };
    let report = apply(&command("", &["x"], "/bin"), &mut kernel);
    let step = "open `/dev/null`".to_owned();
    let fault = Fault::Step { step, errno: libc::EPERM, detail: String::new() };
    assert_eq!(report, Report::Failed(fault));
    assert_eq!(kernel.log, ["open `/dev/null`"]);
}

#[test]
fn the_user_is_resolved_in_the_guest() {
    let mut kernel = Fake { passwd: Some("app:x:7:8::/home/app:/bin/sh"), ..Fake::default() };
    apply(&command("app", &["/x"], "/bin"), &mut kernel);
    let identity = Identity { uid: 7, gid: 8, groups: Some(vec![8]) };
    assert_eq!(kernel.log[1], format!("{identity:?} 5"));
    let expected = r#"execute /x [("A", "2"), ("PATH", "/bin"), ("HOME", "/home/app")]"#;
    assert_eq!(kernel.log[2], expected);
}

#[test]
fn an_unmapped_user_is_named() {
    let report = apply(&command("77", &["/x"], "/bin"), &mut Fake::default());
    let fault = Fault::UnmappedId { kind: "user".to_owned(), id: 77 };
    assert_eq!(report, Report::Failed(fault));
}

fn check_lookup(programs: &[(&'static str, i32)], args: &[&str], code: i32, message: &str) {
    let mut kernel = Fake { programs: programs.to_vec(), ..Fake::default() };
    let report = apply(&command("", args, "/a:/b"), &mut kernel);
    let expected = Report::NotExecuted { code, message: message.to_owned() };
    assert_eq!(report, expected, "{programs:?}");
}

#[test]
fn programs_that_cannot_run_are_explained() {
    check_lookup(&[], &["make"], 127, "`make` was not found in PATH (/a:/b)");
    check_lookup(&[], &["/bin/make"], 127, "`/bin/make` was not found");
    check_lookup(&[], &[], 127, "the command is empty");
    check_lookup(&[("/a/x", libc::EACCES)], &["x"], 126, "`/a/x` is not an executable file");
    check_lookup(
        &[("/b/x", libc::ENOENT)],
        &["x"],
        127,
        "`/b/x` cannot run: the interpreter or loader it names is not in the image",
    );
    check_lookup(
        &[("/a/x", libc::EACCES), ("/b/x", libc::ENOEXEC)],
        &["x"],
        126,
        "`/b/x` is neither a program for this machine nor a script with a `#!` line",
    );
}
