//! From a snapshot to an image: layers packed once, a config, a manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use kiln_cache::tree::{Entry, Node};
use kiln_cache::{BlobRef, CacheError, LayerRef, Snapshot};
use kiln_image::layer::{
    Compression, EntryKind, EntryMeta, PackEntry, PackError, PackOptions, pack,
};
use kiln_image::{Descriptor, HistoryEntry, ImageConfig, Manifest, OciDigest, media_type};
use rayon::prelude::*;

use crate::origin::image_error;
use crate::transfer::{Transfer, put_inline, strip_inline};
use crate::{Engine, EngineError};

/// An image whose blobs are all in the store.
#[derive(Debug, Clone)]
pub(crate) struct Assembled {
    /// The manifest.
    pub(crate) manifest: Descriptor,
    /// The manifest as it reads.
    pub(crate) document: Manifest,
    /// When the image was made, in milliseconds since 1970.
    pub(crate) created_ms: i64,
}

impl Assembled {
    /// The size of all blobs.
    pub(crate) fn size_bytes(&self) -> u64 {
        let layers: u64 = self.document.layers.iter().map(|layer| layer.size_bytes).sum();
        layers + self.document.config.size_bytes + self.manifest.size_bytes
    }
}

/// What an image is made of.
pub(crate) struct Parts<'a> {
    /// The config with the history and layers of the base.
    pub(crate) config: &'a ImageConfig,
    /// What was added to the history.
    pub(crate) history: &'a [HistoryEntry],
    /// All layers, the base's first.
    pub(crate) snapshot: &'a Snapshot,
    /// The one time that the image carries; nothing keeps real times.
    pub(crate) epoch: Option<i64>,
    /// Where the image's own cache comes from, if it is to have one.
    pub(crate) transfer: Option<&'a Transfer<'a>>,
}

/// All that decides what a layer's blob is, besides the layer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Form {
    /// The compression.
    pub(crate) packing: PackOptions,
    /// The one time of all files; nothing keeps real times.
    pub(crate) epoch: Option<i64>,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.packing.compression {
            Compression::None => "tar",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        })?;
        if let Some(level) = self.packing.level {
            write!(f, " {level}")?;
        }
        match self.epoch {
            Some(seconds) => write!(f, ", times {seconds}"),
            None => f.write_str(", real times"),
        }
    }
}

impl Engine {
    /// Packs what is not packed yet and writes the image's documents.
    ///
    /// Without an epoch the image is as old as its youngest layer, so that building again without a change
    /// gives the same image.
    pub(crate) fn assemble(&self, parts: &Parts<'_>) -> Result<Assembled, EngineError> {
        let layers = parts.snapshot.layers();
        let form = Form { epoch: parts.epoch, ..Form::default() };
        let blobs = self.packed_all(layers, &form)?;
        let times = self.times(parts)?;
        let mut config = parts.config.clone();
        config.rootfs.diff_ids = blobs.iter().map(diff_id).collect::<Result<_, _>>()?;
        add_history(&mut config, parts.history, &times)?;
        let created_ms = times.last().copied().unwrap_or(0);
        config.created = Some(rfc3339(created_ms)?);
        strip_inline(&mut config);
        if let Some(transfer) = parts.transfer
            && let Some(cache) = transfer.inline_for(parts.snapshot, &blobs, &form)?
        {
            put_inline(&mut config, &cache);
        }
        let bytes = config.to_bytes();
        self.store.put_blob(&bytes)?;
        let config = Descriptor::of(media_type::OCI_CONFIG, &bytes);
        let layers = blobs.iter().map(descriptor).collect::<Result<_, _>>()?;
        let document = Manifest::new(config, layers);
        let bytes = document.to_bytes();
        self.store.put_blob(&bytes)?;
        let manifest = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        Ok(Assembled { manifest, document, created_ms })
    }

    /// The time of each of this build's history entries that has a layer, in milliseconds since 1970, and
    /// behind them that of the image.
    fn times(&self, parts: &Parts<'_>) -> Result<Vec<i64>, EngineError> {
        let added = parts.history.iter().filter(|entry| !entry.empty_layer).count();
        if let Some(epoch) = parts.epoch {
            return Ok(vec![epoch.saturating_mul(1000); added + 1]);
        }
        let layers = parts.snapshot.layers();
        let own = &layers[layers.len().saturating_sub(added)..];
        let mut latest = base_time(parts.config);
        let mut times = Vec::with_capacity(added + 1);
        for layer in own {
            latest = latest.max(self.made_at(layer)?);
            times.push(latest);
        }
        if times.is_empty() && latest == 0 {
            // An image of nothing but its config: it is made now.
            latest = millis(SystemTime::now());
        }
        times.push(latest);
        Ok(times)
    }

    /// When a layer was made: an earlier layer of the same content stays in place of a later one.
    pub(crate) fn made_at(&self, layer: &LayerRef) -> Result<i64, EngineError> {
        let path = self.layers.path(&layer.digest).with_file_name("manifest");
        let made = path.metadata().and_then(|meta| meta.modified());
        let made = made.map_err(|source| EngineError::ReadFile { what: "layer", path, source })?;
        Ok(millis(made))
    }

    /// The blob of a layer: the one it came from, the one it was packed as before, or a new one.
    pub(crate) fn packed(&self, layer: &LayerRef, form: &Form) -> Result<BlobRef, EngineError> {
        self.packed_by(layer, form, &|pack| pack())
    }

    /// As [`Engine::packed`]; `run` calls what it is given, which is the packing, where that is to be done.
    pub(crate) fn packed_by(
        &self,
        layer: &LayerRef,
        form: &Form,
        run: &dyn Fn(&mut (dyn FnMut() + Send)),
    ) -> Result<BlobRef, EngineError> {
        if let Some(known) = self.known_blob(layer, form)? {
            return Ok(known);
        }
        let name = form.to_string();
        self.packing.take((layer.digest, name.clone()), || {
            // A cache that is sent beside the build may have packed it meanwhile.
            if let Some(known) = self.store.packed(&layer.digest, &name)? {
                return Ok(known);
            }
            let mut packed = None;
            run(&mut || packed = Some(self.pack(layer, form)));
            let blob = packed.unwrap_or(Err(EngineError::Cancelled))?;
            self.store.put_packed(&layer.digest, &name, &blob)?;
            // This image as a base is then not unpacked again.
            self.store.put_unpacked(&blob.diff_id, &layer.digest)?;
            Ok(blob)
        })
    }

    /// The blob that a layer came from or was packed as before.
    fn known_blob(&self, layer: &LayerRef, form: &Form) -> Result<Option<BlobRef>, EngineError> {
        let Some(blob) = &layer.blob else {
            return Ok(self.store.packed(&layer.digest, &form.to_string())?);
        };
        if !self.store.has_blob(&blob.digest)? {
            return Err(CacheError::MissingBlob { digest: blob.digest.clone() }.into());
        }
        Ok(Some(blob.clone()))
    }

    /// The blobs of layers, in their order. Each layer is packed by one thread, however often it is listed.
    fn packed_all(&self, layers: &[LayerRef], form: &Form) -> Result<Vec<BlobRef>, EngineError> {
        let (mut blobs, mut unpacked) = (BTreeMap::new(), Vec::new());
        for layer in layers.iter().collect::<BTreeSet<_>>() {
            match self.known_blob(layer, form)? {
                Some(blob) => drop(blobs.insert(layer, blob)),
                None => unpacked.push(layer),
            }
        }
        // Only then, since it starts the threads where nothing did before.
        if !unpacked.is_empty() {
            let packed = unpacked.into_par_iter();
            let packed = packed.map(|layer| Ok((layer, self.packed(layer, form)?)));
            blobs.extend(packed.collect::<Result<Vec<_>, EngineError>>()?);
        }
        Ok(layers.iter().filter_map(|layer| blobs.get(layer).cloned()).collect())
    }

    fn pack(&self, layer: &LayerRef, form: &Form) -> Result<BlobRef, EngineError> {
        let epoch = form.epoch;
        let manifest = self.layers.manifest(&layer.digest)?;
        let files = self.layers.files(&layer.digest)?;
        let open = |entry: &Entry| Ok(files.open(&entry.path)?);
        let entries = manifest.entries().iter().flat_map(|entry| {
            let opaque = (entry.node == Node::Dir { opaque: true })
                .then(|| Ok(pack_entry(entry, EntryKind::OpaqueMarker, epoch)));
            let kind = kind_of(entry, open);
            let packed = match kind {
                Ok(kind) => kind.map(|kind| Ok(pack_entry(entry, kind, epoch))),
                Err(error) => Some(Err(error)),
            };
            packed.into_iter().chain(opaque)
        });
        let mut writer = self.store.blob_writer()?;
        let packed = pack(entries, &mut writer, form.packing).map_err(|error| match error {
            PackError::Entry(error) => error,
            PackError::Layer(source) => EngineError::Pack { layer: layer.digest.short(), source },
        })?;
        let blob = writer.finish()?;
        Ok(BlobRef {
            digest: blob.digest,
            size_bytes: blob.size_bytes,
            media_type: packed.media_type.to_owned(),
            diff_id: packed.diff_id.to_string(),
        })
    }
}

/// What an entry is in an archive; nothing for what an archive does not hold.
pub(crate) fn kind_of<'a>(
    entry: &Entry,
    open: impl Fn(&Entry) -> Result<File, EngineError>,
) -> Result<Option<EntryKind<'a>>, EngineError> {
    Ok(Some(match &entry.node {
        Node::Dir { .. } => EntryKind::Dir,
        Node::File { size_bytes, .. } => {
            EntryKind::File { size_bytes: *size_bytes, content: Box::new(open(entry)?) }
        }
        Node::Symlink { target } => EntryKind::Symlink { target: target.clone() },
        Node::Hardlink { to } => EntryKind::Hardlink { target: to.clone() },
        Node::CharDevice { major, minor } => EntryKind::CharDevice { major: *major, minor: *minor },
        Node::BlockDevice { major, minor } => {
            EntryKind::BlockDevice { major: *major, minor: *minor }
        }
        Node::Fifo => EntryKind::Fifo,
        Node::Whiteout => EntryKind::Whiteout,
        Node::Socket => return Ok(None),
    }))
}

/// With an epoch every entry has its time: which machine checked a file out, and when, is then no part of
/// the image.
pub(crate) fn pack_entry<'a>(
    entry: &Entry,
    kind: EntryKind<'a>,
    epoch: Option<i64>,
) -> PackEntry<'a> {
    let meta = EntryMeta {
        mode: entry.meta.mode,
        uid: entry.meta.uid,
        gid: entry.meta.gid,
        mtime_seconds: epoch.unwrap_or(entry.mtime.secs),
        xattrs: entry.meta.xattrs.clone(),
    };
    PackEntry { path: entry.path.clone(), kind, meta }
}

pub(crate) fn as_path(path: &[u8]) -> &std::path::Path {
    std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path))
}

/// Appends this build's history. An entry without a layer is as old as the layer before it.
fn add_history(
    config: &mut ImageConfig,
    history: &[HistoryEntry],
    times: &[i64],
) -> Result<(), EngineError> {
    let mut with_layer = times.iter().copied();
    let mut latest = times.first().copied().unwrap_or(0);
    for entry in history {
        if !entry.empty_layer {
            latest = with_layer.next().unwrap_or(latest);
        }
        let created = Some(rfc3339(latest)?);
        config.history.push(HistoryEntry { created, ..entry.clone() });
    }
    Ok(())
}

pub(crate) fn base_time(config: &ImageConfig) -> i64 {
    let created = config.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    created.map_or(0, Timestamp::as_millisecond)
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn rfc3339(millis: i64) -> Result<String, EngineError> {
    let time = Timestamp::from_millisecond(millis)
        .map_err(|_| EngineError::Epoch { text: (millis / 1000).to_string() })?;
    Ok(time.to_string())
}

fn diff_id(blob: &BlobRef) -> Result<OciDigest, EngineError> {
    blob.diff_id.parse().map_err(image_error(&blob.diff_id))
}

pub(crate) fn descriptor(blob: &BlobRef) -> Result<Descriptor, EngineError> {
    let digest = blob.digest.parse().map_err(image_error(&blob.digest))?;
    Ok(Descriptor::new(oci_layer_type(&blob.media_type), digest, blob.size_bytes))
}

/// In an OCI manifest layers have OCI's types, also those that came from a Docker manifest; the blobs are
/// the same.
fn oci_layer_type(found: &str) -> &str {
    match found {
        media_type::DOCKER_LAYER => media_type::OCI_LAYER,
        media_type::DOCKER_LAYER_GZIP => media_type::OCI_LAYER_GZIP,
        other => other,
    }
}
