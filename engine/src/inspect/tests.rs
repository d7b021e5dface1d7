//! Steps of builds that were put together by hand.

use kiln_cache::layer::{Content, LayerWriter};
use kiln_cache::tree::{Meta, Mtime};
use kiln_cache::{CacheKey, Record};
use kiln_ir::Digest;

use super::*;
use crate::history::{Extent, Origin, read_build};
use crate::{EngineConfig, Settings};

struct Bed {
    _dir: tempfile::TempDir,
    engine: Engine,
    build: PastBuild,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(EngineConfig {
            root: dir.path().to_owned(),
            settings: Settings::default(),
            helper: "/proc/self/exe".into(),
        });
        let begin = br#"{"line":"begin","v":1,"kiln":"","created_ms":0,"name":"","asked":{}}"#;
        let build = read_build(&[&begin[..], b"\n"].concat()[..], "id", &mut |_| {}).unwrap();
        assert_eq!(build.extent, Extent::Cut);
        Self { _dir: dir, engine: engine.unwrap(), build }
    }

    /// Makes a layer above those of a task, or of none.
    fn layer(&self, root: Option<usize>, write: impl FnOnce(&mut LayerWriter)) -> Digest {
        let below = root.map_or_else(Vec::new, |root| after(&self.build, root).unwrap());
        let below: Vec<Digest> = below.iter().map(|layer| layer.digest).collect();
        let mut writer = self.engine.layers.writer(&below).unwrap();
        write(&mut writer);
        writer.finish().unwrap()
    }

    /// Another task, which gave these layers.
    fn task(&mut self, op: &str, inputs: &[usize], layers: Option<&[Digest]>) -> usize {
        let vertex = self.build.tasks.len();
        let line = format!("{{\"vertex\":{vertex},\"op\":\"{op}\"}}");
        let origin: Origin = serde_json::from_str(&line).unwrap();
        let record = layers.map(|layers| Record {
            layers: layers.iter().map(|layer| LayerRef::new(*layer)).collect(),
            created_ms: 0,
            duration_ms: 0,
            size_bytes: 0,
            name: String::new(),
        });
        self.build.tasks.push(PastTask {
            name: format!("step {vertex}"),
            inputs: inputs.to_vec(),
            origin: Some(origin),
            key: Some(CacheKey::from_digest(Digest::of(b"key"))),
            record,
            ..PastTask::default()
        });
        vertex
    }

    /// `docker diff`'s lines for a task.
    fn diff(&self, task: usize) -> Vec<String> {
        let changes = self.engine.changes_of(&self.build, task).unwrap();
        let letter = |kind| match kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        let line = |change: &FileChange| {
            format!("{} {}", letter(change.kind()), String::from_utf8_lossy(&change.path))
        };
        changes.iter().map(line).collect()
    }
}

fn write(writer: &mut LayerWriter, path: &str, content: &str) {
    let (path, meta) = (path.as_bytes(), Meta::of_root(0o644));
    if let Some(at) = path.iter().rposition(|byte| *byte == b'/') {
        writer.dir_all(&path[..at], &Meta::of_root(0o755), Mtime::default()).unwrap();
    }
    writer.file(path, &meta, Mtime::default(), Content::Bytes(content.as_bytes())).unwrap();
}

#[test]
fn what_a_step_changed_is_told_as_docker_tells_it() {
    let mut bed = Bed::new();
    let base = bed.layer(None, |layer| {
        write(layer, "etc/passwd", "root");
        write(layer, "etc/gone", "x");
        write(layer, "lib/a/b", "x");
        write(layer, "opt/old/b", "x");
    });
    let from = bed.task("image", &[], Some(&[base]));
    let changed = bed.layer(Some(from), |layer| {
        write(layer, "etc/passwd", "root and me");
        layer.whiteout(b"etc/gone").unwrap();
        layer.whiteout(b"lib/a").unwrap();
        write(layer, "new/a", "1");
        layer.opaque(b"opt/old").unwrap();
        write(layer, "opt/old/c", "x");
    });
    let run = bed.task("exec", &[from], Some(&[changed]));
    assert_eq!(
        bed.diff(run),
        [
            "C etc",
            "D etc/gone",
            "C etc/passwd",
            "C lib",
            "D lib/a",
            "A new",
            "A new/a",
            "C opt",
            "C opt/old",
            "D opt/old/b",
            "A opt/old/c"
        ]
    );
    let changes = bed.engine.changes_of(&bed.build, run).unwrap();
    let passwd = changes.iter().find(|change| change.path == b"etc/passwd").unwrap();
    let size = |state: &Option<FileState>| state.as_ref().unwrap().content.unwrap().1;
    assert_eq!((size(&passwd.before), size(&passwd.after)), (4, 11));
    assert_eq!(bed.diff(from).len(), 9, "an image adds all that it has");
}

#[test]
fn a_stack_adds_what_lies_above_its_lowest() {
    let mut bed = Bed::new();
    let base = bed.layer(None, |layer| write(layer, "a", "1"));
    let from = bed.task("image", &[], Some(&[base]));
    let scratch = bed.task("scratch", &[], None);
    let copied = bed.layer(None, |layer| write(layer, "b", "1"));
    let copy = bed.task("file", &[scratch], Some(&[copied]));
    let merge = bed.task("merge", &[from, copy], None);
    assert_eq!(bed.diff(merge), ["A b"]);
    let all = after(&bed.build, merge).unwrap();
    assert_eq!(all.iter().map(|layer| layer.digest).collect::<Vec<_>>(), [base, copied]);
}

#[test]
fn what_is_not_there_is_told() {
    let mut bed = Bed::new();
    let from = bed.task("image", &[], Some(&[Digest::of(b"collected")]));
    let failed = bed.task("exec", &[from], None);
    let context = bed.task("local", &[], None);
    for (task, part) in
        [(from, "collected since"), (failed, "`step 1` did not end well"), (context, "context")]
    {
        let error = bed.engine.changes_of(&bed.build, task).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_record_that_is_made_to_take_forever_does_not() {
    let mut bed = Bed::new();
    let mut at = bed.task("image", &[], Some(&[]));
    for _ in 0..63 {
        at = bed.task("merge", &[at, at], None);
    }
    assert_eq!(after(&bed.build, at).unwrap_err(), "it is made of too many steps");
    let mut at = bed.task("image", &[], Some(&[]));
    for _ in 0..70 {
        at = bed.task("merge", &[0, at], None);
    }
    assert_eq!(after(&bed.build, at).unwrap_err(), "its layers are nested too deeply");
    let mut at = bed.task("image", &[], Some(&[]));
    for _ in 0..50_000 {
        at = bed.task("exec", &[at], Some(&[]));
    }
    assert_eq!(after(&bed.build, at).unwrap(), []);
}
