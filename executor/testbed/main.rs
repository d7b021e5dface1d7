//! What the tests run as another program: the sandbox helper, and a small caller of it.
//!
//! The caller takes `BASE LOWER[:LOWER…] USER NETWORK COMMAND…`, makes the directories it needs below
//! BASE, enters a user namespace unless it is root, runs the command, and ends as the command does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_executor::{
    Cancel, Exit, HostFacts, Input, Network, Process, RunSpec, Sandboxes, Security, Stream,
    Upcoming, helper_main, userns,
};
use kiln_ir::GuestPath;

fn main() -> ExitCode {
    helper_main();
    match call() {
        Ok(Exit::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Ok(Exit::Signal(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            drop(writeln!(std::io::stderr(), "testbed: {text}"));
            ExitCode::from(99)
        }
    }
}

fn call() -> Result<Exit, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, lowers, user, network, command @ ..] = arguments.as_slice() else {
        return Err("BASE LOWER[:LOWER…] USER NETWORK COMMAND…".into());
    };
    userns::enter()?;
    let base = Path::new(base);
    let directory = |name: &str| -> std::io::Result<PathBuf> {
        let path = base.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    };
    let spec = RunSpec {
        lowers: lowers.split(':').map(PathBuf::from).collect(),
        upper: directory("upper")?,
        work: directory("work")?,
        scratch: directory("scratch")?,
        process: Process {
            args: command.to_vec(),
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            cwd: GuestPath::root(),
            user: user.clone(),
            input: Input::Nothing,
        },
        hostname: "testbed".to_owned(),
        network: if network == "none" { Network::None } else { Network::Host },
        security: Security::Sandbox,
        mounts: Vec::new(),
        limits: Vec::new(),
        extra_hosts: Vec::new(),
        shm_size_bytes: None,
    };
    let mut on_output = |stream: Stream, bytes: &[u8]| {
        drop(match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        });
    };
    let sandboxes = Sandboxes::new("/proc/self/exe".into(), HostFacts::gather()?);
    Ok(sandboxes.run(&spec, Upcoming::Nothing, &mut on_output, &Cancel::never())?)
}
