//! Compression in parallel, with output that does not depend on how many cores did it.
//!
//! The archive is cut at fixed distances and every block is compressed with no knowledge of the others:
//! deflate blocks that end on a byte boundary and together form one gzip member, or zstd frames one after
//! another, which every zstd reader takes as one stream. Neither compressor looks at the processor's
//! features to decide what to write, so the bytes are the same on every machine.

use std::io;

use flate2::{Compress, Crc, FlushCompress, Status};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, which every reader of images knows.
    #[default]
    Gzip,
    /// zstd: smaller and much faster to read.
    Zstd,
}

impl Compression {
    /// The media type of a layer compressed so.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::None => crate::media_type::OCI_LAYER,
            Self::Gzip => crate::media_type::OCI_LAYER_GZIP,
            Self::Zstd => crate::media_type::OCI_LAYER_ZSTD,
        }
    }

    /// Bytes of the archive in a block. A cut costs the matches that would have reached across it: under
    /// a hundredth of the size at these distances.
    pub(super) const fn block_bytes(self) -> usize {
        match self {
            Self::None | Self::Gzip => 1 << 20,
            Self::Zstd => 4 << 20,
        }
    }

    /// The level used when the caller names none: the one that the format's own tool uses.
    const fn default_level(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Gzip => 6,
            Self::Zstd => 3,
        }
    }
}

/// A compression with its level settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codec {
    compression: Compression,
    level: i32,
}

/// One compressed block.
pub(super) struct Packed {
    /// What to write.
    pub(super) bytes: Vec<u8>,
    /// The checksum of the block's plain bytes, which gzip wants.
    crc: Crc,
}

impl Codec {
    /// The level is brought into the format's range.
    pub(super) fn new(compression: Compression, level: Option<i32>) -> Self {
        let level = level.unwrap_or(compression.default_level());
        let level = match compression {
            Compression::None => 0,
            Compression::Gzip => level.clamp(1, 9),
            Compression::Zstd => level.clamp(1, 19),
        };
        Self { compression, level }
    }

    /// What stands before the first block.
    pub(super) const fn preamble(self) -> &'static [u8] {
        match self.compression {
            // Deflate; no flags, no time, no extra flags, and an operating system that is not told.
            Compression::Gzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff],
            Compression::None | Compression::Zstd => &[],
        }
    }

    /// Compresses one block.
    pub(super) fn compress(self, block: Vec<u8>) -> io::Result<Packed> {
        let mut crc = Crc::new();
        let bytes = match self.compression {
            Compression::None => block,
            Compression::Gzip => {
                crc.update(&block);
                deflate(&block, self.level)?
            }
            Compression::Zstd => zstd::bulk::compress(&block, self.level)?,
        };
        Ok(Packed { bytes, crc })
    }
}

/// What a stream of blocks needs to remember to be closed.
pub(super) struct Trailer {
    codec: Codec,
    crc: Crc,
}

impl Trailer {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, crc: Crc::new() }
    }

    /// Takes note of the next block, in order.
    pub(super) fn add(&mut self, packed: &Packed) {
        if self.codec.compression == Compression::Gzip {
            self.crc.combine(&packed.crc);
        }
    }

    /// What stands after the last block.
    pub(super) fn finish(self) -> Vec<u8> {
        match self.codec.compression {
            Compression::None | Compression::Zstd => Vec::new(),
            Compression::Gzip => {
                // An empty last deflate block, then the checksum and the size modulo 2^32.
                let mut bytes = vec![3, 0];
                bytes.extend(self.crc.sum().to_le_bytes());
                bytes.extend(self.crc.amount().to_le_bytes());
                bytes
            }
        }
    }
}

/// Deflates a block so that it ends on a byte boundary and is not the stream's last.
fn deflate(block: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let level = flate2::Compression::new(level.unsigned_abs());
    let mut state = Compress::new(level, false);
    let mut out = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(state.total_in()).map_err(io::Error::other)?;
        let before = out.len();
        let status = state.compress_vec(&block[taken..], &mut out, FlushCompress::Sync)?;
        let is_whole = state.total_in() == block.len() as u64 && out.len() < out.capacity();
        if is_whole
            || (status == Status::BufError && out.len() == before && out.len() < out.capacity())
        {
            return Ok(out);
        }
        out.reserve(block.len() / 4 + 1024);
    }
}
