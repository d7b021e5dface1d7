//! The digests of a packed layer, kept: a change of them changes the digest of every image that users
//! have, and is not to come by accident with another version of a compressor.

use std::convert::Infallible;

use kiln_image::layer::{Compression, EntryKind, EntryMeta, PackEntry, PackOptions, pack};

const GOLDEN: &str = include_str!("../../testdata/image/packed-digests.txt");

/// Three directories and files that compress well, badly, and across several blocks.
fn entries() -> Vec<PackEntry<'static>> {
    let mut state = 1_u64;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let words = ["layer ", "of ", "clay ", "in ", "a ", "kiln\n"];
    let mut text = Vec::new();
    while text.len() < 6 << 20 {
        text.extend(words[usize::from(noise()) % words.len()].as_bytes());
    }
    let noise: Vec<u8> = (0..700_000).map(|_| noise()).collect();
    let file = |bytes: Vec<u8>| EntryKind::File {
        size_bytes: bytes.len() as u64,
        content: Box::new(std::io::Cursor::new(bytes)),
    };
    let entry = |path: &str, kind| {
        let meta = EntryMeta { mode: 0o755, mtime_seconds: 1_000_000, ..EntryMeta::default() };
        PackEntry { path: path.as_bytes().to_vec(), kind, meta }
    };
    vec![
        entry("etc", EntryKind::Dir),
        entry("etc/empty", file(Vec::new())),
        entry("noise", file(noise)),
        entry("text", file(text)),
        entry("tëxt", EntryKind::Symlink { target: b"text".to_vec() }),
        entry("gone", EntryKind::Whiteout),
    ]
}

#[test]
fn packed_layers_keep_their_digests() {
    let mut lines = String::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let options = PackOptions { compression, level: None };
        let list = entries().into_iter().map(Ok::<_, Infallible>);
        let layer = pack(list, std::io::sink(), options).unwrap();
        let line =
            format!("{compression:?} {} {} {}\n", layer.diff_id, layer.digest, layer.size_bytes);
        lines.push_str(&line);
    }
    assert_eq!(lines, GOLDEN, "what was packed (left) is not what is kept in testdata (right)");
}
