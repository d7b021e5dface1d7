//! Archives and layouts against the tools that everybody has: python's tarfile, GNU tar, skopeo, umoci.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real tools are run on real files here; the crate itself touches none"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output};

use kiln_image::layer::{
    ArchiveFormat, Compression, EntryKind, EntryMeta, Limits, PackEntry, PackOptions, PackedLayer,
    Purpose, entries, pack, sniff_archive,
};
use kiln_image::{
    Descriptor, ImageConfig, Index, Manifest, OciDigest, Platform, layout, media_type,
};

/// Runs a tool; `None`, said aloud, where the machine does not have it.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {said}");
            Some(output)
        }
        Err(error) => {
            kiln_testkit::skipped(&format!("{program}: {error}"));
            None
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn file(bytes: &'static [u8]) -> EntryKind<'static> {
    EntryKind::File { size_bytes: bytes.len() as u64, content: Box::new(bytes) }
}

/// One entry of each kind that ordinary users may unpack, and the names and numbers that need pax.
fn samples() -> Vec<PackEntry<'static>> {
    let entry = |path: &str, kind, mode, uid, mtime_seconds| {
        let meta = EntryMeta { mode, uid, gid: uid, mtime_seconds, xattrs: BTreeMap::new() };
        PackEntry { path: path.as_bytes().to_vec(), kind, meta }
    };
    let symlink = |target: &str| EntryKind::Symlink { target: target.as_bytes().to_vec() };
    let hardlink = |target: &str| EntryKind::Hardlink { target: target.as_bytes().to_vec() };
    let split = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let long = "n".repeat(200);
    let mut list = vec![
        entry("bin", EntryKind::Dir, 0o755, 0, 1_700_000_000),
        entry("bin/tool", file(b"#!/bin/sh\n"), 0o4755, 0, 1),
        entry("bin/again", hardlink("bin/tool"), 0o4755, 0, 1),
        entry("bin/link", symlink("tool"), 0o777, 0, 0),
        entry(&split, file(b"split"), 0o600, 1000, 0),
        entry(&long, file(b"long"), 0o644, 3_000_000, -5),
        entry("grüße", file(b"utf-8"), 0o644, 0, 0),
        entry("far", symlink(&"t/".repeat(80)), 0o777, 0, 0),
        entry("pipe", EntryKind::Fifo, 0o600, 0, 0),
    ];
    list[1].meta.xattrs.insert(b"user.kiln".to_vec(), b"a\0b=c\n".to_vec());
    list
}

fn write(list: Vec<PackEntry<'_>>, path: &Path, compression: Compression) -> PackedLayer {
    let out = File::create(path).unwrap();
    let options = PackOptions { compression, level: None };
    pack(list.into_iter().map(Ok::<_, Infallible>), out, options).unwrap()
}

#[test]
fn python_reads_every_entry_as_it_was_meant() {
    const SCRIPT: &str = r#"
import sys, tarfile
for m in tarfile.open(sys.argv[1], errorlevel=2):
    print(m.name, m.type.decode(), oct(m.mode), m.uid, m.gid, int(m.mtime), m.size, m.linkname,
          m.uname + m.gname, sorted(k for k in m.pax_headers if k.startswith("SCHILY")), sep="|")
"#;
    let directory = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Gzip] {
        let archive = directory.path().join("layer.tar");
        write(samples(), &archive, compression);
        let Some(output) = run("python3", &["-c", SCRIPT, text(&archive)]) else { return };
        let expected = [
            "bin|5|0o755|0|0|1700000000|0|||[]".to_owned(),
            "bin/tool|0|0o4755|0|0|1|10|||['SCHILY.xattr.user.kiln']".to_owned(),
            "bin/again|1|0o4755|0|0|1|0|bin/tool||[]".to_owned(),
            "bin/link|2|0o777|0|0|0|0|tool||[]".to_owned(),
            format!("{}/{}|0|0o600|1000|1000|0|5|||[]", "d".repeat(90), "f".repeat(90)),
            format!("{}|0|0o644|3000000|3000000|-5|4|||[]", "n".repeat(200)),
            "grüße|0|0o644|0|0|0|5|||[]".to_owned(),
            format!("far|2|0o777|0|0|0|0|{}||[]", "t/".repeat(80)),
            "pipe|6|0o600|0|0|0|0|||[]".to_owned(),
        ];
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn gnu_tar_unpacks_what_is_packed() {
    let directory = tempfile::tempdir().unwrap();
    let (archive, root) = (directory.path().join("layer.tar"), directory.path().join("root"));
    fs::create_dir(&root).unwrap();
    for compression in [Compression::None, Compression::Gzip] {
        write(samples(), &archive, compression);
        let arguments =
            ["-x", "--no-same-owner", "-p", "--xattrs", "-f", text(&archive), "-C", text(&root)];
        let Some(output) = run("tar", &arguments) else { return };
        // It has an opinion on files from before 1970, and no other complaint.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.lines().all(|line| line.contains("implausibly old")), "{said}");
        assert_eq!(fs::read(root.join("bin/again")).unwrap(), b"#!/bin/sh\n");
        assert_eq!(fs::read(root.join("grüße")).unwrap(), b"utf-8");
        assert_eq!(fs::read(root.join("n".repeat(200))).unwrap(), b"long");
    }
}

/// Reads a file of an archive and the format that was found.
fn read_back(archive: &Path, name: &[u8]) -> (Option<ArchiveFormat>, Vec<u8>) {
    let format = sniff_archive(File::open(archive).unwrap());
    let mut list =
        entries(File::open(archive).unwrap(), Purpose::Archive, Limits::default()).unwrap();
    while let Some(entry) = list.next_entry().unwrap() {
        if entry.path == name
            && let EntryKind::File { mut content, .. } = entry.kind
        {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).unwrap();
            return (format, bytes);
        }
    }
    panic!("no such entry")
}

#[test]
fn archives_of_gnu_tar_are_read_in_every_compression() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("f"), b"content").unwrap();
    for (flag, format) in [
        ("--no-auto-compress", ArchiveFormat::Plain),
        ("--gzip", ArchiveFormat::Gzip),
        ("--bzip2", ArchiveFormat::Bzip2),
        ("--xz", ArchiveFormat::Xz),
        ("--zstd", ArchiveFormat::Zstd),
    ] {
        let program = flag.trim_start_matches("--");
        if format != ArchiveFormat::Plain && run(program, &["--version"]).is_none() {
            continue;
        }
        let archive = directory.path().join("a.tar");
        let arguments = ["-c", flag, "-f", text(&archive), "-C", text(directory.path()), "f"];
        if run("tar", &arguments).is_none() {
            return;
        }
        assert_eq!(read_back(&archive, b"f"), (Some(format), b"content".to_vec()));
    }
}

#[test]
fn files_with_holes_are_read_in_both_of_gnu_tars_formats() {
    let directory = tempfile::tempdir().unwrap();
    let name = "h".repeat(120);
    let holed = directory.path().join(&name);
    let mut expected = vec![0; 3 << 20];
    let marks: Vec<usize> = (0..40).map(|n| n * 70_000).collect();
    for at in &marks {
        expected[*at..at + 4].copy_from_slice(b"data");
    }
    // Written by a tool that leaves holes, whatever the filesystem makes of zeros.
    let dense = directory.path().join("dense");
    fs::write(&dense, &expected).unwrap();
    if run("cp", &["--sparse=always", text(&dense), text(&holed)]).is_none() {
        return;
    }
    for format in ["gnu", "posix"] {
        let archive = directory.path().join("a.tar");
        let place = text(directory.path());
        let arguments = ["-c", "-S", "-H", format, "-f", text(&archive), "-C", place, &name];
        if run("tar", &arguments).is_none() {
            return;
        }
        let stored = fs::metadata(&archive).unwrap().len();
        if stored > 2 << 20 {
            kiln_testkit::skipped("this filesystem keeps no holes");
            return;
        }
        assert!(read_back(&archive, name.as_bytes()).1 == expected, "{format}");
    }
}

/// Writes a layout with one image of two layers, the second of which removes files of the first; the
/// image's digest and its diff ids.
fn write_layout(root: &Path, compression: Compression) -> (OciDigest, Vec<OciDigest>) {
    let blobs = root.join(layout::BLOBS_DIR);
    fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let descriptor = Descriptor::of(media_type, bytes);
        fs::write(root.join(layout::blob_path(&descriptor.digest)), bytes).unwrap();
        descriptor
    };
    let removal = |path: &[u8]| PackEntry {
        path: path.to_vec(),
        kind: EntryKind::Whiteout,
        meta: EntryMeta::default(),
    };
    let mut config = ImageConfig::default();
    let platform = Platform::new("linux", "amd64", "");
    (config.os, config.architecture) = (platform.os().into(), platform.architecture().into());
    config.config.cmd = Some(vec!["/bin/tool".to_owned()]);
    let mut layers = Vec::new();
    for list in [samples(), vec![removal(b"bin/link"), removal(b"far")]] {
        let temporary = root.join("layer");
        let packed = write(list, &temporary, compression);
        fs::rename(&temporary, root.join(layout::blob_path(&packed.digest))).unwrap();
        layers.push(Descriptor::new(packed.media_type, packed.digest, packed.size_bytes));
        config.rootfs.diff_ids.push(packed.diff_id);
    }
    let diff_ids = config.rootfs.diff_ids.clone();
    let config = put(media_type::OCI_CONFIG, &config.to_bytes());
    let manifest = put(media_type::OCI_MANIFEST, &Manifest::new(config, layers).to_bytes());
    let digest = manifest.digest;
    let mut index = Index::new(Vec::new());
    layout::insert(&mut index, manifest, Some("latest"));
    fs::write(root.join(layout::INDEX_NAME), index.to_bytes()).unwrap();
    fs::write(root.join(layout::MARKER_NAME), layout::MARKER).unwrap();
    (digest, diff_ids)
}

#[test]
fn skopeo_accepts_a_layout_in_every_compression() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("layout");
        let (digest, diff_ids) = write_layout(&root, compression);
        let source = format!("oci:{}:latest", text(&root));
        let Some(output) = run("skopeo", &["inspect", &source]) else { return };
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(&digest.to_string()), "{said}");
        // Decompressing makes skopeo read every layer; it names the plain one by its digest.
        let plain = directory.path().join("plain");
        let target = format!("dir:{}", text(&plain));
        run("skopeo", &["copy", "--insecure-policy", "--dest-decompress", &source, &target]);
        for diff_id in &diff_ids {
            assert!(plain.join(diff_id.hex()).exists(), "{compression:?}");
        }
        if compression == Compression::Zstd {
            // Docker's archives cannot hold such layers.
            continue;
        }
        let archive = directory.path().join("image.tar");
        let target = format!("docker-archive:{}:x:1", text(&archive));
        run("skopeo", &["copy", "--insecure-policy", &source, &target]);
        let (_, bytes) = read_back(&archive, b"manifest.json");
        let images = kiln_image::docker_archive::parse(&bytes).unwrap();
        let name = "x:1".parse().unwrap();
        let saved = kiln_image::docker_archive::select(&images, Some(&name)).unwrap();
        let (_, bytes) = read_back(&archive, saved.config.as_bytes());
        let config = kiln_image::parse_config(&bytes).unwrap();
        assert_eq!(config.rootfs.diff_ids.len(), saved.layers.len());
        assert_eq!(config.config.cmd.as_deref(), Some(&["/bin/tool".to_owned()][..]));
    }
}

#[test]
fn umoci_unpacks_a_layout_and_applies_its_removals() {
    for compression in [Compression::None, Compression::Gzip] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("layout");
        write_layout(&root, compression);
        let bundle = directory.path().join("bundle");
        let image = format!("{}:latest", text(&root));
        let arguments = ["unpack", "--rootless", "--image", &image, text(&bundle)];
        if run("umoci", &arguments).is_none() {
            return;
        }
        let unpacked = bundle.join("rootfs");
        assert_eq!(fs::read(unpacked.join("bin/tool")).unwrap(), b"#!/bin/sh\n");
        assert!(unpacked.join("bin/link").symlink_metadata().is_err());
        assert!(unpacked.join("far").symlink_metadata().is_err());
        assert!(unpacked.join("pipe").symlink_metadata().is_ok());
    }
}
