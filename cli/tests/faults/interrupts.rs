//! Ctrl-C.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bed::{BASE, Bed, Said};

/// What a user takes for at once.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn an_interrupt_ends_everything_at_once() {
    let Some(bed) = Bed::new() else { return };
    // It heeds no signal but the last one, and neither does its child.
    bed.write(
        "ctx/Dockerfile",
        format!("{BASE}RUN trap '' INT TERM; echo begun; sleep 1000 & sleep 1000\n"),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut child = bed.kiln(&["build", "--progress", "plain", "ctx"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap().ends_with("begun")));
        let asked = Instant::now();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let status = child.wait().unwrap();
        assert!(asked.elapsed() < AT_ONCE, "{signal}: it took {:?}", asked.elapsed());
        assert_eq!(status.code(), Some(130), "{signal}");
        let last = lines.last().unwrap().unwrap();
        assert_eq!(last, "error: interrupted", "{signal}");
        bed.left_nothing();
    }
    bed.is_whole();
}

#[test]
fn an_interrupt_ends_the_wait_for_a_registry() {
    let Some(bed) = Bed::new() else { return };
    // It takes connections and never says a word.
    let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    bed.write("ctx/Dockerfile", format!("FROM {}/a:1\n", registry.local_addr().unwrap()));
    let child = bed.kiln(&["build", "--progress", "quiet", "ctx"]).spawn().unwrap();
    let _silent = registry.accept().unwrap();
    let asked = Instant::now();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let said = Said::of(child.wait_with_output().unwrap(), bed.dir());
    assert!(asked.elapsed() < AT_ONCE, "it took {:?}", asked.elapsed());
    assert_eq!((said.code, said.stderr.as_str()), (Some(130), "error: interrupted\n"));
    bed.is_whole();
}

#[test]
fn an_interrupt_before_anything_runs() {
    let Some(bed) = Bed::new() else { return };
    bed.write("ctx/Dockerfile", BASE);
    for delay in 0..10 {
        let child =
            bed.kiln(&["build", "--no-cache", "--progress", "quiet", "ctx"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay * 3));
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        let said = Said::of(child.wait_with_output().unwrap(), bed.dir());
        // Without a code: the signal came before the program could heed it.
        assert!(matches!(said.code, Some(0 | 130) | None), "{said:?}");
        bed.left_nothing();
    }
    bed.is_whole();
}
