//! Lines there and back, and what is made of records that are cut, damaged or hostile.

use std::sync::Arc;
use std::time::Duration;

use kiln_cache::{CacheKey, LayerRef, Record};
use kiln_ir::{Digest, OpId};
use kiln_solver::{EventKind, Stream, TaskId, Unit};
use proptest::prelude::*;

use super::line::{Begin, Happened, Line, VERSION};
use super::*;

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn record(name: &str) -> Record {
    Record {
        layers: vec![LayerRef::new(digest(1)), LayerRef::new(digest(2))],
        created_ms: 17,
        duration_ms: 2300,
        size_bytes: 4096,
        name: name.to_owned(),
    }
}

fn events() -> Vec<Event> {
    let key = CacheKey::from_digest(digest(9));
    let declared = |name: &str, inputs: &[u32], op: Option<u32>| EventKind::Declared {
        name: name.to_owned(),
        inputs: inputs.iter().copied().map(TaskId).collect(),
        op: op.map(OpId::from_index),
    };
    let kinds = [
        (0, declared("[internal] load", &[], None)),
        (0, EventKind::Started),
        (0, EventKind::Progress { current: 1, total: Some(2), unit: Unit::Bytes }),
        (0, EventKind::Finished { duration: Duration::from_millis(1) }),
        (1, declared("[1/3] FROM base", &[], Some(0))),
        (2, declared("[2/3] RUN make", &[1], Some(3))),
        (3, declared("[3/3] RUN test", &[1, 2], Some(4))),
        (1, EventKind::Started),
        (1, EventKind::Keyed { key, record: Some(Arc::new(record("[1/3] FROM base"))) }),
        (1, EventKind::Cached),
        (2, EventKind::Started),
        (2, EventKind::Output { stream: Stream::Stdout, bytes: "größe\n\u{1b}[1m".into() }),
        (2, EventKind::Output { stream: Stream::Stderr, bytes: vec![0xff, 0, b'\n'] }),
        (2, EventKind::Warning { message: "slow".to_owned() }),
        (2, EventKind::Keyed { key, record: Some(Arc::new(record("[2/3] RUN make"))) }),
        (2, EventKind::Finished { duration: Duration::from_millis(3) }),
        (3, EventKind::Started),
        (3, EventKind::Keyed { key, record: None }),
        (3, EventKind::Failed { message: "exit code 1".to_owned() }),
    ];
    let at = |seq: u64| Duration::from_millis(seq);
    let event = |(seq, (task, kind))| Event { seq, at: at(seq), task: TaskId(task), kind };
    (0..).zip(kinds).map(event).collect()
}

fn begin() -> Line {
    let name = "app".to_owned();
    Line::Begin(Begin { v: VERSION, name, ..Begin::default() })
}

fn end() -> Line {
    Line::End(End {
        at: Duration::from_secs(1),
        status: "error".to_owned(),
        image: None,
        error: None,
        remarks: Vec::new(),
        left_out_bytes: 0,
    })
}

fn origin(vertex: usize) -> Line {
    let text = "RUN make".to_owned();
    let file = "Dockerfile".to_owned();
    Line::Origin(Origin { vertex, op: "exec".to_owned(), file, at: 7, text, run: None })
}

fn file(lines: impl IntoIterator<Item = Line>) -> Vec<u8> {
    let text = |line| serde_json::to_string(&line).unwrap() + "\n";
    lines.into_iter().map(text).collect::<String>().into_bytes()
}

fn whole() -> Vec<u8> {
    let happened = events().into_iter().map(|event| Line::Event(Happened::of(&event)));
    file([begin(), origin(0), origin(3)].into_iter().chain(happened).chain([end()]))
}

fn read(bytes: &[u8]) -> (PastBuild, Vec<Event>) {
    let mut events = Vec::new();
    let past = read_build(bytes, "id", &mut |event| events.push(event)).unwrap();
    (past, events)
}

#[test]
fn events_come_back_as_they_were() {
    let (past, read) = read(&whole());
    assert_eq!(read, events());
    assert_eq!(past.extent, Extent::Whole);
    assert_eq!(past.counts(), (3, 2, 1));
    assert_eq!(past.duration(), Duration::from_secs(1));
    let [load, from, make, test] = &past.tasks[..] else { panic!("{:?}", past.tasks) };
    assert_eq!((load.origin.as_ref(), load.state), (None, TaskState::Done));
    assert_eq!(from.record, Some(record("[1/3] FROM base")));
    assert_eq!(
        (make.inputs.as_slice(), make.duration()),
        (&[1][..], Some(Duration::from_millis(5)))
    );
    assert_eq!((make.output_bytes, make.warnings.as_slice()), (15, &["slow".to_owned()][..]));
    assert_eq!(make.origin.as_ref().map(|origin| origin.at), Some(7));
    assert_eq!(test.key, Some(CacheKey::from_digest(digest(9))));
    assert_eq!((test.state, test.record.as_ref()), (TaskState::Failed, None));
    assert_eq!(test.origin.as_ref().map(|origin| origin.vertex), Some(4), "no line told of it");
}

#[test]
fn output_can_be_read_by_people() {
    let text = String::from_utf8(whole()).unwrap();
    assert!(text.contains(r#""text":"größe\n"#), "{text}");
    assert!(text.contains(r#""base64":"/wAK""#), "{text}");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn a_record_that_is_cut_gives_what_there_is() {
    let bytes = whole();
    for length in 0..bytes.len() {
        let (past, _) = read(&bytes[..length]);
        assert_eq!(past.extent, Extent::Cut, "{length}");
    }
}

#[test]
fn what_a_later_kiln_adds_is_passed_over() {
    let more = b"{\"line\":\"news\",\"x\":[1]}\n{\"line\":\"event\",\"seq\":4,\"at_us\":1,\"task\":0,\"event\":\"sang\",\"song\":\"la\"}\n";
    let bytes = [&file([begin()])[..], more, &file([end()])[..]].concat();
    let (past, events) = read(&bytes);
    assert_eq!((past.extent, events.len()), (Extent::Whole, 0));
}

#[test]
fn damage_is_told_with_its_line() {
    let event = |index: usize| Line::Event(Happened::of(&events()[index]));
    for (lines, line, part) in [
        (file([begin(), event(5)]), 2, "out of order"),
        (file([begin(), event(1)]), 2, "never declared"),
        (file([begin(), event(0), begin()]), 3, "second time"),
        ([&file([begin(), event(0)])[..], b"{\"line\":\n"].concat(), 3, "EOF"),
        ([&file([begin()])[..], b"\0\0\0\n"].concat(), 2, "expected value"),
    ] {
        let (past, _) = read(&lines);
        let Extent::Damaged { line: found, reason } = past.extent else { panic!("{part}") };
        assert_eq!(found, line, "{reason}");
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn what_is_no_record_is_refused() {
    let newer = file([Line::Begin(Begin { v: VERSION + 1, ..Begin::default() })]);
    let error = read_build(&newer[..], "id", &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("form 2"), "{error}");
    for bytes in [&b"\x7fELF\n"[..], b"{}\n", b"{\"line\":\"end\"}\n"] {
        let error = read_build(bytes, "id", &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("begin"), "{error}");
    }
}

proptest! {
    #[test]
    fn damaged_records_never_panic(
        at in 0_usize..4000, byte in any::<u8>(), count in 1_usize..20,
    ) {
        let mut bytes = whole();
        let start = at % bytes.len();
        let stop = (start + count).min(bytes.len());
        bytes[start..stop].fill(byte);
        if let Ok(past) = read_build(&bytes[..], "id", &mut |_| {}) {
            for (index, task) in past.tasks.iter().enumerate() {
                prop_assert!(task.inputs.iter().all(|input| *input < index));
                prop_assert!(task.duration().is_none_or(|d| d <= Duration::MAX));
            }
        }
    }
}

/// A build of tasks, each with its inputs, start and end in milliseconds.
fn build(tasks: &[(&[usize], u64, u64)]) -> PastBuild {
    let (mut past, _) = read(&file([begin()]));
    let ms = |ms| Some(Duration::from_millis(ms));
    past.tasks = (tasks.iter().enumerate())
        .map(|(index, (inputs, started, ended))| PastTask {
            name: format!("step {index}"),
            inputs: inputs.to_vec(),
            origin: Some(Origin::unknown(index)),
            started: ms(*started),
            ended: ms(*ended),
            ..PastTask::default()
        })
        .collect();
    past
}

#[test]
fn the_critical_path_is_the_longest_chain() {
    let past =
        build(&[(&[], 0, 1), (&[0], 1, 50), (&[0], 1, 30), (&[2], 30, 70), (&[1, 3], 70, 71)]);
    assert_eq!(past.critical_path(), [0, 2, 3, 4]);
    assert_eq!(build(&[]).critical_path(), [0; 0]);
    let mut past = build(&[(&[], 0, 1), (&[0], 1, 2)]);
    // The last step never ran, and what has no name is nobody's business.
    past.tasks[1].started = None;
    past.tasks[0].name.clear();
    assert_eq!(past.critical_path(), [0; 0]);
}

#[test]
fn no_two_tasks_of_a_slot_overlap() {
    let past = build(&[(&[], 0, 10), (&[], 0, 5), (&[], 5, 20), (&[], 10, 12), (&[], 11, 13)]);
    assert_eq!(past.slots(), [0, 1, 1, 0, 2].map(Some));
    let mut past = build(&[(&[], 0, 10), (&[], 3, 3)]);
    past.tasks[0].ended = None;
    past.tasks[1].started = None;
    assert_eq!(past.slots(), [Some(0), None]);
}
