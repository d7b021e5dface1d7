//! Recorded events and what each view makes of them.
//!
//! A table of `testdata/cli/render` holds events, one a line (`MILLISECONDS TASK EVENT [TEXT]`, text
//! with Rust's escapes), then for each view a line `--- VIEW` and what it shows: `plain`, `rawjson`,
//! `tty COLUMNSxROWS at MILLISECONDS` or `tty COLUMNSxROWS at end`. `KILN_BLESS=1` rewrites them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::InMemoryTerm;
use kiln_solver::{EventKind, Stream, TaskId, Unit};

use super::*;

#[test]
fn recordings() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/cli/render");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut wrong = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut sections = text.split("\n--- ");
        let script = sections.next().unwrap();
        let events = parse(script);
        let mut found = script.to_owned();
        for section in sections {
            let view = section.lines().next().unwrap();
            found += &format!("\n--- {view}\n{}", show(view, &events));
        }
        if found != text {
            if std::env::var_os("KILN_BLESS").is_some() {
                std::fs::write(&path, found).unwrap();
            } else {
                wrong.push(format!("{}\n{found}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these show otherwise:\n{}", wrong.join("\n"));
}

fn parse(script: &str) -> Vec<Event> {
    let lines = script.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.zip(0..).map(|(line, seq)| event(line, seq)).collect()
}

fn event(line: &str, seq: u64) -> Event {
    let mut words = line.splitn(4, ' ');
    let mut number = || words.next().unwrap().parse::<u64>().unwrap();
    let at = Duration::from_millis(number());
    let task = TaskId(u32::try_from(number()).unwrap());
    let name = words.next().unwrap();
    let text = unescape(words.next().unwrap_or(""));
    let string = || String::from_utf8(text.clone()).unwrap();
    let numbers = || string().split(' ').map(|n| n.parse().unwrap()).collect::<Vec<u64>>();
    let kind = match name {
        "declared" => EventKind::Declared { name: string(), inputs: Vec::new(), op: None },
        "started" => EventKind::Started,
        "cached" => EventKind::Cached,
        "stdout" => EventKind::Output { stream: Stream::Stdout, bytes: text },
        "stderr" => EventKind::Output { stream: Stream::Stderr, bytes: text },
        "bytes" => EventKind::Progress {
            current: numbers()[0],
            total: numbers().get(1).copied(),
            unit: Unit::Bytes,
        },
        "warning" => EventKind::Warning { message: string() },
        "finished" => EventKind::Finished { duration: Duration::from_millis(numbers()[0]) },
        "failed" => EventKind::Failed { message: string() },
        "cancelled" => EventKind::Cancelled,
        other => panic!("no event {other}"),
    };
    Event { seq, at, task, kind }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next().unwrap() {
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'x' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap().to_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            other => panic!("no escape \\{}", char::from(other)),
        }
    }
    bytes
}

fn show(view: &str, events: &[Event]) -> String {
    let mut out = Vec::new();
    let mut words = view.split_whitespace();
    match words.next().unwrap() {
        "plain" => feed(&mut Plain::new(&mut out), events),
        "rawjson" => feed(&mut RawJson::new(&mut out), events),
        "tty" => {
            let (columns, rows) = words.next().unwrap().split_once('x').unwrap();
            return screen(
                events,
                (rows.parse().unwrap(), columns.parse().unwrap()),
                words.nth(1).unwrap().parse().ok().map(Duration::from_millis),
            );
        }
        other => panic!("no view {other}"),
    }
    String::from_utf8(out).unwrap()
}

fn feed(renderer: &mut dyn Renderer, events: &[Event]) {
    for event in events {
        renderer.event(event).unwrap();
    }
    renderer.finish(events.last().unwrap().at).unwrap();
}

/// What stands on a terminal of this size at some time, or at the end.
fn screen(events: &[Event], (rows, columns): (u16, u16), until: Option<Duration>) -> String {
    let terminal = InMemoryTerm::new(rows, columns);
    let mut tty = Tty::new(Box::new(terminal.clone()), false);
    for event in events.iter().filter(|event| until.is_none_or(|until| event.at <= until)) {
        tty.event(event).unwrap();
        tty.refresh(event.at).unwrap();
    }
    match until {
        Some(until) => tty.refresh(until).unwrap(),
        None => tty.finish(events.last().unwrap().at).unwrap(),
    }
    terminal.contents() + "\n"
}

/// A view whose memory outlives it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_display_shows_all_that_it_got() {
    let out = Shared::default();
    let display = Display::start(Box::new(Plain::new(out.clone())), || Duration::ZERO);
    let events = parse("0 0 declared step\n0 0 started\n0 0 stdout hello\\n\n5 0 finished 5");
    for event in events {
        display.show(event);
    }
    display.finish().unwrap();
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text, "#1 step\n#1 0.000 hello\n#1 DONE 0.0s\n");
}

/// Fails on the first event.
struct Broken;

impl Renderer for Broken {
    fn event(&mut self, _: &Event) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_view_that_fails_does_not_hold_the_build_up() {
    let display = Display::start(Box::new(Broken), || Duration::ZERO);
    for _ in 0..5_000 {
        display.show(event("0 0 declared x", 0));
    }
    assert_eq!(display.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn colours_are_only_used_when_asked_for() {
    for (colored, expected) in [(true, true), (false, false)] {
        let terminal = InMemoryTerm::new(10, 60);
        let mut tty = Tty::new(Box::new(terminal.clone()), colored);
        feed(&mut tty, &parse("0 0 declared step\n0 0 started\n1 0 cached"));
        let formatted = String::from_utf8_lossy(&terminal.contents_formatted()).into_owned();
        assert_eq!(formatted.contains("\u{1b}[32m"), expected, "{formatted:?}");
    }
}
