//! Cache mounts that travel with a cache.
//!
//! A mount is a list of its paths, as the manifest of a layer, and packs of the bytes of its files, each content
//! once. What the place's last manifest has in packs is not sent again, as long as at least half of such a pack
//! is still wanted; the rest goes into new packs. On the other side a mount that is not there yet, or is empty, is
//! filled; one with anything in it is left alone, since what its own machine put there fits better.
//!
//! A mount is never worth a failure: what cannot be packed or filled is told and left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::Path;

use kiln_cache::layer::manifest_of;
use kiln_cache::pack::{
    PackedFile, build_layer, encode_index, files_of, parse_index, read_pack, write_pack,
};
use kiln_cache::tree::Manifest;
use kiln_cache::{PortableMount, PortablePack, StoredBlob};
use kiln_image::{Descriptor, DigestWriter};
use kiln_ir::{Digest, ExecOp, Graph, MountKind, Op};
use kiln_solver::Report;

use super::lazy::unzip;
use super::send::{Lane, stored};
use super::{INDEX_TYPE, MountChoice, PACK_TYPE, Transfer};
use crate::error::chain;
use crate::export::write_error;
use crate::origin::Origin;
use crate::{Engine, EngineError};

/// The bytes of files in a pack, at least: small enough that a change costs little.
const PACK_BYTES: u64 = 8 << 20;
/// The most packs of a mount that is sent whole; of a larger mount they are larger.
const MAX_PACKS: u64 = 50;
/// Packs of less than a quarter of the usual size that are kept; what is in further ones is packed anew.
const MAX_SMALL_PACKS: usize = 8;

/// The ids of all cache mounts of a graph.
pub(super) fn mount_ids(graph: &Graph) -> BTreeSet<String> {
    let ids = graph.vertices().iter().flat_map(|vertex| match &vertex.op {
        Op::Exec(exec) => ids_of(exec),
        Op::Source(_) | Op::File(_) | Op::Merge | Op::Diff => Vec::new(),
    });
    ids.map(str::to_owned).collect()
}

fn ids_of(exec: &ExecOp) -> Vec<&str> {
    let ids = exec.mounts.iter().filter_map(|mount| {
        if let MountKind::Cache { id, .. } = &mount.kind { Some(id.as_str()) } else { None }
    });
    ids.collect()
}

/// A pack and what is in it.
struct Known {
    pack: PortablePack,
    files: Vec<PackedFile>,
}

impl<'e> Transfer<'e> {
    /// Sends the mounts that a target wants, as far as it lacks them.
    pub(super) fn send_mounts(
        &self,
        lane: &Lane<'e>,
        report: &dyn Report,
    ) -> Result<Vec<PortableMount>, EngineError> {
        let ids: Vec<&String> = match &lane.target.mounts {
            MountChoice::None => return Ok(Vec::new()),
            MountChoice::All => self.mount_ids.iter().collect(),
            MountChoice::Ids(ids) => ids.iter().collect(),
        };
        let mut packs = known_packs(self.engine, lane);
        let mut sent = Vec::new();
        for id in ids {
            let before = lane.before().mounts.iter().find(|mount| mount.id == *id);
            let told = match self.send_mount(lane, id, &mut packs) {
                Ok(Sent::Whole(mount)) => {
                    sent.push(mount);
                    continue;
                }
                // What the place has is as good as it was: this build did not use the mount.
                Ok(Sent::Absent) if before.is_none() && !self.mount_ids.contains(id) => {
                    Some("there is none".to_owned())
                }
                Ok(Sent::Absent) => None,
                Ok(Sent::TooLarge { size_bytes }) => {
                    let most = lane.target.mount_max_bytes;
                    let told = format!("it has {size_bytes} bytes, and at most {most} go along");
                    report.warning(&format!("the cache mount `{id}` is left out: {told}"));
                    continue;
                }
                Err(error) if self.cancel.is_cancelled() => return Err(error),
                Err(error) => Some(chain(&error)),
            };
            if let Some(reason) = told {
                report.warning(&format!("the cache mount `{id}` is not exported: {reason}"));
            }
            sent.extend(before.filter(|mount| is_whole(lane, mount)).cloned());
        }
        Ok(sent)
    }

    fn send_mount(
        &self,
        lane: &Lane<'e>,
        id: &str,
        packs: &mut Vec<Known>,
    ) -> Result<Sent, EngineError> {
        let Some(guard) = self.engine.store.read_cache_mount(id)? else { return Ok(Sent::Absent) };
        let manifest = manifest_of(guard.path())?;
        if manifest.is_empty() {
            return Ok(Sent::Absent);
        }
        let size_bytes = manifest.size_bytes();
        if size_bytes > lane.target.mount_max_bytes {
            return Ok(Sent::TooLarge { size_bytes });
        }
        let mut missing = files_of(&manifest);
        missing.retain(|(_, size_bytes), _| *size_bytes > 0);
        let full = PACK_BYTES.max(size_bytes / MAX_PACKS);
        let mut used = take_known(packs, &mut missing, full);
        for files in portions(missing, full) {
            let pack = self.send_pack(lane, guard.path(), &files)?;
            used.push(pack.clone());
            let files = files.into_iter().map(|(_, file)| file).collect();
            packs.push(Known { pack, files });
        }
        let tree = self.send_list(lane, super::TREE_TYPE, &manifest.encode())?;
        Ok(Sent::Whole(PortableMount { id: id.to_owned(), tree, packs: used }))
    }

    /// Packs files of a mount and sends them with their index.
    fn send_pack(
        &self,
        lane: &Lane<'e>,
        dir: &Path,
        files: &[(Vec<u8>, PackedFile)],
    ) -> Result<PortablePack, EngineError> {
        let staging = self.engine.store.staging_dir();
        let failed = write_error("pack", staging);
        let mut temporary = tempfile::tempfile_in(staging).map_err(&failed)?;
        let digests = DigestWriter::new(&mut temporary);
        let mut zipped = zstd::Encoder::new(digests, 0).map_err(&failed)?;
        write_pack(dir, files, &mut zipped)?;
        let mut digests = zipped.finish().map_err(&failed)?;
        digests.flush().map_err(&failed)?;
        let (digest, size_bytes, _) = digests.finish();
        let blob = Descriptor::new(PACK_TYPE, digest, size_bytes);
        lane.put(self, &blob, &mut temporary, None)?;
        let index: Vec<PackedFile> = files.iter().map(|(_, file)| *file).collect();
        Ok(PortablePack {
            blob: StoredBlob { digest: digest.to_string(), size_bytes },
            index: self.send_list(lane, INDEX_TYPE, &encode_index(&index))?,
        })
    }

    fn send_list(
        &self,
        lane: &Lane<'e>,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<StoredBlob, EngineError> {
        let what = || "a cache mount of so many files".to_owned();
        lane.send_zipped(media_type, bytes)?
            .ok_or_else(|| EngineError::Unsupported { what: what() })
    }

    /// Fetches the imported mounts that a command is the first to want.
    pub(super) fn bring_mounts(&self, exec: &ExecOp, report: &dyn Report) {
        for id in ids_of(exec) {
            let Some((mount, origin)) = self.mounts.get(id) else { continue };
            let mut filled = self.filled();
            if filled.contains_key(id) {
                continue;
            }
            let made = match self.engine.store.make_cache_mount_new(id) {
                Ok(true) => self.make_mount(mount, origin).map(Some),
                Ok(false) => Ok(None),
                Err(error) => Err(error.into()),
            };
            let layer = made.unwrap_or_else(|error| {
                let reason = chain(&error);
                report.warning(&format!("the cache mount `{id}` is not filled: {reason}"));
                None
            });
            filled.insert(id.to_owned(), layer);
        }
    }

    /// The layer to fill a new cache mount from.
    pub(crate) fn mount(&self, id: &str) -> Option<Digest> {
        self.filled().get(id).copied().flatten()
    }

    fn make_mount(&self, mount: &PortableMount, origin: &Origin) -> Result<Digest, EngineError> {
        let engine = self.engine;
        let tree = engine.small_blob(origin, &mount.tree)?;
        let manifest = Manifest::decode(&unzip(&mount.tree.digest, &tree)?)?;
        let layer = manifest.digest();
        if engine.layers.contains(&layer)? {
            return Ok(layer);
        }
        let mut wanted: BTreeSet<PackedFile> = files_of(&manifest).into_keys().collect();
        wanted.retain(|(_, size_bytes)| *size_bytes > 0);
        let staging = engine.store.staging_dir();
        let dir = tempfile::tempdir_in(staging).map_err(write_error("cache mount", staging))?;
        for PortablePack { blob, index } in &mount.packs {
            let files = engine.read_index(origin, index)?;
            if !files.iter().any(|file| wanted.contains(file)) {
                continue;
            }
            let pack = stored(PACK_TYPE, blob)?;
            engine.fetch_blob(origin, &pack, &|_| {})?;
            let missing = || EngineError::LostLayer {
                layer: layer.short(),
                reason: format!("the pack {} is gone", blob.digest),
            };
            let file: File = engine.store.open_blob(&blob.digest)?.ok_or_else(missing)?;
            let failed = write_error("cache mount", dir.path());
            let mut plain = zstd::Decoder::new(BufReader::new(file)).map_err(&failed)?;
            read_pack(&mut plain, &files, &mut wanted, dir.path())?;
        }
        Ok(build_layer(&engine.layers, &manifest, dir.path())?)
    }

    fn filled(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<Digest>>> {
        self.filled.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What became of a mount.
enum Sent {
    /// It is there.
    Whole(PortableMount),
    /// There is nothing of it here, or a command of another build has it alone.
    Absent,
    /// It is larger than may be.
    TooLarge { size_bytes: u64 },
}

impl Engine {
    fn read_index(
        &self,
        origin: &Origin,
        index: &StoredBlob,
    ) -> Result<Vec<PackedFile>, EngineError> {
        let bytes = unzip(&index.digest, &self.small_blob(origin, index)?)?;
        Ok(parse_index(&bytes)?)
    }
}

/// The packs that a target has. One whose index cannot be read is as if it were not there.
fn known_packs(engine: &Engine, lane: &Lane<'_>) -> Vec<Known> {
    let origin = lane.shelf.origin();
    let packs = lane.before().mounts.iter().flat_map(|mount| &mount.packs);
    let distinct: BTreeMap<&StoredBlob, &PortablePack> =
        packs.map(|pack| (&pack.blob, pack)).collect();
    let read = |pack: &PortablePack| {
        let is_there = lane.shelf.still_has(&pack.blob) && lane.shelf.still_has(&pack.index);
        let files = is_there.then(|| engine.read_index(&origin, &pack.index).ok()).flatten()?;
        Some(Known { pack: pack.clone(), files })
    };
    distinct.into_values().filter_map(read).collect()
}

fn is_whole(lane: &Lane<'_>, mount: &PortableMount) -> bool {
    let packs = mount.packs.iter().flat_map(|pack| [&pack.blob, &pack.index]);
    packs.chain([&mount.tree]).all(|blob| lane.shelf.still_has(blob))
}

/// The packs that hold mostly what is missing; what they hold is missing no more.
fn take_known(
    packs: &[Known],
    missing: &mut BTreeMap<PackedFile, Vec<u8>>,
    full_bytes: u64,
) -> Vec<PortablePack> {
    let mut used = Vec::new();
    let mut small = 0;
    for Known { pack, files } in packs {
        let size = |files: &mut dyn Iterator<Item = &PackedFile>| -> u64 {
            files.fold(0, |sum, (_, size_bytes)| sum.saturating_add(*size_bytes))
        };
        let wanted = size(&mut files.iter().filter(|file| missing.contains_key(*file)));
        let all = size(&mut files.iter());
        let is_small = all < full_bytes / 4;
        if wanted > 0 && wanted >= all / 2 && !(is_small && small == MAX_SMALL_PACKS) {
            small += usize::from(is_small);
            for file in files {
                missing.remove(file);
            }
            used.push(pack.clone());
        }
    }
    used
}

/// Files in portions for packs, by their paths: what is made together changes together.
fn portions(
    missing: BTreeMap<PackedFile, Vec<u8>>,
    full_bytes: u64,
) -> Vec<Vec<(Vec<u8>, PackedFile)>> {
    let mut files: Vec<_> = missing.into_iter().map(|(file, path)| (path, file)).collect();
    files.sort_unstable();
    let mut portions: Vec<Vec<_>> = Vec::new();
    let mut filled = full_bytes;
    for file in files {
        let (_, (_, size_bytes)) = &file;
        if filled >= full_bytes {
            portions.push(Vec::new());
            filled = 0;
        }
        filled += size_bytes;
        if let Some(last) = portions.last_mut() {
            last.push(file);
        }
    }
    portions
}
