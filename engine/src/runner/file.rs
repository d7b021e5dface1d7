//! COPY, ADD, WORKDIR and their like: changes to files, written as a layer without mounting anything.

use std::time::{SystemTime, UNIX_EPOCH};

use kiln_cache::LayerRef;
use kiln_cache::copy::{Target, apply_file_action, write_root, write_selection};
use kiln_cache::select::{Root, Selection, SourceTree};
use kiln_cache::tree::Mtime;
use kiln_image::layer::sniff_archive;
use kiln_ir::{CopyOp, FileOp, Vertex};

use super::unpack::unpack_archive;
use super::{Runner, Value};
use crate::EngineError;

impl Runner<'_> {
    /// Makes the changes; answers the layer that holds them.
    pub(super) fn change_files(
        &self,
        (vertex, op): (&Vertex, &FileOp),
        inputs: &[Value],
    ) -> Result<LayerRef, EngineError> {
        let layers: Vec<_> =
            inputs[0].snapshot().layers().iter().map(|layer| layer.digest).collect();
        let base = self.view(&inputs[0])?;
        let mut writer = self.engine.layers.writer(&layers)?;
        let mut target = Target::new(&base, &mut writer, now());
        for action in &op.actions {
            if let Some(copy) = apply_file_action(action, &mut target)? {
                let input = &inputs[copy.input];
                let selection = self.selection(vertex, input, copy)?;
                match input {
                    Value::Context(tree) => add(&selection, tree.as_ref(), copy, &mut target)?,
                    Value::Snapshot(_) => add(&selection, &self.view(input)?, copy, &mut target)?,
                }
            }
        }
        Ok(LayerRef::new(writer.finish()?))
    }
}

fn add<T: SourceTree>(
    selection: &Selection,
    tree: &T,
    copy: &CopyOp,
    target: &mut Target<'_>,
) -> Result<(), EngineError> {
    if !copy.unpack {
        return Ok(write_selection(selection, tree, copy, target)?);
    }
    for root in selection.roots() {
        if let Some(source) = archive_in(root, tree)? {
            let name = String::from_utf8_lossy(&source).into_owned();
            unpack_archive(tree.open(&source)?, &name, copy, target)?;
        } else {
            write_root(root, tree, copy, target)?;
        }
    }
    Ok(())
}

/// The path of the file that a root is, when it is an archive.
fn archive_in<T: SourceTree>(root: &Root, tree: &T) -> Result<Option<Vec<u8>>, EngineError> {
    let Some(file) = root.file() else { return Ok(None) };
    let is_archive = sniff_archive(tree.open(file.source())?).is_some();
    Ok(is_archive.then(|| file.source().to_vec()))
}

/// The time of files that have none of their own.
pub(crate) fn now() -> Mtime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Mtime { secs: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nanos: now.subsec_nanos() }
}
