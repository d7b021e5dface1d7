//! What a manifest's digest covers, and what its bytes may do to a reader.

use kiln_ir::Digest;

use super::{Entry, Manifest, Meta, Mtime, Node};
use crate::CacheError;

fn entry(path: &[u8], node: Node) -> Entry {
    let mtime = Mtime { secs: 1_700_000_000, nanos: 5 };
    Entry { path: path.to_vec(), node, meta: Meta::of_root(0o644), mtime }
}

fn file(path: &[u8], content: &[u8]) -> Entry {
    let size_bytes = content.len() as u64;
    entry(path, Node::File { digest: Digest::of(content), size_bytes })
}

fn dir(path: &[u8]) -> Entry {
    entry(path, Node::Dir { opaque: false })
}

fn sample() -> Vec<Entry> {
    let mut odd = file(b"a/\xff\n", b"odd");
    odd.meta = Meta { mode: 0o6755, uid: 7, gid: u32::MAX, ..Meta::default() };
    odd.meta.xattrs.insert(b"user.k".to_vec(), b"\0v".to_vec());
    odd.mtime = Mtime { secs: i64::MIN, nanos: 999_999_999 };
    vec![
        dir(b"a"),
        entry(b"a/link", Node::Symlink { target: b"../x".to_vec() }),
        odd,
        entry(b"a-b", Node::CharDevice { major: 1, minor: 3 }),
        entry(b"b", Node::BlockDevice { major: 8, minor: u32::MAX }),
        entry(b"c", Node::Dir { opaque: true }),
        entry(b"c/pipe", Node::Fifo),
        entry(b"d", Node::Whiteout),
        file(b"f", b""),
        entry(b"g", Node::Hardlink { to: b"f".to_vec() }),
        entry(b"s", Node::Socket),
    ]
}

#[test]
fn bytes_and_back() {
    let manifest = Manifest::new(sample()).unwrap();
    assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
    let empty = Manifest::default();
    assert_eq!(Manifest::decode(&empty.encode()).unwrap(), empty);
    assert_eq!(manifest.size_bytes(), 3);
}

#[test]
fn the_digest_covers_all_but_times() {
    let digest = |entries: Vec<Entry>| Manifest::new(entries).unwrap().digest();
    let whole = digest(sample());
    let mut reversed = sample();
    reversed.reverse();
    assert_eq!(digest(reversed), whole, "the order given does not count");
    let mut younger = sample();
    younger[2].mtime = Mtime::default();
    assert_eq!(digest(younger), whole, "times do not count");

    let changes: [fn(&mut Vec<Entry>); 10] = [
        |entries| entries[2].meta.mode = 0o755,
        |entries| entries[2].meta.uid = 8,
        |entries| entries[2].meta.gid = 8,
        |entries| drop(entries[2].meta.xattrs.insert(b"user.k".to_vec(), b"w".to_vec())),
        |entries| entries[2].node = Node::File { digest: Digest::of(b"other"), size_bytes: 3 },
        |entries| entries[1].node = Node::Symlink { target: b"../y".to_vec() },
        |entries| entries[3].node = Node::BlockDevice { major: 1, minor: 3 },
        |entries| entries[5].node = Node::Dir { opaque: false },
        |entries| entries[10].path = b"t".to_vec(),
        |entries| drop(entries.pop()),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut entries = sample();
        change(&mut entries);
        assert_ne!(digest(entries), whole, "change {number}");
    }
}

#[test]
fn the_digest_of_nothing_and_of_a_sample_stay_what_they_are() {
    // A change here needs another format version: every store's layers would change their names.
    let digests = [
        Manifest::default().digest().to_string(),
        Manifest::new(sample()).unwrap().digest().to_string(),
    ];
    assert_eq!(digests, [GOLDEN_EMPTY, GOLDEN_SAMPLE]);
}

const GOLDEN_EMPTY: &str = "ee405049136ebe9c58bac5682e6a3ba90747e049a17d5fb9f507f2f544a4dc5a";
const GOLDEN_SAMPLE: &str = "69eb60d0e9dc49502aadfd3e4e856e83b605f3319290669b4c9339753c465835";

#[test]
fn only_sound_lists_become_manifests() {
    let refused: [(Vec<Entry>, &str); 9] = [
        (vec![file(b"../a", b"")], "clean"),
        (vec![file(b"/a", b"")], "clean"),
        (vec![dir(b"")], "clean"),
        (vec![file(b"a", b""), file(b"a", b"x")], "twice"),
        (vec![file(b"a/b", b"")], "no directory"),
        (vec![file(b"a", b""), file(b"a/b", b"")], "no directory"),
        (vec![entry(b"a", Node::Hardlink { to: b"a".to_vec() })], "hard link"),
        (vec![dir(b"a"), entry(b"b", Node::Hardlink { to: b"a".to_vec() })], "hard link"),
        (vec![entry(b"a", Node::Symlink { target: Vec::new() })], "symbolic link"),
    ];
    for (entries, what) in refused {
        let error = Manifest::new(entries).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn children_are_given_without_their_own() {
    let manifest = Manifest::new(vec![
        dir(b"a"),
        file(b"a-b", b""),
        dir(b"a/b"),
        file(b"a/b-c", b""),
        dir(b"a/b/c"),
        file(b"a/b/c/d", b""),
        file(b"a/e", b""),
    ])
    .unwrap();
    let names = |dir: &[u8]| {
        let children = manifest.children(dir);
        children.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(b""), ["a", "a-b"]);
    assert_eq!(names(b"a"), ["a/b", "a/b-c", "a/e"]);
    assert_eq!(names(b"a/b"), ["a/b/c"]);
    assert!(names(b"a/e").is_empty());
    assert!(names(b"z").is_empty());
}

/// Bytes with a checksum that fits, as a hostile writer would make them.
fn signed(body: &[u8]) -> Vec<u8> {
    [body, Digest::of(body).as_bytes()].concat()
}

#[test]
fn damaged_bytes_are_refused() {
    let whole = Manifest::new(sample()).unwrap().encode();
    for length in 0..whole.len() {
        let cut = Manifest::decode(&whole[..length]);
        assert!(matches!(cut, Err(CacheError::BadManifest { .. })), "{length}");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        assert!(Manifest::decode(&flipped).is_err(), "{at}");
    }
}

#[test]
fn hostile_bytes_are_read_without_harm() {
    let whole = Manifest::new(sample()).unwrap().encode();
    let body = &whole[..whole.len() - 32];
    for length in 0..body.len() {
        assert!(Manifest::decode(&signed(&body[..length])).is_err(), "{length}");
    }
    for at in 0..body.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = body.to_vec();
            changed[at] = value;
            // Whatever is accepted keeps the invariants.
            if let Ok(manifest) = Manifest::decode(&signed(&changed)) {
                Manifest::new(manifest.entries().to_vec()).unwrap();
            }
        }
    }
    let huge_count = [b"kiln layer 1\n", &[0xff; 9][..], &[1]].concat();
    assert!(Manifest::decode(&signed(&huge_count)).is_err());
    assert!(Manifest::decode(&signed(&[body, b"x"].concat())).is_err(), "something follows");
}
