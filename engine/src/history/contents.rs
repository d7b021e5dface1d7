//! What is in a layer, to be looked at.

use kiln_cache::CacheError;
use kiln_cache::tree::Node;
use kiln_ir::Digest;

use crate::{Engine, EngineError};

/// Some of the files of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerContents {
    /// The first of them, by path.
    pub files: Vec<LayerFile>,
    /// How many there are in all.
    pub count: usize,
    /// The bytes of all files together.
    pub size_bytes: u64,
}

/// A file of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFile {
    /// Its path below the root; what is no text in it is replaced.
    pub path: String,
    /// What it is: `file`, `directory`, `link to …`, `removed` …
    pub kind: String,
    /// Its length, for a file.
    pub size_bytes: Option<u64>,
}

impl Engine {
    /// What is in a layer, up to `most` files; nothing when the layer is not in the store any more.
    ///
    /// # Errors
    /// When its manifest cannot be read.
    pub fn layer_contents(
        &self,
        layer: &Digest,
        most: usize,
    ) -> Result<Option<LayerContents>, EngineError> {
        let manifest = match self.layers.manifest(layer) {
            Ok(manifest) => manifest,
            Err(CacheError::MissingLayer { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let entries = manifest.entries();
        let file = |entry: &kiln_cache::tree::Entry| LayerFile {
            path: String::from_utf8_lossy(&entry.path).into_owned(),
            kind: kind(&entry.node),
            size_bytes: entry.node.file().map(|(_, size_bytes)| size_bytes),
        };
        Ok(Some(LayerContents {
            files: entries.iter().take(most).map(file).collect(),
            count: entries.len(),
            size_bytes: manifest.size_bytes(),
        }))
    }
}

fn kind(node: &Node) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match node {
        Node::Dir { .. } => "directory".to_owned(),
        Node::File { .. } => "file".to_owned(),
        Node::Symlink { target } => format!("link to {}", text(target)),
        Node::Hardlink { to } => format!("the same as {}", text(to)),
        Node::CharDevice { .. } | Node::BlockDevice { .. } => "device".to_owned(),
        Node::Fifo => "pipe".to_owned(),
        Node::Socket => "socket".to_owned(),
        Node::Whiteout => "removed".to_owned(),
    }
}
