//! Layers on their way to a cache, beside the build.
//!
//! Each target has threads of its own, of low priority, that take layers as the steps end, pack them and send
//! what the target lacks. What its last manifest has is taken as it is, whoever packed it. The first failure
//! ends the sending; what it means for the build is decided at the end.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use kiln_cache::{
    BlobRef, CacheError, LayerRef, MAX_PORTABLE_BYTES, Portable, PortableLayer, PortableMount,
    StoredBlob,
};
use kiln_image::Descriptor;
use kiln_ir::Digest;
use kiln_registry::Pushed;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::lazy::Place;
use super::shelf::{Content, Shelf};
use super::{CacheExtent, CacheTarget, TREE_TYPE, Transfer};
use crate::export::{Form, descriptor};
use crate::origin::{Origin, image_error};
use crate::{Engine, EngineError};

/// Threads for each target: one packs while the other sends.
const WORKERS: usize = 2;
/// How much the threads stand back for the build's own.
const NICENESS: i32 = 10;

/// One target of an export.
pub(super) struct Lane<'e> {
    engine: &'e Engine,
    pub(super) target: CacheTarget,
    pub(super) shelf: Shelf<'e>,
    form: Form,
    /// The threads that pack, which stand back for the build's own.
    pool: Arc<ThreadPool>,
    queue: Mutex<Option<Sender<LayerRef>>>,
    incoming: Mutex<Receiver<LayerRef>>,
    state: Mutex<State>,
    /// Told when a layer is done with.
    moved: Condvar,
    /// What the target's last manifest has.
    before: OnceLock<Before>,
    stopped: AtomicBool,
    pub(super) tally: Tally,
}

#[derive(Default)]
struct State {
    offered: HashSet<Digest>,
    pending: usize,
    ready: BTreeMap<Digest, PortableLayer>,
    failure: Option<EngineError>,
}

/// What a target has from before.
#[derive(Default)]
pub(super) struct Before {
    layers: BTreeMap<Digest, PortableLayer>,
    pub(super) mounts: Vec<PortableMount>,
}

/// Threads that pack. They have a pool of their own: one in which the build's steps work would do so at the steps'
/// cost.
pub(super) fn pool() -> Result<Arc<ThreadPool>, EngineError> {
    let stand_back = |_| {
        // Not being allowed to is no reason not to work.
        let _refused = rustix::process::setpriority_process(None, NICENESS);
    };
    let pool = ThreadPoolBuilder::new().start_handler(stand_back).build();
    pool.map(Arc::new).map_err(|source| EngineError::Threads { source })
}

/// What went over the line.
#[derive(Default)]
pub(super) struct Tally {
    blobs: AtomicU64,
    bytes: AtomicU64,
    present: AtomicU64,
}

impl Tally {
    fn add(&self, pushed: Pushed, size_bytes: u64) {
        match pushed {
            Pushed::Sent => {
                self.blobs.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(size_bytes, Ordering::Relaxed);
            }
            Pushed::Present | Pushed::Mounted => {
                self.present.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// One line.
    pub(super) fn told(&self) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (blobs, bytes, present) = (of(&self.blobs), of(&self.bytes), of(&self.present));
        format!("sent {blobs} blobs, {bytes} bytes; {present} were there\n")
    }
}

impl<'e> Lane<'e> {
    pub(super) fn new(
        engine: &'e Engine,
        target: &CacheTarget,
        shelf: Shelf<'e>,
        epoch: Option<i64>,
        pool: &Arc<ThreadPool>,
    ) -> Self {
        let (sender, receiver) = channel();
        Self {
            engine,
            form: Form { packing: target.packing, epoch },
            pool: Arc::clone(pool),
            target: target.clone(),
            shelf,
            queue: Mutex::new(Some(sender)),
            incoming: Mutex::new(receiver),
            state: Mutex::default(),
            moved: Condvar::new(),
            before: OnceLock::new(),
            stopped: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    pub(super) const fn extent(&self) -> CacheExtent {
        self.target.extent
    }

    /// Starts the lane's threads. They end when the lane is closed.
    pub(super) fn start<'s>(
        &'s self,
        transfer: &'s Transfer<'e>,
        scope: &'s std::thread::Scope<'s, '_>,
    ) {
        for _ in 0..WORKERS {
            scope.spawn(move || self.work(transfer));
        }
    }

    /// Puts layers on their way, each once.
    pub(super) fn offer(&self, layers: &[LayerRef]) {
        let Some(sender) = enter(&self.queue).clone() else { return };
        for layer in layers {
            let mut state = enter(&self.state);
            if state.offered.insert(layer.digest) && sender.send(layer.clone()).is_ok() {
                state.pending += 1;
            }
        }
    }

    /// Lets the threads end once nothing is left; at once when the build has failed.
    pub(super) fn close(&self, outcome: Outcome) {
        if outcome == Outcome::Failed {
            self.stopped.store(true, Ordering::Relaxed);
        }
        drop(enter(&self.queue).take());
    }

    /// Waits until all that was offered is there; what that is, or why it is not.
    pub(super) fn settle(&self) -> Result<BTreeMap<Digest, PortableLayer>, EngineError> {
        let mut state = enter(&self.state);
        while state.pending > 0 {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.failure.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut state.ready)),
        }
    }

    fn work(&self, transfer: &Transfer<'e>) {
        loop {
            let Ok(layer) = enter(&self.incoming).recv() else { return };
            let is_over =
                self.stopped.load(Ordering::Relaxed) || enter(&self.state).failure.is_some();
            let sent = (!is_over).then(|| self.send(transfer, &layer));
            let mut state = enter(&self.state);
            match sent {
                Some(Ok(there)) => drop(state.ready.insert(layer.digest, there)),
                Some(Err(error)) => drop(state.failure.get_or_insert(error)),
                None => {}
            }
            state.pending -= 1;
            self.moved.notify_all();
        }
    }

    /// What the target has from before. That it cannot be read means that all is sent.
    pub(super) fn before(&self) -> &Before {
        self.before.get_or_init(|| match self.shelf.last() {
            Ok(document) => {
                let Portable { layers, mounts, .. } = document.unwrap_or_default();
                let layers = layers.into_iter().map(|layer| (layer.digest, layer)).collect();
                Before { layers, mounts }
            }
            Err(error) => {
                tracing::debug!(%error, "what is at the cache's place is not read");
                Before::default()
            }
        })
    }

    /// Puts a blob there; given up when the build is.
    pub(super) fn put(
        &self,
        transfer: &Transfer<'e>,
        blob: &Descriptor,
        content: &mut dyn Content,
        also_in: Option<&str>,
    ) -> Result<(), EngineError> {
        let is_over = || self.stopped.load(Ordering::Relaxed) || transfer.cancel.is_cancelled();
        let mut content = Watched { content, is_over: &is_over };
        let pushed = self.shelf.put(blob, &mut content, also_in)?;
        self.tally.add(pushed, blob.size_bytes);
        Ok(())
    }

    /// Sees to it that the target has a layer.
    fn send(
        &self,
        transfer: &Transfer<'e>,
        layer: &LayerRef,
    ) -> Result<PortableLayer, EngineError> {
        if let Some(known) = self.before().layers.get(&layer.digest)
            && self.will_do(known, layer)
        {
            self.tally.add(Pushed::Present, 0);
            return Ok(known.clone());
        }
        let digest = layer.digest;
        if layer.blob.is_some() {
            // The blob is where the base image is.
            let tree = self.send_tree(&digest, transfer)?;
            let blob = layer.blob.clone();
            return Ok(PortableLayer { digest, made_ms: None, blob, form: None, tree });
        }
        if !self.engine.layers.contains(&digest)? {
            let media_type = self.form.packing.compression.media_type();
            let places = transfer.lazy.places_of(&digest);
            let is_alike = |place: &Place| {
                let blob = place.layer.blob.as_ref();
                blob.is_some_and(|blob| blob.media_type == media_type)
            };
            if let Some(place) = places.into_iter().find(is_alike) {
                return self.pass_on(transfer, place);
            }
            transfer.lazy.bring(std::slice::from_ref(layer), None, &transfer.cancel)?;
        }
        let in_pool = |pack: &mut (dyn FnMut() + Send)| self.pool.install(pack);
        let blob = self.engine.packed_by(layer, &self.form, &in_pool)?;
        let missing = || CacheError::MissingBlob { digest: blob.digest.clone() };
        let mut file = self.engine.store.open_blob(&blob.digest)?.ok_or_else(missing)?;
        let also_in = self.also_in(&transfer.lazy.places_of(&digest), &blob);
        self.put(transfer, &descriptor(&blob)?, &mut file, also_in.as_deref())?;
        Ok(PortableLayer {
            digest,
            made_ms: Some(self.engine.made_at(layer)?),
            blob: Some(blob),
            form: Some(self.form.to_string()),
            tree: self.send_tree(&digest, transfer)?,
        })
    }

    /// Whether what the target has of a layer can stay.
    fn will_do(&self, known: &PortableLayer, layer: &LayerRef) -> bool {
        let Some(tree) = &known.tree else { return false };
        let Some(blob) = &known.blob else { return false };
        if !self.shelf.still_has(tree) {
            return false;
        }
        if known.form.is_none() {
            return layer.blob.as_ref() == Some(blob);
        }
        let stored = StoredBlob { digest: blob.digest.clone(), size_bytes: blob.size_bytes };
        layer.blob.is_none()
            && blob.media_type == self.form.packing.compression.media_type()
            && self.shelf.still_has(&stored)
    }

    /// Hands on a layer that is not here as it is.
    fn pass_on(&self, transfer: &Transfer<'e>, place: Place) -> Result<PortableLayer, EngineError> {
        let (Some(origin), Some(blob)) = (place.origin.clone(), place.layer.blob.clone()) else {
            return Ok(place.layer);
        };
        let wanted = descriptor(&blob)?;
        let also_in = self.also_in(std::slice::from_ref(&place), &blob);
        let mut content = Fetched { engine: self.engine, origin, blob: wanted.clone(), file: None };
        self.put(transfer, &wanted, &mut content, also_in.as_deref())?;
        if let Some(tree) = &place.layer.tree {
            let bytes = self.engine.small_blob(&place.tree_origin, tree)?;
            self.send_bytes(TREE_TYPE, &bytes)?;
        }
        Ok(place.layer)
    }

    /// The repository of the target's registry that is known to have a blob.
    fn also_in(&self, places: &[Place], blob: &BlobRef) -> Option<String> {
        let Shelf::Registry(_, to) = &self.shelf else { return None };
        places.iter().find_map(|place| match &place.origin {
            Some(Origin::Registry(from))
                if from.registry() == to.registry()
                    && place.layer.blob.as_ref().is_some_and(|b| b.digest == blob.digest) =>
            {
                Some(from.repository().to_owned())
            }
            _ => None,
        })
    }

    /// Sends a layer's manifest; nothing of one that is not here and none that is too large for its readers.
    fn send_tree(
        &self,
        layer: &Digest,
        transfer: &Transfer<'e>,
    ) -> Result<Option<StoredBlob>, EngineError> {
        let Ok(manifest) = self.engine.layers.manifest(layer) else {
            let places = transfer.lazy.places_of(layer);
            let Some((tree, from)) =
                places.into_iter().find_map(|place| Some((place.layer.tree?, place.tree_origin)))
            else {
                return Ok(None);
            };
            let bytes = self.engine.small_blob(&from, &tree)?;
            return self.send_bytes(TREE_TYPE, &bytes).map(Some);
        };
        self.send_zipped(TREE_TYPE, &manifest.encode())
    }

    /// Sends bytes compressed; not those that are too many for their readers.
    pub(super) fn send_zipped(
        &self,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Option<StoredBlob>, EngineError> {
        let zipped = zstd::bulk::compress(bytes, 0).map_err(|source| EngineError::WriteFile {
            what: "list of files",
            path: "-".into(),
            source,
        })?;
        if zipped.len() > MAX_PORTABLE_BYTES {
            return Ok(None);
        }
        self.send_bytes(media_type, &zipped).map(Some)
    }

    /// Sends a small blob.
    pub(super) fn send_bytes(
        &self,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<StoredBlob, EngineError> {
        let descriptor = Descriptor::of(media_type, bytes);
        let pushed = self.shelf.put(&descriptor, &mut Cursor::new(bytes), None)?;
        self.tally.add(pushed, descriptor.size_bytes);
        Ok(StoredBlob { digest: descriptor.digest.to_string(), size_bytes: descriptor.size_bytes })
    }
}

/// How the build ended that a cache is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed,
}

/// What is read until the build is over.
struct Watched<'c> {
    content: &'c mut dyn Content,
    is_over: &'c dyn Fn() -> bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_over)() {
            return Err(io::Error::other("the build has ended"));
        }
        self.content.read(buffer)
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.content.seek(to)
    }
}

/// A blob that is fetched when it is read.
struct Fetched<'e> {
    engine: &'e Engine,
    origin: Origin,
    blob: Descriptor,
    file: Option<File>,
}

impl Fetched<'_> {
    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let digest = self.blob.digest.to_string();
                let fetched = self.engine.fetch_blob(&self.origin, &self.blob, &|_| {});
                fetched.map_err(io::Error::other)?;
                let found = self.engine.store.open_blob(&digest).map_err(io::Error::other)?;
                found.ok_or(io::ErrorKind::NotFound)?
            }
        };
        Ok(self.file.insert(file))
    }
}

impl Read for Fetched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file()?.read(buffer)
    }
}

impl Seek for Fetched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file()?.seek(to)
    }
}

/// A blob's descriptor.
pub(super) fn stored(media_type: &str, blob: &StoredBlob) -> Result<Descriptor, EngineError> {
    let digest = blob.digest.parse().map_err(image_error(&blob.digest))?;
    Ok(Descriptor::new(media_type, digest, blob.size_bytes))
}

fn enter<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
