//! An image as an expectation describes it, read without any code of Kiln's.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};
use tar::{Archive, Entry, EntryType};

use super::super::support::image::Image;

/// Contents up to this long are shown as they are, when they are text.
const SHOWN_BYTES: usize = 60;
/// How tar writes extended attributes.
const ATTRIBUTE: &str = "SCHILY.xattr.";

/// Config, history and layers above the base.
pub(super) fn describe(layout: &Path, base: &Path) -> Value {
    let image = Image::of(layout);
    let base = Image::of(base);
    // Without the base's layers, it is an image from scratch.
    let on_base = image.layers().starts_with(&base.layers());
    let (layers, entries) =
        if on_base { (base.layers().len(), history(&base).len()) } else { (0, 0) };
    let above: Vec<Value> = image.layers()[layers..]
        .iter()
        .map(|digest| layer(&layout.join("blobs").join(digest.replace(':', "/"))))
        .collect();
    json!({
        "author": image.config["author"],
        "config": image.config["config"],
        "history": history(&image)[entries..].to_vec(),
        "layers": above,
    })
}

/// Lines of the history; those without a layer are marked.
fn history(image: &Image) -> Vec<String> {
    let entries = image.config["history"].as_array().cloned().unwrap_or_default();
    let line = |entry: &Value| {
        let mark = if entry["empty_layer"] == true { " (no layer)" } else { "" };
        format!("{}{mark}", entry["created_by"].as_str().unwrap())
    };
    entries.iter().map(line).collect()
}

/// Every path with what it is.
fn layer(blob: &Path) -> Value {
    let mut archive = Archive::new(GzDecoder::new(File::open(blob).unwrap()));
    let mut paths = Map::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        assert_eq!(entry.header().mtime().unwrap(), 0, "{path} has a time of its own");
        let text = text(&mut entry);
        assert!(paths.insert(path.clone(), json!(text)).is_none(), "{path} is there twice");
    }
    Value::Object(paths)
}

/// `TYPE MODE UID:GID`, then contents or target, then attributes.
#[expect(clippy::wildcard_enum_match_arm, reason = "other kinds of entries are not for layers")]
fn text(entry: &mut Entry<'_, GzDecoder<File>>) -> String {
    let attributes = attributes(entry);
    let header = entry.header().clone();
    let owner = format!("{}:{}", header.uid().unwrap(), header.gid().unwrap());
    let mode = format!("{:04o}", header.mode().unwrap() & 0o7777);
    let target = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
    let target = target.unwrap_or_default();
    let what = match header.entry_type() {
        EntryType::Directory => format!("dir {mode} {owner}"),
        EntryType::Symlink => format!("symlink {owner} -> {target}"),
        EntryType::Link => format!("link to {target}"),
        EntryType::Fifo => format!("fifo {mode} {owner}"),
        EntryType::Char | EntryType::Block => format!("device {mode} {owner}"),
        EntryType::Regular => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            format!("file {mode} {owner} {}", shown(&content))
        }
        other => panic!("{other:?} in a layer"),
    };
    format!("{what}{attributes}")
}

fn shown(content: &[u8]) -> String {
    match std::str::from_utf8(content) {
        Ok(text) if content.len() <= SHOWN_BYTES => format!("{text:?}"),
        _ => format!("{} bytes, blake3 {}", content.len(), &blake3::hash(content).to_hex()[..16]),
    }
}

fn attributes(entry: &mut Entry<'_, GzDecoder<File>>) -> String {
    let Some(extensions) = entry.pax_extensions().unwrap() else { return String::new() };
    let pairs = extensions.filter_map(|extension| {
        let extension = extension.unwrap();
        let name = extension.key().unwrap().strip_prefix(ATTRIBUTE)?.to_owned();
        Some(format!(" {name}={}", extension.value_bytes().escape_ascii()))
    });
    let mut pairs: Vec<String> = pairs.collect();
    pairs.sort();
    pairs.concat()
}
