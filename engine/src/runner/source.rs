//! FROM: an image's layers, fetched side by side and unpacked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_cache::{BlobRef, LayerRef};
use kiln_image::{Descriptor, MAX_DOCUMENT_BYTES, OciDigest, parse_config, parse_manifest};
use kiln_ir::ImageSource;
use kiln_solver::{Cancel, Report, Unit};

use super::{Runner, unpack_layer};
use crate::origin::{Origin, image_error};
use crate::{Engine, EngineError};

/// How many layers are fetched at the same time.
const FETCHES: usize = 3;

impl Runner<'_> {
    /// The layers of an image, lowest first.
    pub(super) fn fetch_image(
        &self,
        image: &ImageSource,
        report: &dyn Report,
        cancel: &Cancel,
    ) -> Result<Vec<LayerRef>, EngineError> {
        let engine = self.engine;
        let origin = Origin::parse(&image.locator)?;
        let bytes = engine.store.read_blob(&image.manifest, MAX_DOCUMENT_BYTES)?;
        let manifest = parse_manifest(&bytes).map_err(image_error(&image.reference))?;
        let config =
            engine.store.read_blob(&manifest.config.digest.to_string(), MAX_DOCUMENT_BYTES)?;
        let config = parse_config(&config).map_err(image_error(&image.reference))?;
        let wanted: Vec<_> = manifest.layers.into_iter().zip(config.rootfs.diff_ids).collect();
        let total = wanted.iter().map(|(layer, _)| layer.size_bytes).sum();
        let fetch =
            Fetch { engine, origin: &origin, report, cancel, total, done: AtomicU64::new(0) };
        fetch.all(&wanted)
    }
}

/// Layers being fetched.
struct Fetch<'a> {
    engine: &'a Engine,
    origin: &'a Origin,
    report: &'a dyn Report,
    cancel: &'a Cancel,
    total: u64,
    done: AtomicU64,
}

impl Fetch<'_> {
    fn all(&self, wanted: &[(Descriptor, OciDigest)]) -> Result<Vec<LayerRef>, EngineError> {
        let results: Vec<_> = wanted.iter().map(|_| Mutex::new(None)).collect();
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..FETCHES.min(wanted.len()) {
                scope.spawn(|| {
                    while let Some((index, (layer, diff_id))) = take(&next, wanted) {
                        let result = self.one(layer, diff_id);
                        let failed = result.is_err();
                        *results[index].lock().unwrap_or_else(|e| e.into_inner()) = Some(result);
                        if failed {
                            // The others finish what they are at; nothing new is begun.
                            next.store(wanted.len() as u64, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let results: Vec<_> = results
            .into_iter()
            .filter_map(|slot| slot.into_inner().unwrap_or_else(|e| e.into_inner()))
            .collect();
        // Fewer results than layers only when one of them is an error.
        results.into_iter().collect()
    }

    fn one(&self, layer: &Descriptor, diff_id: &OciDigest) -> Result<LayerRef, EngineError> {
        let blob = BlobRef {
            digest: layer.digest.to_string(),
            size_bytes: layer.size_bytes,
            media_type: layer.media_type.clone(),
            diff_id: diff_id.to_string(),
        };
        if let Some(digest) = self.engine.store.unpacked(&blob.diff_id)?
            && self.engine.layers.contains(&digest)?
            && self.engine.store.has_blob(&blob.digest)?
        {
            self.progress(layer.size_bytes);
            return Ok(LayerRef { digest, blob: Some(blob) });
        }
        if self.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let before = AtomicU64::new(0);
        self.engine.fetch_blob(self.origin, layer, &|bytes| {
            let known = before.swap(bytes, Ordering::Relaxed);
            self.progress(bytes.saturating_sub(known));
        })?;
        self.progress(layer.size_bytes.saturating_sub(before.into_inner()));
        let digest = unpack_layer(self.engine, &blob, None, self.cancel)?;
        self.engine.store.put_unpacked(&blob.diff_id, &digest)?;
        Ok(LayerRef { digest, blob: Some(blob) })
    }

    fn progress(&self, more: u64) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        self.report.progress(done, Some(self.total), Unit::Bytes);
    }
}

fn take<'w, T>(next: &AtomicU64, wanted: &'w [T]) -> Option<(usize, &'w T)> {
    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
    Some((index, wanted.get(index)?))
}
