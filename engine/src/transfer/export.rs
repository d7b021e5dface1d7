//! Ending an export: what was sent gets its document and its name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kiln_cache::{
    CacheKey, LayerRef, MAX_PORTABLE_BYTES, Portable, PortableLayer, PortableMount, PortablePack,
    PortableRecord, PortableSelection, Record, Snapshot,
};
use kiln_image::{Descriptor, Manifest};
use kiln_ir::Digest;
use kiln_solver::{Narrator, Report, Stream};

use super::send::{Lane, Outcome, stored};
use super::tidy::{Stay, tidy};
use super::{CONFIG_TYPE, CachePlace, INDEX_TYPE, OnFailure, PACK_TYPE, TREE_TYPE, Transfer};
use crate::EngineError;
use crate::error::chain;
use crate::export::descriptor;
use crate::runner::Value;

/// The most blobs that the readers of a manifest take.
const MAX_BLOBS: usize = 9_900;
/// The most layers of one cache: a manifest names two blobs for each, and its readers take 10,000. What is left is
/// for cache mounts.
const MAX_LAYERS: usize = 4_000;

/// Ends the lanes' threads when the build does, however it does.
pub(crate) struct Sending<'t, 'e>(&'t Transfer<'e>);

impl Drop for Sending<'_, '_> {
    fn drop(&mut self) {
        for lane in &self.0.lanes {
            lane.close(Outcome::Failed);
        }
    }
}

impl<'e> Transfer<'e> {
    /// Starts sending. The threads of the scope end when the guard is dropped.
    pub(crate) fn start<'s>(&'s self, scope: &'s std::thread::Scope<'s, '_>) -> Sending<'s, 'e> {
        for lane in &self.lanes {
            lane.start(self, scope);
        }
        Sending(self)
    }

    /// Ends all exports of a build that ended well, each as a task of its own.
    pub(crate) fn export(
        &self,
        results: &[Value],
        narrator: &mut Narrator<'_>,
    ) -> Result<(), EngineError> {
        let results: Vec<&Snapshot> = results.iter().map(Value::snapshot).collect();
        let mut written = BTreeSet::new();
        for lane in &self.lanes {
            let (kind, place) = match &lane.target.place {
                Some(place @ CachePlace::Registry(_)) => ("registry", place.to_string()),
                Some(place @ CachePlace::Directory { .. }) => ("directory", place.to_string()),
                None => continue,
            };
            let name = format!("exporting cache to {kind} {place}");
            narrator.perform(&name, |report| match self.finish(lane, &results, report) {
                Ok(()) => {
                    written.extend(lane.target.place.as_ref().and_then(CachePlace::dir));
                    Ok(())
                }
                Err(_) if self.cancel.is_cancelled() => Err(EngineError::Cancelled),
                Err(error) if lane.target.on_failure == OnFailure::Warn => {
                    let reason = chain(&error);
                    report.warning(&format!("the cache is not exported to {place}: {reason}"));
                    Ok(())
                }
                Err(source) => Err(EngineError::CacheExport { place, source: Box::new(source) }),
            })?;
        }
        self.tidy(&written);
        Ok(())
    }

    /// Takes away what directories hold that a cache was written to and that none of theirs needs any more. Nothing
    /// is read from them from here on.
    fn tidy(&self, dirs: &BTreeSet<&Path>) {
        let own = self.lanes.iter().filter_map(|lane| lane.shelf.stay());
        self.stays.iter().chain(own).for_each(Stay::end);
        for dir in dirs {
            match tidy(dir) {
                Ok(count) => tracing::info!(dir = %dir.display(), count, "blobs taken away"),
                // They stay for the next export.
                Err(error) => tracing::warn!(%error, "the cache's directory is not tidied"),
            }
        }
    }

    fn finish(
        &self,
        lane: &Lane<'e>,
        results: &[&Snapshot],
        report: &dyn Report,
    ) -> Result<(), EngineError> {
        let mut chosen = self.chosen(lane.extent(), results);
        let left_out = limit(&mut chosen);
        if left_out > 0 {
            let told =
                format!("{left_out} records are left out: a cache holds {MAX_LAYERS} layers");
            report.warning(&told);
        }
        for (_, record) in &chosen {
            lane.offer(&record.layers);
        }
        lane.close(Outcome::Done);
        let there = lane.settle()?;
        let wanted: BTreeSet<Digest> = layers_of(&chosen).map(|layer| layer.digest).collect();
        let layers: Vec<PortableLayer> =
            there.into_values().filter(|layer| wanted.contains(&layer.digest)).collect();
        let records = indexed(&chosen, &layers);
        let row = |((snapshot, selection), digest): (&(Digest, Digest), &Digest)| {
            PortableSelection { snapshot: *snapshot, selection: *selection, digest: *digest }
        };
        let selections = self.used().selections.iter().map(row).collect();
        let mounts = self.send_mounts(lane, report)?;
        let mut document = Portable { layers, records, selections, mounts };
        if blobs(&document)?.len() > MAX_BLOBS {
            report.warning("the cache mounts are left out: they are in too many pieces");
            document.mounts.clear();
        }
        let bytes = document.to_bytes();
        if bytes.len() > MAX_PORTABLE_BYTES {
            let what = format!("a cache of more than {MAX_PORTABLE_BYTES} bytes of records");
            return Err(EngineError::Unsupported { what });
        }
        lane.send_bytes(CONFIG_TYPE, &bytes)?;
        let config = Descriptor::of(CONFIG_TYPE, &bytes);
        let manifest = Manifest::new(config, blobs(&document)?);
        lane.shelf.publish(&manifest.to_bytes())?;
        let told = format!("{} records\n{}", document.records.len(), lane.tally.told());
        report.output(Stream::Stdout, told.as_bytes());
        Ok(())
    }
}

/// All blobs that a document's readers may want of its place, each once.
fn blobs(document: &Portable) -> Result<Vec<Descriptor>, EngineError> {
    let mut blobs: BTreeMap<String, Descriptor> = BTreeMap::new();
    let mut add = |blob: Descriptor| drop(blobs.insert(blob.digest.to_string(), blob));
    for PortableLayer { blob, form, tree, .. } in &document.layers {
        if let (Some(blob), Some(_)) = (blob, form) {
            add(descriptor(blob)?);
        }
        if let Some(tree) = tree {
            add(stored(TREE_TYPE, tree)?);
        }
    }
    for PortableMount { tree, packs, .. } in &document.mounts {
        add(stored(TREE_TYPE, tree)?);
        for PortablePack { blob, index } in packs {
            add(stored(PACK_TYPE, blob)?);
            add(stored(INDEX_TYPE, index)?);
        }
    }
    Ok(blobs.into_values().collect())
}

fn layers_of(records: &[(CacheKey, Record)]) -> impl Iterator<Item = &LayerRef> {
    records.iter().flat_map(|(_, record)| &record.layers)
}

/// Leaves out what would be too many layers; answers how many records that were.
fn limit(records: &mut Vec<(CacheKey, Record)>) -> usize {
    let before = records.len();
    let mut seen = BTreeSet::new();
    records.retain(|(_, record)| {
        let more: BTreeSet<_> = record.layers.iter().map(|layer| layer.digest).collect();
        let fits = seen.union(&more).count() <= MAX_LAYERS;
        if fits {
            seen.extend(more);
        }
        fits
    });
    before - records.len()
}

/// Records in terms of the indexes of layers. One of which a layer is missing is left out.
pub(super) fn indexed(
    records: &[(CacheKey, Record)],
    layers: &[PortableLayer],
) -> Vec<(CacheKey, PortableRecord)> {
    let places = layers.iter().enumerate().map(|(index, layer)| (layer.digest, index));
    let places: BTreeMap<Digest, usize> = places.collect();
    let of = |record: &Record| -> Option<Vec<u32>> {
        let index = |layer: &LayerRef| u32::try_from(*places.get(&layer.digest)?).ok();
        record.layers.iter().map(index).collect()
    };
    let row =
        |(key, record): &(CacheKey, Record)| Some((*key, PortableRecord::new(record, of(record)?)));
    records.iter().filter_map(row).collect()
}
