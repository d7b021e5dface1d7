//! Archives: read back as packed, and damaged in every way.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Cursor;

use proptest::prelude::*;

use super::super::{ArchiveFormat, Compression, PackOptions, PackedLayer, pack, sniff_archive};
use super::*;

/// An entry whose content is at hand, so that it can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Dir,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    Whiteout,
    Opaque,
}

type Owned = (Vec<u8>, Kind, EntryMeta);

fn lend((path, kind, meta): &Owned) -> PackEntry<'_> {
    let kind = match kind.clone() {
        Kind::Dir => EntryKind::Dir,
        Kind::File(bytes) => {
            let size_bytes = bytes.len() as u64;
            EntryKind::File { size_bytes, content: Box::new(Cursor::new(bytes)) }
        }
        Kind::Symlink(target) => EntryKind::Symlink { target },
        Kind::Hardlink(target) => EntryKind::Hardlink { target },
        Kind::Char(major, minor) => EntryKind::CharDevice { major, minor },
        Kind::Block(major, minor) => EntryKind::BlockDevice { major, minor },
        Kind::Fifo => EntryKind::Fifo,
        Kind::Whiteout => EntryKind::Whiteout,
        Kind::Opaque => EntryKind::OpaqueMarker,
    };
    PackEntry { path: path.clone(), kind, meta: meta.clone() }
}

fn own(entry: PackEntry<'_>) -> Result<Owned, String> {
    let kind = match entry.kind {
        EntryKind::Dir => Kind::Dir,
        EntryKind::File { size_bytes, mut content } => {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            assert_eq!(bytes.len() as u64, size_bytes);
            Kind::File(bytes)
        }
        EntryKind::Symlink { target } => Kind::Symlink(target),
        EntryKind::Hardlink { target } => Kind::Hardlink(target),
        EntryKind::CharDevice { major, minor } => Kind::Char(major, minor),
        EntryKind::BlockDevice { major, minor } => Kind::Block(major, minor),
        EntryKind::Fifo => Kind::Fifo,
        EntryKind::Whiteout => Kind::Whiteout,
        EntryKind::OpaqueMarker => Kind::Opaque,
    };
    Ok((entry.path, kind, entry.meta))
}

fn packed(list: &[Owned], compression: Compression) -> (PackedLayer, Vec<u8>) {
    let mut bytes = Vec::new();
    let options = PackOptions { compression, level: None };
    let entries = list.iter().map(|entry| Ok::<_, Infallible>(lend(entry)));
    let layer = pack(entries, &mut bytes, options).unwrap();
    (layer, bytes)
}

fn unpacked(bytes: &[u8], purpose: Purpose) -> Result<(Vec<Owned>, ArchiveSummary), String> {
    let text = |error: LayerError| error.to_string();
    let mut archive = entries(bytes, purpose, Limits::default()).map_err(text)?;
    let mut list = Vec::new();
    while let Some(entry) = archive.next_entry().map_err(text)? {
        list.push(own(entry)?);
    }
    Ok((list, archive.finish().map_err(text)?))
}

fn meta(mode: u32, uid: u32, mtime_seconds: i64) -> EntryMeta {
    EntryMeta { mode, uid, gid: uid / 2, mtime_seconds, xattrs: BTreeMap::new() }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let component = prop_oneof![
        "[a-z ]{1,12}".prop_map(String::into_bytes),
        "[a-zé☃]{1,90}".prop_map(String::into_bytes),
        prop::collection::vec(1_u8..=255, 1..20).prop_map(|bytes| bytes
            .into_iter()
            .filter(|b| *b != b'/')
            .chain([b'x'])
            .collect()),
    ];
    prop::collection::vec(component, 1..5).prop_map(|parts: Vec<Vec<u8>>| parts.join(&b'/'))
}

fn entry() -> impl Strategy<Value = Owned> {
    let text = prop::collection::vec(1_u8..=255, 1..150);
    let kind = prop_oneof![
        Just(Kind::Dir),
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(Kind::File),
        text.prop_map(Kind::Symlink),
        name().prop_map(Kind::Hardlink),
        (0_u32..4096, 0_u32..1_048_576).prop_map(|(a, b)| Kind::Char(a, b)),
        (0_u32..4096, 0_u32..1_048_576).prop_map(|(a, b)| Kind::Block(a, b)),
        Just(Kind::Fifo),
    ];
    let xattrs = prop::collection::btree_map(
        "user\\.[a-z☃]{1,8}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
        0..3,
    );
    let owner = prop_oneof![0_u32..1000, 2_000_000_u32..u32::MAX];
    let time = prop_oneof![0_i64..2_000_000_000, any::<i64>()];
    (name(), kind, 0_u32..0o10000, owner, time, xattrs).prop_map(
        |(path, kind, mode, uid, mtime_seconds, xattrs)| {
            let gid = uid ^ 1;
            (path, kind, EntryMeta { mode, uid, gid, mtime_seconds, xattrs })
        },
    )
}

proptest! {
    #[test]
    fn what_is_packed_is_read_back(list in prop::collection::vec(entry(), 0..12)) {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let (layer, bytes) = packed(&list, compression);
            let (back, summary) = unpacked(&bytes, Purpose::Layer).unwrap();
            prop_assert_eq!(&back, &list);
            prop_assert_eq!(summary.diff_id, Some(layer.diff_id));
            prop_assert_eq!(layer.digest, OciDigest::of(&bytes));
            prop_assert_eq!(layer.size_bytes, bytes.len() as u64);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        list in prop::collection::vec(entry(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let (_, mut bytes) = packed(&list, Compression::None);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        // A result either way; and what comes out can be packed again.
        if let Ok((back, _)) = unpacked(&bytes, Purpose::Layer) {
            prop_assert_eq!(unpacked(&packed(&back, Compression::None).1, Purpose::Layer).unwrap().0, back);
        }
    }
}

#[test]
fn removals_go_through_their_marked_names() {
    let mark = |path: &[u8], kind| (path.to_vec(), kind, meta(0, 0, 7));
    let list = [
        mark(b"a", Kind::Whiteout),
        mark(b"d/b", Kind::Whiteout),
        mark(b"d", Kind::Opaque),
        mark(b"", Kind::Opaque),
    ];
    let (_, bytes) = packed(&list, Compression::None);
    assert_eq!(unpacked(&bytes, Purpose::Layer).unwrap().0, list);
    let names: Vec<_> =
        unpacked(&bytes, Purpose::Archive).unwrap().0.into_iter().map(|entry| entry.0).collect();
    let expected: [&[u8]; 4] = [b".wh.a", b"d/.wh.b", b"d/.wh..wh..opq", b".wh..wh..opq"];
    assert_eq!(names, expected);
}

#[test]
fn names_that_would_be_read_as_removals_are_not_packed() {
    for path in [&b".wh.x"[..], b"a/.wh.x/b", b".wh..wh..opq"] {
        let list = [(path.to_vec(), Kind::Dir, meta(0o755, 0, 0))];
        let entries = list.iter().map(|entry| Ok::<_, Infallible>(lend(entry)));
        let error = pack(entries, Vec::new(), PackOptions::default()).unwrap_err();
        assert!(error.to_string().contains("mean removals"), "{error}");
    }
}

#[test]
fn paths_that_are_not_normal_are_not_packed() {
    for path in [&b""[..], b"/a", b"a/", b"../a", b"a/./b", b"a//b", b"a\0b"] {
        let list = [(path.to_vec(), Kind::Fifo, meta(0o755, 0, 0))];
        let entries = list.iter().map(|entry| Ok::<_, Infallible>(lend(entry)));
        assert!(pack(entries, Vec::new(), PackOptions::default()).is_err(), "{path:?}");
    }
}

#[test]
fn a_file_that_changed_its_size_is_reported() {
    for (size_bytes, content) in [(4, &b"abc"[..]), (2, b"abc"), (0, b"abc")] {
        let kind = EntryKind::File { size_bytes, content: Box::new(content) };
        let entry = PackEntry { path: b"f".to_vec(), kind, meta: meta(0o644, 0, 0) };
        let error = pack([Ok::<_, Infallible>(entry)], Vec::new(), PackOptions::default());
        assert!(error.unwrap_err().to_string().starts_with("`f` changed"), "{size_bytes}");
    }
}

#[test]
fn the_output_does_not_depend_on_the_number_of_cores() {
    let noise: Vec<u8> = (0..9_000_000_u32).map(|n| (n.wrapping_mul(n) >> 11) as u8).collect();
    let list = [(b"noise".to_vec(), Kind::File(noise), meta(0o644, 0, 0))];
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| packed(&list, compression))
        };
        let (one, four) = (with(1), with(4));
        assert!(one == four, "{compression:?}");
        assert_eq!(unpacked(&one.1, Purpose::Layer).unwrap().0, list);
    }
}

/// A header by hand, with a right checksum.
fn raw(name: &[u8], flag: u8, link: &[u8], size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..link.len()].copy_from_slice(link);
    old.linkflag[0] = flag;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn names_come_out_relative_or_not_at_all() {
    for (name, clean) in [
        (&b"./a/b"[..], Some(&b"a/b"[..])),
        (b"/etc/x", Some(b"etc/x")),
        (b"a/../b", Some(b"b")),
        (b"/../x", Some(b"x")),
        (b"../x", None),
        (b"a/../../x", None),
        (b"..", None),
    ] {
        for (flag, link) in [(b'0', &b""[..]), (b'1', b"target")] {
            let list = unpacked(&raw(name, flag, link, 0), Purpose::Archive);
            assert_eq!(list.ok().map(|(list, _)| list[0].0.clone()).as_deref(), clean, "{name:?}");
        }
        let link = unpacked(&raw(b"l", b'1', name, 0), Purpose::Archive);
        let target = link.ok().map(|(list, _)| list[0].1.clone());
        assert_eq!(target, clean.map(|clean| Kind::Hardlink(clean.to_vec())), "{name:?}");
    }
}

#[test]
fn removals_that_could_escape_are_refused() {
    for name in [&b".wh..."[..], b".wh..", b".wh.", b"a/.wh...", b".wh.a/b"] {
        assert!(unpacked(&raw(name, b'0', b"", 0), Purpose::Layer).is_err(), "{name:?}");
        unpacked(&raw(name, b'0', b"", 0), Purpose::Archive).unwrap();
    }
    let aufs = raw(b".wh..wh.plnk", b'0', b"", 0);
    assert!(unpacked(&aufs, Purpose::Layer).unwrap().0.is_empty());
}

#[test]
fn old_spellings_are_understood() {
    let long = [b"d/".as_slice(), &[b'n'; 200]].concat();
    let archive = [
        raw(b"dir/", 0, b"", 0),
        raw(b"././@LongLink", b'L', b"", long.len() as u64 + 1),
        padded(&long),
        raw(b"cut", b'0', b"", 3),
        padded(b"abc"),
        raw(b"pax_global_header", b'g', b"", 8),
        padded(b"8 a=bcd\n"),
        raw(b"last", b'7', b"", 0),
    ]
    .concat();
    let (list, _) = unpacked(&archive, Purpose::Archive).unwrap();
    let seen: Vec<_> = list.into_iter().map(|(path, kind, _)| (path, kind)).collect();
    assert_eq!(
        seen,
        [
            (b"dir".to_vec(), Kind::Dir),
            (long, Kind::File(b"abc".to_vec())),
            (b"last".to_vec(), Kind::File(Vec::new())),
        ]
    );
}

#[test]
fn damage_is_named() {
    let mut wrong_sum = raw(b"a", b'0', b"", 0);
    wrong_sum[0] = b'b';
    let nul =
        [raw(b"x", b'x', b"", 12), padded(b"12 path=a\0b\n"), raw(b"a", b'0', b"", 0)].concat();
    for (archive, says) in [
        (wrong_sum, "checksum"),
        (raw(b"a", b'0', b"", 5), "ends in the middle"),
        (raw(b"a", b'0', b"", 0)[..100].to_vec(), "ends in the middle"),
        (raw(b"a", b'Q', b"", 0), "unknown type"),
        (raw(b"a", b'2', b"", 0), "symbolic link"),
        (nul, "NUL"),
        ([raw(b"x", b'x', b"", 4), padded(b"zzzz")].concat(), "malformed"),
        (raw(b"x", b'x', b"", 1 << 40), "extension records"),
        (raw(b"big", b'0', b"", 1 << 41), "bytes of content"),
        ([vec![0; 512], vec![b'x'; 512]].concat(), "half an end mark"),
    ] {
        let error = unpacked(&archive, Purpose::Archive).unwrap_err();
        assert!(error.contains(says), "{error} / {says}");
    }
}

#[test]
fn a_hole_of_a_terabyte_is_refused_by_its_size_alone() {
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&raw(b"bomb", b'S', b"", 0));
    let fields = header.as_gnu_mut().unwrap();
    fields.set_real_size(1 << 41);
    header.set_cksum();
    let error = unpacked(header.as_bytes(), Purpose::Archive).unwrap_err();
    assert!(error.contains("bytes of content"), "{error}");
}

#[test]
fn only_what_has_an_entry_is_an_archive() {
    let list = [(b"f".to_vec(), Kind::File(b"x".to_vec()), meta(0o644, 0, 0))];
    let sniff = |compression| sniff_archive(&*packed(&list, compression).1);
    assert_eq!(sniff(Compression::None), Some(ArchiveFormat::Plain));
    assert_eq!(sniff(Compression::Gzip), Some(ArchiveFormat::Gzip));
    assert_eq!(sniff(Compression::Zstd), Some(ArchiveFormat::Zstd));
    let lone = zstd::bulk::compress(b"just text", 1).unwrap();
    let empty: [&[u8]; 5] = [b"", b"text", &lone, &[0; 1024], &[0x1f, 0x8b, 8]];
    for bytes in empty {
        assert_eq!(sniff_archive(bytes), None);
    }
}
