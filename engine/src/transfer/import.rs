//! Reading caches before a build.
//!
//! Of each place one document is read, and nothing else until something is needed. What cannot be read is told
//! and passed over: a cache is never a reason for a build to fail.

use std::collections::BTreeMap;
use std::sync::Mutex;

use kiln_cache::{MAX_PORTABLE_BYTES, Portable, StoredBlob};
use kiln_image::{Document, Manifest, Platform};
use kiln_ir::{Graph, OpId};
use kiln_solver::{Cancel, Narrator, Report};

use super::inline::Inside;
use super::lazy::{Lazy, Place};
use super::mounts::mount_ids;
use super::send::{self, Lane};
use super::shelf::Shelf;
use super::tidy::Stay;
use super::{CONFIG_TYPE, CachePlace, Transfer, Used, in_result, inline};
use crate::error::chain;
use crate::origin::Origin;
use crate::{BuildRequest, Engine, EngineError};

/// What a BuildKit cache calls itself.
const BUILDKIT_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// Why a cache of BuildKit's is not used.
const BUILDKITS: &str = "it is one of BuildKit's, which Kiln does not read";
/// Why an image is not used.
const WITHOUT: &str = "it is an image without one; `--cache-to type=inline` puts one in";

/// A document and where its blobs are.
pub(super) struct Found {
    pub(super) origin: Origin,
    pub(super) document: Portable,
    pub(super) base_blobs: BaseBlobs,
}

/// Where the blobs of base images are that a document tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BaseBlobs {
    /// Where those images are.
    Elsewhere,
    /// In the image that the document is inside of.
    Here,
}

/// The build that caches are opened for.
pub(crate) struct Opening<'a> {
    /// What was asked for.
    pub(crate) request: &'a BuildRequest,
    /// All of its vertices.
    pub(crate) graph: &'a Graph,
    /// Those whose results are wanted.
    pub(crate) targets: &'a [OpId],
    /// Tells the one time that the image will have, which may take a while.
    pub(crate) epoch: &'a dyn Fn() -> Option<i64>,
}

impl Engine {
    /// Reads the caches that a build is to use and opens those that it is to write; nothing where there are
    /// none.
    pub(crate) fn open_transfer(
        &self,
        opening: &Opening<'_>,
        cancel: &Cancel,
        narrator: &mut Narrator<'_>,
    ) -> Result<Option<Transfer<'_>>, EngineError> {
        let Opening { request, graph, targets, epoch } = *opening;
        if request.cache.is_empty() {
            return Ok(None);
        }
        let platforms = request.platforms();
        let platforms = &platforms;
        let works = request.cache.from.iter().map(|place| {
            let work = move |report: &dyn Report| -> Result<Vec<Found>, EngineError> {
                Ok(self.import(place, platforms).unwrap_or_else(|error| {
                    let reason = chain(&error);
                    report.warning(&format!("the cache at {place} is not used: {reason}"));
                    Vec::new()
                }))
            };
            (format!("importing cache manifest from {place}"), work)
        });
        let dirs = request.cache.from.iter().filter_map(CachePlace::dir);
        let stays = dirs.map(Stay::begin).collect();
        let found = narrator.perform_all(request.conduct.jobs, works.collect());
        let mut transfer = Transfer {
            engine: self,
            cancel: cancel.clone(),
            imports: Vec::new(),
            known: BTreeMap::new(),
            selections: BTreeMap::new(),
            lazy: Lazy::new(self),
            lanes: Vec::new(),
            stays,
            wants_inline: request.cache.to.iter().any(|target| target.place.is_none()),
            in_result: in_result(graph, targets),
            used: Mutex::new(Used::default()),
            mount_ids: mount_ids(graph),
            mounts: BTreeMap::new(),
            filled: Mutex::default(),
        };
        for found in found {
            found?.into_iter().for_each(|found| transfer.learn(found));
        }
        let mut pool = None;
        for target in &request.cache.to {
            if let Some(place) = &target.place {
                let pool = match &pool {
                    Some(pool) => pool,
                    None => pool.insert(send::pool()?),
                };
                let shelf = Shelf::open(self, place)?;
                transfer.lanes.push(Lane::new(self, target, shelf, epoch(), pool));
            }
        }
        Ok(Some(transfer))
    }

    /// The documents at a place; several of an image for several platforms.
    fn import(
        &self,
        place: &CachePlace,
        platforms: &[Platform],
    ) -> Result<Vec<Found>, EngineError> {
        let shelf = Shelf::open(self, place)?;
        let none = |reason: &str| EngineError::NoCache {
            place: place.to_string(),
            reason: reason.to_owned(),
        };
        let manifests = match shelf.document()?.ok_or_else(|| none("there is none"))? {
            Document::Manifest(manifest) => vec![manifest],
            Document::Index(index) => {
                let is_buildkit = |entry: &&kiln_image::Descriptor| {
                    entry.media_type == BUILDKIT_CONFIG || entry.media_type.contains(".layer.")
                };
                if index.manifests.iter().any(|entry| is_buildkit(&entry)) {
                    return Err(none(BUILDKITS));
                }
                let mut chosen = Vec::new();
                for platform in platforms {
                    let Ok(entry) = index.select(platform) else { continue };
                    if let Document::Manifest(manifest) = shelf.listed(entry)? {
                        chosen.push(manifest);
                    }
                }
                chosen
            }
        };
        let (mut found, mut reason) = (Vec::new(), WITHOUT);
        for manifest in manifests {
            if manifest.config.media_type == BUILDKIT_CONFIG {
                return Err(none(BUILDKITS));
            }
            let origin = shelf.origin();
            let config = self.small_blob(&origin, &blob_of(&manifest))?;
            if manifest.config.media_type == CONFIG_TYPE {
                let document = Portable::parse(&config)?;
                found.push(Found { origin, document, base_blobs: BaseBlobs::Elsewhere });
                continue;
            }
            match inline::read(&manifest, &config)? {
                Inside::Own(document) => {
                    found.push(Found { origin, document, base_blobs: BaseBlobs::Here });
                }
                Inside::BuildKits => reason = BUILDKITS,
                Inside::Nothing => {}
            }
        }
        if found.is_empty() { Err(none(reason)) } else { Ok(found) }
    }
}

fn blob_of(manifest: &Manifest) -> StoredBlob {
    let config = &manifest.config;
    StoredBlob { digest: config.digest.to_string(), size_bytes: config.size_bytes }
}

impl Transfer<'_> {
    /// Takes in what a document tells. What an earlier one told of the same counts.
    fn learn(&mut self, found: Found) {
        let Found { origin, document, base_blobs } = found;
        for layer in &document.layers {
            let is_here = layer.form.is_some() || base_blobs == BaseBlobs::Here;
            self.lazy.add(Place {
                origin: is_here.then(|| origin.clone()).filter(|_| layer.blob.is_some()),
                layer: layer.clone(),
                tree_origin: origin.clone(),
            });
        }
        let import = self.imports.len();
        for (index, (key, _)) in document.records.iter().enumerate() {
            self.known.entry(*key).or_insert((import, index));
        }
        for known in &document.selections {
            self.selections.entry((known.snapshot, known.selection)).or_insert(known.digest);
        }
        for mount in &document.mounts {
            let told = || (mount.clone(), origin.clone());
            self.mounts.entry(mount.id.clone()).or_insert_with(told);
        }
        self.imports.push(document);
    }
}

impl Shelf<'_> {
    /// The document that is there already; nothing where there is another thing or none.
    pub(super) fn last(&self) -> Result<Option<Portable>, EngineError> {
        let Some(Document::Manifest(manifest)) = self.document()? else { return Ok(None) };
        let is_small = manifest.config.size_bytes <= MAX_PORTABLE_BYTES as u64;
        if manifest.config.media_type != CONFIG_TYPE || !is_small {
            return Ok(None);
        }
        let config = self.read(&blob_of(&manifest))?;
        Ok(Some(Portable::parse(&config)?))
    }
}
