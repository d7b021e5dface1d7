//! Caches that travel: records and layers of other machines, and this one's for others.
//!
//! What is imported is read as one document before the build; a layer that it tells of is fetched when
//! something reads it, and only then ([`lazy`]). What is exported is packed and sent beside the build
//! ([`send`]), and named when the build has ended well ([`export`]). A cache's place is an OCI manifest whose
//! config is the document ([`kiln_cache::Portable`]); inline, the document is a field of an image's own config.
//!
//! Everything fetched is compared with its digest, a layer's content too. What does not hold is as if it were
//! not there: the step that it came from runs. Without imports and exports nothing here does anything.

mod export;
mod import;
mod inline;
mod lazy;
mod mounts;
mod records;
mod send;
mod shelf;
mod tidy;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kiln_cache::{CacheKey, LayerRef, Portable, PortableMount, Record};
use kiln_image::ImageRef;
use kiln_image::layer::PackOptions;
use kiln_ir::{Digest, FileAction, Graph, Op, OpId, Vertex};
use kiln_solver::{Cancel, Report};

pub(crate) use import::Opening;
pub(crate) use inline::{put_inline, strip_inline};
pub(crate) use records::SharedRecords;

use self::lazy::Lazy;
use self::send::Lane;
use self::tidy::Stay;
use crate::origin::Origin;
use crate::runner::Value;
use crate::{Engine, EngineError};

/// The config of a cache's manifest.
const CONFIG_TYPE: &str = "application/vnd.kiln.cache.config.v1+json";
/// A layer's manifest, compressed with zstd.
const TREE_TYPE: &str = "application/vnd.kiln.cache.tree.v1+zstd";
/// The bytes of many files, compressed with zstd.
const PACK_TYPE: &str = "application/vnd.kiln.cache.pack.v1+zstd";
/// Which files these are, compressed with zstd.
const INDEX_TYPE: &str = "application/vnd.kiln.cache.pack.index.v1+zstd";
/// The most that a layer's manifest takes when it is unpacked.
const MAX_TREE_BYTES: u64 = 512 << 20;

/// Which caches a build reads and writes besides the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheTransfers {
    /// Where results of other machines are looked for, the first first.
    pub from: Vec<CachePlace>,
    /// Where this build's results go.
    pub to: Vec<CacheTarget>,
}

impl CacheTransfers {
    fn is_empty(&self) -> bool {
        self.from.is_empty() && self.to.is_empty()
    }
}

/// Where a cache is kept outside of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A name in a registry: a cache of its own, or an image with a cache inside.
    Registry(ImageRef),
    /// A tag, or a digest, of an OCI layout's directory.
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The tag or digest.
        tag: String,
    },
}

impl CachePlace {
    /// The directory, of a place that is one.
    pub(crate) fn dir(&self) -> Option<&Path> {
        match self {
            Self::Registry(_) => None,
            Self::Directory { dir, .. } => Some(dir),
        }
    }
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(name) => name.fmt(f),
            Self::Directory { dir, .. } => dir.display().fmt(f),
        }
    }
}

/// A cache to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTarget {
    /// Where to; nothing for the image itself.
    pub place: Option<CachePlace>,
    /// How much of the build.
    pub extent: CacheExtent,
    /// How layers are packed that are not there yet.
    pub packing: PackOptions,
    /// What becomes of the build when the cache cannot be written.
    pub on_failure: OnFailure,
    /// Which cache mounts go along.
    pub mounts: MountChoice,
    /// The most bytes of files that a cache mount may have that goes along.
    pub mount_max_bytes: u64,
}

/// Which cache mounts go along with a cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum MountChoice {
    /// None.
    #[default]
    None,
    /// All that the build's steps name.
    All,
    /// Those with these ids.
    Ids(Vec<String>),
}

/// What a cache mount may have that goes along, where nobody says.
pub const DEFAULT_MOUNT_MAX_BYTES: u64 = 1 << 30;

/// How much of a build a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheExtent {
    /// The steps whose layers are in the result.
    #[default]
    Result,
    /// Every step.
    Everything,
}

/// What becomes of a build whose cache cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It ends well, with a warning.
    #[default]
    Warn,
    /// It fails.
    Fail,
}

/// The state of one build's imports and exports.
pub(crate) struct Transfer<'e> {
    engine: &'e Engine,
    cancel: Cancel,
    imports: Vec<Portable>,
    /// For each key that was imported its document and its place there.
    known: BTreeMap<CacheKey, (usize, usize)>,
    selections: BTreeMap<(Digest, Digest), Digest>,
    lazy: Lazy<'e>,
    lanes: Vec<Lane<'e>>,
    /// The directories that caches are imported from.
    stays: Vec<Stay>,
    wants_inline: bool,
    /// The vertices whose layers are in the result, by what they do.
    in_result: HashSet<(Op, Vec<OpId>)>,
    used: Mutex<Used>,
    /// The ids of the cache mounts that the build's steps name.
    mount_ids: BTreeSet<String>,
    /// Imported cache mounts, each with the document that tells of it.
    mounts: BTreeMap<String, (PortableMount, Origin)>,
    /// What was made of those: layers to fill the mounts from, nothing where that failed.
    filled: Mutex<BTreeMap<String, Option<Digest>>>,
}

/// What the build took or made.
#[derive(Default)]
struct Used {
    records: BTreeMap<CacheKey, Record>,
    /// Those of the records that another machine made.
    foreign: BTreeSet<CacheKey>,
    selections: BTreeMap<(Digest, Digest), Digest>,
}

impl Transfer<'_> {
    /// Fetches what an op reads and is not here: files of what it runs in, binds or copies from, and the lists
    /// of files of what it copies to.
    pub(crate) fn bring_inputs(
        &self,
        vertex: &Vertex,
        inputs: &[Value],
        report: &dyn Report,
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        let layers = |input: &Value| match input {
            Value::Snapshot(snapshot) => snapshot.layers().to_vec(),
            Value::Context(_) => Vec::new(),
        };
        match &vertex.op {
            Op::Exec(exec) => {
                self.bring_mounts(exec, report);
                let all: Vec<_> = inputs.iter().flat_map(layers).collect();
                self.lazy.bring(&all, Some(report), cancel)
            }
            Op::File(file) => {
                self.lazy.bring_lists(&layers(&inputs[0]), cancel)?;
                let read = file.actions.iter().flat_map(|action| {
                    let (copied, owner) = match action {
                        FileAction::Copy(copy) => (Some(&inputs[copy.input]), &copy.owner),
                        FileAction::Mkdir { owner, .. } | FileAction::Mkfile { owner, .. } => {
                            (None, owner)
                        }
                    };
                    // An owner's name is looked up in the filesystem that is changed.
                    copied.into_iter().chain(owner.is_some().then(|| &inputs[0]))
                });
                let all: Vec<_> = read.flat_map(layers).collect();
                self.lazy.bring(&all, Some(report), cancel)
            }
            Op::Source(_) | Op::Merge | Op::Diff => Ok(()),
        }
    }

    /// Fetches the lists of files of layers that are not here.
    pub(crate) fn bring_lists(&self, layers: &[LayerRef]) -> Result<(), EngineError> {
        self.lazy.bring_lists(layers, &self.cancel)
    }

    /// Fetches layers that are not here.
    pub(crate) fn bring(
        &self,
        layers: &[LayerRef],
        report: &dyn Report,
    ) -> Result<(), EngineError> {
        self.lazy.bring(layers, Some(report), &self.cancel)
    }

    /// Whether a record's layers are here or can be fetched. `source` is where a base image is, when the record
    /// is of one.
    pub(crate) fn can_have(
        &self,
        record: &Record,
        source: Option<&str>,
    ) -> Result<bool, EngineError> {
        if let Some(locator) = source {
            self.lazy.locate(&record.layers, &Origin::parse(locator)?);
        }
        for layer in &record.layers {
            if !self.lazy.is_here(layer)? && !self.lazy.knows(&layer.digest) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether anything was imported that a lookup could find.
    pub(crate) fn knows_records(&self) -> bool {
        !self.known.is_empty()
    }

    /// What a selection came to on another machine.
    pub(crate) fn selection(&self, tree: &Digest, selecting: &Digest) -> Option<Digest> {
        self.selections.get(&(*tree, *selecting)).copied()
    }

    /// Notes what a selection came to.
    pub(crate) fn note_selection(&self, tree: Digest, selecting: Digest, digest: Digest) {
        if !self.lanes.is_empty() {
            self.used().selections.insert((tree, selecting), digest);
        }
    }

    /// Takes note of the layers of a vertex that has ended: those that belong into a cache are on their way from
    /// now on.
    pub(crate) fn offer(&self, vertex: &Vertex, layers: &[LayerRef]) {
        let in_result = || self.in_result.contains(&(vertex.op.clone(), vertex.inputs.clone()));
        for lane in &self.lanes {
            if lane.extent() == CacheExtent::Everything || in_result() {
                lane.offer(layers);
            }
        }
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for Transfer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").field("imports", &self.imports.len()).finish_non_exhaustive()
    }
}

/// The vertices whose layers lie in the targets' snapshots.
fn in_result(graph: &Graph, targets: &[OpId]) -> HashSet<(Op, Vec<OpId>)> {
    let mut found = HashSet::new();
    let mut ahead = targets.to_vec();
    while let Some(id) = ahead.pop() {
        let vertex = graph.vertex(id);
        if !found.insert((vertex.op.clone(), vertex.inputs.clone())) {
            continue;
        }
        match vertex.op {
            Op::Exec(_) | Op::File(_) => ahead.extend(vertex.inputs.first()),
            Op::Merge | Op::Diff => ahead.extend(&vertex.inputs),
            Op::Source(_) => {}
        }
    }
    found
}
