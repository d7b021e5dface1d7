//! Layers that are known and not here: fetched when something reads them, once, and checked.
//!
//! A layer has places from which it can be had. The blob is compared with its digest, the archive in it with its
//! diff id, and what it unpacks to with the layer's own digest; a place where any of it differs is not asked
//! again. When no place is left the layer is lost: whoever needs it fails with
//! [`EngineError::LostLayer`], and the build begins again without that layer, which then is made anew.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use kiln_cache::tree::Manifest;
use kiln_cache::{LayerRef, PortableLayer, StoredBlob};
use kiln_image::Descriptor;
use kiln_ir::Digest;
use kiln_registry::RegistryError;
use kiln_solver::{Cancel, Report, Unit};

use super::MAX_TREE_BYTES;
use crate::error::chain;
use crate::origin::{Origin, image_error};
use crate::runner::unpack_layer;
use crate::turns::Turns;
use crate::{Engine, EngineError};

/// How many layers are fetched at the same time for one step.
const FETCHES: usize = 4;

/// The last moment that a layer can be said to be from: images write years in four digits.
const LATEST_MS: i64 = 253_402_300_799_000;

/// A layer's blob somewhere else.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Where; nothing for a layer of a base image as long as nobody knows where that is.
    pub(super) origin: Option<Origin>,
    /// As what.
    pub(super) layer: PortableLayer,
    /// Where the layer's manifest is.
    pub(super) tree_origin: Origin,
}

/// The layers that can be fetched.
pub(super) struct Lazy<'e> {
    engine: &'e Engine,
    places: Mutex<BTreeMap<Digest, Vec<Place>>>,
    fetching: Turns<Digest>,
}

impl<'e> Lazy<'e> {
    pub(super) fn new(engine: &'e Engine) -> Self {
        Self { engine, places: Mutex::default(), fetching: Turns::default() }
    }

    /// Adds a place to those that are known.
    pub(super) fn add(&self, place: Place) {
        self.places().entry(place.layer.digest).or_default().push(place);
    }

    /// Says where the layers of a base image are.
    pub(super) fn locate(&self, layers: &[LayerRef], origin: &Origin) {
        let mut places = self.places();
        for layer in layers.iter().filter(|layer| layer.blob.is_some()) {
            for place in places.get_mut(&layer.digest).into_iter().flatten() {
                place.origin.get_or_insert_with(|| origin.clone());
            }
        }
    }

    /// Whether a layer can be fetched.
    pub(super) fn knows(&self, layer: &Digest) -> bool {
        let places = self.places();
        places.get(layer).is_some_and(|places| places.iter().any(|place| place.origin.is_some()))
    }

    /// The places of a layer.
    pub(super) fn places_of(&self, layer: &Digest) -> Vec<Place> {
        let mut places = self.places().get(layer).cloned().unwrap_or_default();
        places.retain(|place| place.origin.is_some());
        places
    }

    /// Whether all of a layer is here: of a layer of a base image the blob, too, which images use as it is.
    pub(super) fn is_here(&self, layer: &LayerRef) -> Result<bool, EngineError> {
        let blob = layer.blob.as_ref().map(|blob| self.engine.store.has_blob(&blob.digest));
        Ok(blob.transpose()?.unwrap_or(true) && self.engine.layers.contains(&layer.digest)?)
    }

    /// Fetches the layers that are not here, several at a time.
    pub(super) fn bring(
        &self,
        layers: &[LayerRef],
        report: Option<&dyn Report>,
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        let missing = self.missing(layers)?;
        if missing.is_empty() {
            return Ok(());
        }
        let size = |layer: &LayerRef| {
            let places = self.places_of(&layer.digest);
            places.first()?.layer.blob.as_ref().map(|blob| blob.size_bytes)
        };
        let total: u64 = missing.iter().filter_map(size).sum();
        let done = AtomicU64::new(0);
        let progress = |more: u64| {
            let done = done.fetch_add(more, Ordering::Relaxed) + more;
            if let Some(report) = report {
                report.progress(done, Some(total), Unit::Bytes);
            }
        };
        self.each(&missing, &|layer| self.bring_one(layer, &progress, cancel))
    }

    /// Makes the lists of files of layers known, which costs less than to fetch the files.
    pub(super) fn bring_lists(
        &self,
        layers: &[LayerRef],
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        let missing = self.missing(layers)?;
        self.each(&missing, &|layer| {
            if self.engine.layers.manifest(&layer.digest).is_ok() {
                return Ok(());
            }
            for place in self.places_of(&layer.digest) {
                match self.list(&place) {
                    Ok(Some(_)) => return Ok(()),
                    Ok(None) => {}
                    Err(error) => self.give_up(&layer.digest, &place, &error),
                }
            }
            self.bring_one(layer, &|_| {}, cancel)
        })
    }

    fn missing(&self, layers: &[LayerRef]) -> Result<Vec<LayerRef>, EngineError> {
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for layer in layers {
            if seen.insert(layer.digest) && !self.is_here(layer)? {
                missing.push(layer.clone());
            }
        }
        Ok(missing)
    }

    /// Does something for each layer, on several threads; the first failure counts.
    fn each(
        &self,
        layers: &[LayerRef],
        act: &(dyn Fn(&LayerRef) -> Result<(), EngineError> + Sync),
    ) -> Result<(), EngineError> {
        if let [only] = layers {
            return act(only);
        }
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..FETCHES.min(layers.len()) {
                scope.spawn(|| {
                    while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = act(layer) {
                            next.store(layers.len(), Ordering::Relaxed);
                            enter(&failed).get_or_insert(error);
                        }
                    }
                });
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Fetches one layer from the first place that has it.
    fn bring_one(
        &self,
        layer: &LayerRef,
        progress: &dyn Fn(u64),
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        self.fetching.take(layer.digest, || self.fetch_from_any(layer, progress, cancel))
    }

    fn fetch_from_any(
        &self,
        layer: &LayerRef,
        progress: &dyn Fn(u64),
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        if self.is_here(layer)? {
            return Ok(());
        }
        let mut reason = "nobody has it any more".to_owned();
        for place in self.places_of(&layer.digest) {
            if cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            match self.fetch(&place, progress, cancel) {
                Ok(()) => return Ok(()),
                Err(EngineError::Cancelled) => return Err(EngineError::Cancelled),
                Err(error) if error.is_disk_full() => return Err(error),
                Err(error) => {
                    reason = chain(&error);
                    self.give_up(&layer.digest, &place, &error);
                }
            }
        }
        self.places().remove(&layer.digest);
        Err(EngineError::LostLayer { layer: layer.digest.short(), reason })
    }

    fn fetch(
        &self,
        place: &Place,
        progress: &dyn Fn(u64),
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        let Place { origin: Some(origin), layer, .. } = place else { return Ok(()) };
        let PortableLayer { digest, made_ms, blob: Some(blob), form, .. } = layer else {
            return Ok(());
        };
        let list = self.list(place)?;
        let id = blob.digest.parse().map_err(image_error(&blob.digest))?;
        let descriptor = Descriptor::new(&blob.media_type, id, blob.size_bytes);
        let before = AtomicU64::new(0);
        self.engine.fetch_blob(origin, &descriptor, &|bytes| {
            let known = before.swap(bytes, Ordering::Relaxed);
            progress(bytes.saturating_sub(known));
        })?;
        let found = unpack_layer(self.engine, blob, list.as_deref(), cancel)?;
        if found != *digest {
            return Err(EngineError::Archive {
                archive: blob.digest.clone(),
                reason: "it holds other files than the cache says".to_owned(),
            });
        }
        if let Some(made_ms) = made_ms {
            let made_ms = (*made_ms).clamp(0, LATEST_MS);
            let since = Duration::from_millis(made_ms.cast_unsigned());
            self.engine.layers.set_made_at(digest, UNIX_EPOCH + since)?;
        }
        if let Some(form) = form {
            self.engine.store.put_packed(digest, form, blob)?;
        }
        Ok(self.engine.store.put_unpacked(&blob.diff_id, digest)?)
    }

    /// The list of a layer's files, checked; nothing where the place has none.
    fn list(&self, place: &Place) -> Result<Option<Arc<Manifest>>, EngineError> {
        let Some(tree) = &place.layer.tree else { return Ok(None) };
        let bytes = self.engine.small_blob(&place.tree_origin, tree)?;
        let bytes = unzip(&tree.digest, &bytes)?;
        Ok(Some(self.engine.layers.adopt_manifest(&place.layer.digest, &bytes)?))
    }

    /// Asks a place no more: for this layer, or for none when nobody is there.
    fn give_up(&self, layer: &Digest, place: &Place, error: &EngineError) {
        tracing::warn!(layer = layer.short(), reason = chain(error), "a layer cannot be had");
        let is_down = matches!(
            error,
            EngineError::Registry(
                RegistryError::Unreachable { .. } | RegistryError::Unauthorised { .. }
            )
        );
        let mut places = self.places();
        if is_down {
            let is_other = |other: &Place| other.origin != place.origin;
            places.values_mut().for_each(|known| known.retain(is_other));
        } else if let Some(known) = places.get_mut(layer) {
            let blob = |place: &Place| place.layer.blob.as_ref().map(|blob| blob.digest.clone());
            let is_other =
                |other: &Place| other.origin != place.origin || blob(other) != blob(place);
            known.retain(is_other);
        }
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<Digest, Vec<Place>>> {
        enter(&self.places)
    }
}

/// The bytes of a small blob.
pub(super) fn unzip(digest: &str, bytes: &[u8]) -> Result<Vec<u8>, EngineError> {
    let failed = |reason: String| EngineError::Archive { archive: digest.to_owned(), reason };
    let mut plain = Vec::new();
    let decoder = zstd::Decoder::new(bytes).map_err(|error| failed(error.to_string()))?;
    let read = decoder.take(MAX_TREE_BYTES + 1).read_to_end(&mut plain);
    let read = read.map_err(|error| failed(error.to_string()))?;
    if read as u64 > MAX_TREE_BYTES {
        return Err(failed(format!("it holds more than {MAX_TREE_BYTES} bytes")));
    }
    Ok(plain)
}

impl Engine {
    /// A blob that is small and not worth keeping, checked.
    pub(super) fn small_blob(
        &self,
        origin: &Origin,
        blob: &StoredBlob,
    ) -> Result<Vec<u8>, EngineError> {
        super::shelf::read_small(self, origin, blob)
    }
}

fn enter<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
