//! A cache inside an image: a field of its config that no other program looks at.
//!
//! The field names the image's own layers. On its way an image may be packed anew, so a reader finds the blobs
//! by the digests of the plain archives, which stay the same. The times of files are those of the archives.

use kiln_cache::{BlobRef, CacheKey, Portable, PortableLayer, PortableRecord, Record, Snapshot};
use kiln_image::{ImageConfig, Manifest, parse_config};
use serde_json::Value;

use super::export::indexed;
use super::{CacheExtent, Transfer};
use crate::EngineError;
use crate::export::Form;
use crate::origin::image_error;

/// The field of an image's config.
const FIELD: &str = "kiln.cache.v1";
/// The field of a cache of BuildKit's.
const BUILDKIT_FIELD: &str = "moby.buildkit.cache.v0";
/// How a layer is packed that somebody packed anew: in no way that Kiln would look for.
const FOREIGN_FORM: &str = "foreign";

/// Takes a cache out of a config: one that a base image has is not that of the images made from it.
pub(crate) fn strip_inline(config: &mut ImageConfig) {
    config.extra.remove(FIELD);
}

/// Puts a cache into a config.
pub(crate) fn put_inline(config: &mut ImageConfig, document: &Portable) {
    let value: Value = serde_json::from_slice(&document.to_bytes())
        .expect("a document that was just written is JSON");
    config.extra.insert(FIELD.to_owned(), value);
}

/// What of a cache an image has in its config.
pub(super) enum Inside {
    /// None.
    Nothing,
    /// One of BuildKit's.
    BuildKits,
    /// One of Kiln's.
    Own(Portable),
}

/// The cache that an image has in its config, if it has one.
pub(super) fn read(manifest: &Manifest, config: &[u8]) -> Result<Inside, EngineError> {
    let name = manifest.config.digest.to_string();
    let mut config = parse_config(config).map_err(image_error(&name))?;
    let Some(field) = config.extra.remove(FIELD) else {
        let is_buildkits = config.extra.contains_key(BUILDKIT_FIELD);
        return Ok(if is_buildkits { Inside::BuildKits } else { Inside::Nothing });
    };
    let mut document = Portable::parse(field.to_string().as_bytes())?;
    for layer in &mut document.layers {
        let Some(told) = layer.blob.take() else { continue };
        let at = config.rootfs.diff_ids.iter().position(|id| id.to_string() == told.diff_id);
        let Some(found) = at.and_then(|at| manifest.layers.get(at)) else { continue };
        let digest = found.digest.to_string();
        if digest != told.digest && layer.form.is_some() {
            layer.form = Some(FOREIGN_FORM.to_owned());
        }
        layer.blob = Some(BlobRef {
            digest,
            size_bytes: found.size_bytes,
            media_type: found.media_type.clone(),
            diff_id: told.diff_id,
        });
    }
    Ok(Inside::Own(document))
}

impl Transfer<'_> {
    /// The cache for an image of these layers, each with its blob; nothing when none is wanted.
    pub(crate) fn inline_for(
        &self,
        snapshot: &Snapshot,
        blobs: &[BlobRef],
        form: &Form,
    ) -> Result<Option<Portable>, EngineError> {
        if !self.wants_inline {
            return Ok(None);
        }
        let mut layers: Vec<PortableLayer> = Vec::new();
        for (layer, blob) in snapshot.layers().iter().zip(blobs) {
            if layers.iter().any(|known| known.digest == layer.digest) {
                continue;
            }
            let is_own = layer.blob.is_none();
            layers.push(PortableLayer {
                digest: layer.digest,
                made_ms: is_own.then(|| self.engine.made_at(layer)).transpose()?,
                blob: Some(blob.clone()),
                form: is_own.then(|| form.to_string()),
                tree: None,
            });
        }
        let chosen = self.chosen(CacheExtent::Result, &[snapshot]);
        let records: Vec<(CacheKey, PortableRecord)> = indexed(&chosen, &layers);
        Ok(Some(Portable { layers, records, ..Portable::default() }))
    }

    /// The records that were used, as far as they belong to an extent.
    pub(super) fn chosen(
        &self,
        extent: CacheExtent,
        results: &[&Snapshot],
    ) -> Vec<(CacheKey, Record)> {
        let layers: std::collections::HashSet<_> =
            results.iter().flat_map(|result| result.layers()).map(|layer| layer.digest).collect();
        let belongs = |record: &Record| match extent {
            CacheExtent::Everything => true,
            CacheExtent::Result => record.layers.iter().all(|l| layers.contains(&l.digest)),
        };
        let used = self.used();
        let chosen = used.records.iter().filter(|(_, record)| belongs(record));
        chosen.map(|(key, record)| (*key, record.clone())).collect()
    }
}
