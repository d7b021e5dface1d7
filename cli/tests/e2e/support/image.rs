//! An image in a layout's directory, read without any code of Kiln's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{output, tool};

/// A layout's only image.
pub(crate) struct Image {
    layout: PathBuf,
    /// The manifest's digest.
    pub(crate) digest: String,
    /// The manifest.
    pub(crate) manifest: Value,
    /// The config.
    pub(crate) config: Value,
}

impl Image {
    pub(crate) fn of(layout: &Path) -> Self {
        let index = read(&layout.join("index.json"));
        let images = index["manifests"].as_array().unwrap();
        assert_eq!(images.len(), 1, "one image: {index}");
        let digest = text(&images[0]["digest"]);
        let manifest = read(&blob(layout, &digest));
        let config = read(&blob(layout, &text(&manifest["config"]["digest"])));
        Self { layout: layout.to_owned(), digest, manifest, config }
    }

    /// The layers' digests, lowest first.
    pub(crate) fn layers(&self) -> Vec<String> {
        let layers = self.manifest["layers"].as_array().unwrap();
        layers.iter().map(|layer| text(&layer["digest"])).collect()
    }

    /// The paths in one layer, as tar lists them.
    pub(crate) fn names(&self, index: usize) -> Vec<String> {
        let listed = output(self.tar(index).arg("--list"));
        listed.lines().map(str::to_owned).collect()
    }

    /// All that tar tells of one layer's entries.
    pub(crate) fn listing(&self, index: usize) -> String {
        output(self.tar(index).args(["--list", "--verbose", "--numeric-owner", "--xattrs"]))
    }

    fn tar(&self, index: usize) -> Command {
        let mut command = tool("tar");
        command.arg("--file").arg(blob(&self.layout, &self.layers()[index]));
        command.arg("--gunzip").env("TZ", "UTC");
        command
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}
