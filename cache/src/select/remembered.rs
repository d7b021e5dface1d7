//! Whatever happens to a context between two builds, and whatever is remembered of it: what is selected, and its
//! digest, are those of a build that knows nothing. The digest's definition is written down here a second time.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use kiln_ir::{CopyOp, Digest};
use proptest::prelude::*;

use super::fixture::{Files, ignoring};
use super::{Selection, select};
use crate::context::{LocalTree, StatCache};
use crate::tree::Mtime;

/// Something that is done to a context, if it can be.
#[derive(Debug, Clone)]
enum Deed {
    Write(&'static str, u8),
    Mkdir(&'static str),
    Symlink(&'static str, &'static str),
    Link(&'static str, &'static str),
    Mode(&'static str, u32),
    Attribute(&'static str, u8),
    Fifo(&'static str),
    Socket(&'static str),
    Rename(&'static str, &'static str),
    Touch(&'static str),
    Remove(&'static str),
}

const PATHS: &[&str] =
    &["a", "b", "b.o", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/b.o", "f", "f/a", "f/g", "f/g/a"];

/// Contents of ignore files.
const IGNORED: &[&[&str]] = &[&[], &["**/*.o"], &["d/e", "f"], &["*", "!d/e/a", "!f"]];

fn deed() -> impl Strategy<Value = Deed> {
    let path = || prop::sample::select(PATHS);
    prop_oneof![
        6 => (path(), 0..4u8).prop_map(|(path, content)| Deed::Write(path, content)),
        3 => path().prop_map(Deed::Mkdir),
        1 => (path(), path()).prop_map(|(path, target)| Deed::Symlink(path, target)),
        2 => (path(), path()).prop_map(|(path, other)| Deed::Link(path, other)),
        1 => (path(), prop::sample::select(&[0o600, 0o644, 0o755, 0o4711][..]))
            .prop_map(|(path, mode)| Deed::Mode(path, mode)),
        1 => (path(), 0..3u8).prop_map(|(path, value)| Deed::Attribute(path, value)),
        1 => path().prop_map(Deed::Fifo),
        1 => path().prop_map(Deed::Socket),
        1 => (path(), path()).prop_map(|(path, to)| Deed::Rename(path, to)),
        1 => path().prop_map(Deed::Touch),
        2 => path().prop_map(Deed::Remove),
    ]
}

impl Deed {
    /// Answers whether it could be done.
    fn apply(&self, files: &Files) -> bool {
        use rustix::fs::{CWD, FileType, XattrFlags, mknodat, setxattr};
        let at = |path: &str| files.path(path);
        match *self {
            // As long as any other: only the content differs.
            Self::Write(path, content) => {
                // To open a pipe would wait for its reader.
                let is_taken = at(path).symlink_metadata().is_ok_and(|meta| !meta.is_file());
                !is_taken && fs::write(at(path), [content; 5]).is_ok()
            }
            Self::Mkdir(path) => fs::create_dir(at(path)).is_ok(),
            Self::Symlink(path, to) => std::os::unix::fs::symlink(to, at(path)).is_ok(),
            Self::Link(path, other) => fs::hard_link(at(other), at(path)).is_ok(),
            Self::Mode(path, mode) => at(path)
                .symlink_metadata()
                .is_ok_and(|meta| !meta.is_symlink() && set_mode(&at(path), mode)),
            Self::Attribute(path, value) => at(path).symlink_metadata().is_ok_and(|meta| {
                !meta.is_symlink()
                    && setxattr(at(path), "user.kiln", &[value], XattrFlags::empty()).is_ok()
            }),
            Self::Fifo(path) => mknodat(CWD, at(path), FileType::Fifo, 0o644.into(), 0).is_ok(),
            Self::Socket(path) => std::os::unix::net::UnixListener::bind(at(path)).is_ok(),
            Self::Rename(path, to) => fs::rename(at(path), at(to)).is_ok(),
            Self::Touch(path) => at(path).symlink_metadata().is_ok_and(|meta| {
                meta.is_file()
                    && fs::File::open(at(path))
                        .and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
                        .is_ok()
            }),
            Self::Remove(path) => {
                fs::remove_file(at(path)).is_ok() || fs::remove_dir_all(at(path)).is_ok()
            }
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> bool {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).is_ok()
}

/// The selection's digest, from the definition and the standard library.
fn defined(selection: &Selection, files: &Files) -> Digest {
    let mut out = Vec::new();
    let text = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(bytes);
    };
    let number = |out: &mut Vec<u8>, value: u64| out.extend(value.to_le_bytes());
    text(&mut out, b"kiln selection 2");
    number(&mut out, 3);
    number(&mut out, 0);
    number(&mut out, selection.entries().count() as u64);
    let mut first: HashMap<u64, Vec<u8>> = HashMap::new();
    for entry in selection.entries() {
        let path = files.root().join(crate::tree::paths::host(entry.source()));
        let meta = path.symlink_metadata().unwrap();
        text(&mut out, entry.dest());
        let mut is_link = false;
        let earlier = first.get(&meta.ino()).filter(|_| meta.is_file());
        if let Some(to) = earlier {
            number(&mut out, 3);
            text(&mut out, to);
            is_link = true;
        } else if meta.is_dir() {
            number(&mut out, 0);
            number(&mut out, 0);
        } else if meta.is_file() {
            let content = fs::read(&path).unwrap();
            number(&mut out, 1);
            number(&mut out, content.len() as u64);
            out.extend(Digest::of(&content).as_bytes());
            first.insert(meta.ino(), entry.dest().to_vec());
        } else if meta.is_symlink() {
            number(&mut out, 2);
            text(&mut out, fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes());
            is_link = true;
        } else {
            number(&mut out, 6);
        }
        if !is_link {
            number(&mut out, u64::from(meta.mode() & 0o7777));
        }
        // Everything is root's.
        number(&mut out, 0);
        number(&mut out, 0);
        let mut value = [0; 8];
        let length = match meta.is_file() || meta.is_dir() {
            true => rustix::fs::lgetxattr(&path, "user.kiln", &mut value[..]).unwrap_or(0),
            false => 0,
        };
        number(&mut out, u64::from(length > 0));
        if length > 0 {
            text(&mut out, b"user.kiln");
            text(&mut out, &value[..length]);
        }
    }
    Digest::of(&out)
}

fn end_of_time() -> Mtime {
    Mtime { secs: 1 << 40, nanos: 0 }
}

/// Ends when the filesystem's clock has moved on.
fn wait_for_a_new_time() {
    let clock = tempfile::NamedTempFile::new().unwrap();
    let time = || {
        clock.as_file().set_len(0).unwrap();
        let meta = clock.as_file().metadata().unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let before = time();
    while time() == before {}
}

/// A selection with what `memory` holds, and what a next build would remember.
fn build(files: &Files, copy: &CopyOp, memory: &[u8], trusts: bool) -> (Selection, Vec<u8>) {
    let mut cache = StatCache::decode(memory.to_vec());
    if trusts {
        cache = cache.with_clock(end_of_time);
    }
    let tree = LocalTree::open(files.root(), cache).unwrap();
    let selection = select(&tree, copy).unwrap();
    (selection, tree.stat_cache().encode().unwrap_or(memory.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Where `trusts` is set, everything is remembered and nothing changes within a tick of the clock; else the
    /// second build follows at once.
    #[test]
    fn a_memory_changes_nothing_of_what_is_selected(
        before in prop::collection::vec(deed(), 0..30),
        after in prop::collection::vec(deed(), 0..6),
        ignore in prop::sample::select(IGNORED),
        trusts: bool,
    ) {
        let files = Files::new(&[]);
        for deed in &before {
            deed.apply(&files);
        }
        let copy = ignoring("/", ignore);
        let (first, memory) = build(&files, &copy, b"", trusts);
        prop_assert_eq!(first.digest(), defined(&first, &files));
        let (again, memory) = build(&files, &copy, &memory, trusts);
        prop_assert_eq!(&again, &first);
        if trusts {
            wait_for_a_new_time();
        }
        for deed in &after {
            deed.apply(&files);
        }
        let (known, _) = build(&files, &copy, &memory, trusts);
        prop_assert_eq!(known.digest(), defined(&known, &files));
        let (anew, _) = build(&files, &copy, b"", trusts);
        prop_assert_eq!(known, anew);
    }
}
