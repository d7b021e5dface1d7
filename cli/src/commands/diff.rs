//! `kiln diff`: what a step changed.

use std::fmt::Write as _;

use kiln_cli::args::{DiffArgs, Format};
use kiln_cli::render::escaped;
use kiln_engine::{ChangeKind, FileChange, FileState, Node};
use serde_json::{Map, Value, json};

use super::{Failure, Place, print};

/// Bytes of text that are printed at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Prints what a step changed.
pub(super) fn diff(place: &Place, arguments: &DiffArgs) -> Result<(), Failure> {
    let engine = place.open()?;
    let (build, step) = arguments.reference();
    let build = engine.past_build(&engine.find_build(build)?.id)?;
    let changes = engine.changes_of(&build, build.find_step(step)?)?;
    let mut text = String::new();
    for change in &changes {
        match arguments.format {
            Format::Json => text.push_str(&json_line(change)),
            Format::Table => text.push_str(&line(change, arguments.long)),
        }
        if text.len() > CHUNK_BYTES {
            print(&std::mem::take(&mut text));
        }
    }
    print(&text);
    Ok(())
}

/// Such as `C /etc/passwd`.
fn line(change: &FileChange, long: bool) -> String {
    let letter = letter(change.kind());
    let mut line = format!("{letter} ");
    // What is there, or was.
    if let (true, Some(state)) = (long, change.after.as_ref().or(change.before.as_ref())) {
        let meta = &state.meta;
        let owner = format!("{}:{}", meta.uid, meta.gid);
        let size = state.content.map_or_else(|| "-".to_owned(), |(_, size)| size.to_string());
        let kind = sign(&state.node);
        // A text can always be written to.
        let _written = write!(line, "{kind}{:04o} {owner:>11} {size:>12} ", meta.mode);
    }
    line.push('/');
    line.push_str(&escaped(&change.path));
    if let (true, Some(target)) =
        (long, change.after.as_ref().and_then(|state| state.node.link_target()))
    {
        line.push_str(" -> ");
        line.push_str(&escaped(target));
    }
    line.push('\n');
    line
}

const fn letter(kind: ChangeKind) -> char {
    match kind {
        ChangeKind::Added => 'A',
        ChangeKind::Changed => 'C',
        ChangeKind::Deleted => 'D',
    }
}

/// As `ls -l` has it.
const fn sign(node: &Node) -> char {
    match node {
        Node::Dir { .. } => 'd',
        Node::File { .. } | Node::Hardlink { .. } => '-',
        Node::Symlink { .. } => 'l',
        Node::CharDevice { .. } => 'c',
        Node::BlockDevice { .. } => 'b',
        Node::Fifo => 'p',
        Node::Socket => 's',
        Node::Whiteout => '?',
    }
}

const fn name(node: &Node) -> &'static str {
    match node {
        Node::Dir { .. } => "directory",
        Node::File { .. } | Node::Hardlink { .. } => "file",
        Node::Symlink { .. } => "symlink",
        Node::CharDevice { .. } => "character-device",
        Node::BlockDevice { .. } => "block-device",
        Node::Fifo => "fifo",
        Node::Socket => "socket",
        Node::Whiteout => "whiteout",
    }
}

fn json_line(change: &FileChange) -> String {
    let mut object = Map::new();
    object.insert("Kind".to_owned(), letter(change.kind()).to_string().into());
    let mut path = b"/".to_vec();
    path.extend_from_slice(&change.path);
    put_bytes(&mut object, "Path", &path);
    for (name, state) in [("Before", &change.before), ("After", &change.after)] {
        if let Some(state) = state {
            object.insert(name.to_owned(), json_state(state));
        }
    }
    format!("{}\n", Value::from(object))
}

fn json_state(state: &FileState) -> Value {
    let FileState { node, meta, content } = state;
    let mut object = Map::new();
    object.insert("Type".to_owned(), name(node).into());
    object.insert("Mode".to_owned(), format!("{:04o}", meta.mode).into());
    object.insert("Uid".to_owned(), meta.uid.into());
    object.insert("Gid".to_owned(), meta.gid.into());
    if let Some((digest, size_bytes)) = content {
        object.insert("Size".to_owned(), (*size_bytes).into());
        object.insert("Blake3".to_owned(), digest.to_string().into());
    }
    if let Some(target) = node.link_target() {
        put_bytes(&mut object, "Target", target);
    }
    if let Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } = node {
        object.insert("Device".to_owned(), json!([major, minor]));
    }
    if !meta.xattrs.is_empty() {
        let names = meta.xattrs.keys().map(|name| escaped(name)).collect::<Vec<_>>();
        object.insert("Attributes".to_owned(), names.into());
    }
    Value::from(object)
}

/// A name as text; where it is none, also its bytes.
fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if matches!(text, std::borrow::Cow::Owned(_)) {
        let whole: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        object.insert(format!("{name}Hex"), whole.into());
    }
    object.insert(name.to_owned(), text.into());
}

#[cfg(test)]
mod tests {
    use kiln_engine::Meta;

    use super::*;

    fn change(path: &[u8], before: Option<Node>, after: Option<Node>) -> FileChange {
        let state = |node: Node| FileState {
            content: node.file(),
            node,
            meta: Meta { mode: 0o4755, uid: 1000, gid: 100, xattrs: Default::default() },
        };
        FileChange { path: path.to_vec(), before: before.map(state), after: after.map(state) }
    }

    #[test]
    fn lines_are_dockers() {
        let file = || Node::File { digest: kiln_ir::Digest::of(b"x"), size_bytes: 12 };
        let link = Node::Symlink { target: b"to\nb".to_vec() };
        for (change, short, long) in [
            (
                change(b"bin/su", None, Some(file())),
                "A /bin/su\n",
                "A -4755    1000:100           12 /bin/su\n",
            ),
            (
                change(b"etc", Some(Node::Dir { opaque: false }), Some(link)),
                "C /etc\n",
                "C l4755    1000:100            - /etc -> to\\x0ab\n",
            ),
            (
                change(b"a\x1b[2J\xff\\n", Some(file()), None),
                "D /a\\x1b[2J\\xff\\\\n\n",
                "D -4755    1000:100           12 /a\\x1b[2J\\xff\\\\n\n",
            ),
        ] {
            assert_eq!(
                (line(&change, false).as_str(), line(&change, true).as_str()),
                (short, long)
            );
        }
    }

    #[test]
    fn json_has_both_sides() {
        let device = Node::CharDevice { major: 1, minor: 3 };
        let line = json_line(&change(b"dev\xff", Some(Node::Fifo), Some(device)));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["Kind"], "C");
        assert_eq!(
            (&value["Path"], &value["PathHex"]),
            (&"/dev\u{fffd}".into(), &"2f646576ff".into())
        );
        assert_eq!(
            (&value["Before"]["Type"], &value["After"]["Device"]),
            (&"fifo".into(), &json!([1, 3]))
        );
        assert_eq!(
            (&value["After"]["Mode"], &value["After"]["Uid"]),
            (&"4755".into(), &1000.into())
        );
    }
}
