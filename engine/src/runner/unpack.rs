//! Archives: an image's layers, and the archives that ADD unpacks.

use std::fs::File;
use std::io::BufReader;

use kiln_cache::copy::{Target, Unpack};
use kiln_cache::layer::{Content, LayerWriter};
use kiln_cache::tree::{Manifest, Meta, Mtime, Node};
use kiln_cache::{BlobRef, CacheError};
use kiln_image::layer::{EntryKind, EntryMeta, LayerError, Limits, PackEntry, Purpose, entries};
use kiln_ir::{CopyOp, Digest};
use kiln_solver::Cancel;

use crate::{Engine, EngineError};

/// Unpacks a layer's blob, which is in the store, to a layer, and checks that it is the archive that the
/// image's config names.
/// `list` has the exact times of the files, where they are known: an archive has whole seconds, or one
/// time for all.
///
/// Each layer stands on its own, so that all of an image can be unpacked side by side.
pub(crate) fn unpack_layer(
    engine: &Engine,
    blob: &BlobRef,
    list: Option<&Manifest>,
    cancel: &Cancel,
) -> Result<Digest, EngineError> {
    let failed = |error: LayerError| archive_error(&blob.digest, &error);
    let file = engine
        .store
        .open_blob(&blob.digest)?
        .ok_or_else(|| CacheError::MissingBlob { digest: blob.digest.clone() })?;
    let mut writer = engine.layers.writer(&[])?;
    let mut archive =
        entries(BufReader::new(file), Purpose::Layer, Limits::default()).map_err(failed)?;
    while let Some(entry) = archive.next_entry().map_err(failed)? {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        write_entry(&mut writer, list, entry)?;
    }
    let summary = archive.finish().map_err(failed)?;
    let found = summary.diff_id.map(|digest| digest.to_string()).unwrap_or_default();
    if found != blob.diff_id {
        return Err(EngineError::Archive {
            archive: blob.digest.clone(),
            reason: format!("it holds {found}, and its image's config says {}", blob.diff_id),
        });
    }
    Ok(writer.finish()?)
}

fn write_entry(
    writer: &mut LayerWriter,
    list: Option<&Manifest>,
    entry: PackEntry<'_>,
) -> Result<(), CacheError> {
    let PackEntry { path, kind, meta } = entry;
    let (meta, mtime) = meta_of(meta);
    let mtime = list.and_then(|list| list.get(&path)).map_or(mtime, |entry| entry.mtime);
    match kind {
        EntryKind::Dir => writer.dir(&path, &meta, mtime),
        EntryKind::File { mut content, .. } => {
            writer.file(&path, &meta, mtime, Content::Reader(&mut content))
        }
        EntryKind::Symlink { target } => writer.symlink(&path, &target, &meta, mtime),
        EntryKind::Hardlink { target } => writer.hardlink(&path, &target),
        EntryKind::CharDevice { major, minor } => {
            writer.special(&path, &Node::CharDevice { major, minor }, &meta, mtime)
        }
        EntryKind::BlockDevice { major, minor } => {
            writer.special(&path, &Node::BlockDevice { major, minor }, &meta, mtime)
        }
        EntryKind::Fifo => writer.special(&path, &Node::Fifo, &meta, mtime),
        EntryKind::Whiteout => writer.whiteout(&path),
        EntryKind::OpaqueMarker => writer.opaque(&path),
    }
}

/// Unpacks an archive at the destination of an ADD.
pub(super) fn unpack_archive(
    file: File,
    name: &str,
    copy: &CopyOp,
    target: &mut Target<'_>,
) -> Result<(), EngineError> {
    let failed = |error: LayerError| archive_error(name, &error);
    let mut unpack = Unpack::new(copy, target)?;
    let mut archive =
        entries(BufReader::new(file), Purpose::Archive, Limits::default()).map_err(failed)?;
    while let Some(entry) = archive.next_entry().map_err(failed)? {
        let PackEntry { path, kind, meta } = entry;
        let (meta, mtime) = meta_of(meta);
        match kind {
            EntryKind::Dir => unpack.dir(&path, &meta, mtime)?,
            EntryKind::File { mut content, .. } => {
                unpack.file(&path, &meta, mtime, Content::Reader(&mut content))?;
            }
            EntryKind::Symlink { target } => unpack.symlink(&path, &target, &meta, mtime)?,
            EntryKind::Hardlink { target } => unpack.hardlink(&path, &target)?,
            EntryKind::CharDevice { major, minor } => {
                unpack.special(&path, &Node::CharDevice { major, minor }, &meta, mtime)?;
            }
            EntryKind::BlockDevice { major, minor } => {
                unpack.special(&path, &Node::BlockDevice { major, minor }, &meta, mtime)?;
            }
            EntryKind::Fifo => unpack.special(&path, &Node::Fifo, &meta, mtime)?,
            // Only layers have these.
            EntryKind::Whiteout | EntryKind::OpaqueMarker => {}
        }
    }
    archive.finish().map_err(failed)?;
    Ok(())
}

fn meta_of(meta: EntryMeta) -> (Meta, Mtime) {
    let EntryMeta { mode, uid, gid, mtime_seconds, xattrs } = meta;
    (Meta { mode, uid, gid, xattrs }, Mtime { secs: mtime_seconds, nanos: 0 })
}

fn archive_error(archive: &str, error: &LayerError) -> EngineError {
    EngineError::Archive { archive: archive.to_owned(), reason: crate::error::chain(error) }
}
