//! Packing: entries → tar → SHA-256 → compressor → SHA-256, in one pass.
//!
//! The calling thread reads files, frames them as tar and hashes; rayon's pool compresses the blocks
//! before it meanwhile. Memory is bounded by two batches of blocks, whatever the archive's size.

use std::error::Error;
use std::io::{Read, Write};

use sha2::{Digest as _, Sha256};

use super::compress::{Codec, Compression, Packed, Trailer};
use super::entry::{EntryKind, PackEntry};
use super::error::{LayerError, PackError, shown};
use super::header::{self, BLOCK_BYTES};
use crate::{DigestWriter, OciDigest};

/// How to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackOptions {
    /// The compression.
    pub compression: Compression,
    /// Its level; `None` is the format's usual one (gzip 6, zstd 3).
    pub level: Option<i32>,
}

/// A packed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedLayer {
    /// The digest of the plain archive, which the image config lists.
    pub diff_id: OciDigest,
    /// The digest of the bytes written.
    pub digest: OciDigest,
    /// How many bytes were written.
    pub size_bytes: u64,
    /// The media type of what was written.
    pub media_type: &'static str,
}

/// Packs entries, in the order given, as a layer archive written to `out`.
///
/// The bytes depend on the entries and the options alone: not on the machine, the time or the number of
/// cores. `out` is not flushed.
///
/// # Errors
///
/// Fails with the first error of the iterator, when a file cannot be read or has another size than its
/// entry says, when an entry cannot be represented, and when `out` fails.
pub fn pack<'a, E, I>(
    entries: I,
    out: impl Write,
    options: PackOptions,
) -> Result<PackedLayer, PackError<E>>
where
    E: Error + 'static,
    I: IntoIterator<Item = Result<PackEntry<'a>, E>>,
{
    let codec = Codec::new(options.compression, options.level);
    let mut source = Source::new(entries.into_iter(), options.compression.block_bytes());
    let mut out = DigestWriter::new(out);
    let mut trailer = Trailer::new(codec);
    let write_failed = |source| LayerError::Write { source };
    out.write_all(codec.preamble()).map_err(write_failed)?;

    // The first is small, so that compressing begins soon.
    let mut batch = source.next_batch(1)?;
    while !batch.is_empty() {
        let twice = 2 * batch.len();
        let mut packed: Vec<_> = batch.iter().map(|_| None).collect();
        let next = rayon::in_place_scope(|scope| {
            for (block, slot) in batch.into_iter().zip(&mut packed) {
                scope.spawn(move |_| *slot = Some(codec.compress(block)));
            }
            source.next_batch(twice)
        });
        for block in packed.into_iter().flatten() {
            let block: Packed = block.map_err(write_failed)?;
            trailer.add(&block);
            out.write_all(&block.bytes).map_err(write_failed)?;
        }
        batch = next?;
    }
    out.write_all(&trailer.finish()).map_err(write_failed)?;
    let (digest, size_bytes, _) = out.finish();
    let media_type = options.compression.media_type();
    Ok(PackedLayer { diff_id: source.diff_id(), digest, size_bytes, media_type })
}

/// The plain archive, given out in blocks.
struct Source<'a, I> {
    entries: I,
    block_bytes: usize,
    /// Bytes ready to go out before anything else: headers, padding, the end mark.
    pending: Vec<u8>,
    /// The file whose bytes come next, once `pending` is out.
    file: Option<OpenFile<'a>>,
    is_ended: bool,
    hasher: Sha256,
}

/// A file in the middle of being packed.
struct OpenFile<'a> {
    path: Vec<u8>,
    size_bytes: u64,
    left_bytes: u64,
    content: Box<dyn Read + 'a>,
}

impl<'a, E, I> Source<'a, I>
where
    E: Error + 'static,
    I: Iterator<Item = Result<PackEntry<'a>, E>>,
{
    fn new(entries: I, block_bytes: usize) -> Self {
        let (pending, hasher) = (Vec::new(), Sha256::new());
        Self { entries, block_bytes, pending, file: None, is_ended: false, hasher }
    }

    fn diff_id(self) -> OciDigest {
        OciDigest::from_bytes(self.hasher.finalize().into())
    }

    /// The next blocks, at most `most` and enough to keep every core busy; empty at the archive's end. Every block
    /// but the archive's last is full.
    fn next_batch(&mut self, most: usize) -> Result<Vec<Vec<u8>>, PackError<E>> {
        let mut batch = Vec::new();
        while batch.len() < most.min(2 * rayon::current_num_threads()) {
            let mut block = Vec::with_capacity(self.block_bytes);
            self.fill(&mut block)?;
            if block.is_empty() {
                break;
            }
            self.hasher.update(&block);
            batch.push(block);
        }
        Ok(batch)
    }

    fn fill(&mut self, block: &mut Vec<u8>) -> Result<(), PackError<E>> {
        while block.len() < self.block_bytes {
            let room = self.block_bytes - block.len();
            if !self.pending.is_empty() {
                block.extend(self.pending.drain(..room.min(self.pending.len())));
            } else if self.file.is_some() {
                self.read_file(block, room)?;
            } else if let Some(entry) = self.entries.next() {
                self.start(entry.map_err(PackError::Entry)?)?;
            } else if !self.is_ended {
                self.pending = vec![0; 2 * BLOCK_BYTES];
                self.is_ended = true;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn start(&mut self, entry: PackEntry<'a>) -> Result<(), LayerError> {
        self.pending = header::encode(&entry)?;
        if let EntryKind::File { size_bytes, content } = entry.kind {
            let path = entry.path;
            self.file = Some(OpenFile { path, size_bytes, left_bytes: size_bytes, content });
        }
        Ok(())
    }

    /// Moves up to `room` bytes of the open file; at its end, closes it and pads.
    fn read_file(&mut self, block: &mut Vec<u8>, room: usize) -> Result<(), LayerError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let wanted = file.left_bytes.min(room as u64);
        let failed = |path: &[u8], source| LayerError::Content { path: shown(path), source };
        block.reserve(usize::try_from(wanted).unwrap_or(room));
        let read = (&mut file.content)
            .take(wanted)
            .read_to_end(block)
            .map_err(|source| failed(&file.path, source))? as u64;
        file.left_bytes -= read;
        let is_short = read < wanted;
        let is_long = file.left_bytes == 0
            && !is_short
            && file.content.read(&mut [0]).map_err(|source| failed(&file.path, source))? > 0;
        if is_short || is_long {
            let (path, size_bytes) = (shown(&file.path), file.size_bytes);
            return Err(LayerError::SizeChanged { path, size_bytes });
        }
        if file.left_bytes == 0 {
            let end = file.size_bytes % BLOCK_BYTES as u64;
            let padding = if end == 0 { 0 } else { BLOCK_BYTES as u64 - end };
            self.pending = vec![0; usize::try_from(padding).unwrap_or(0)];
            self.file = None;
        }
        Ok(())
    }
}
