//! Finding out how an archive is compressed, and undoing it.

use std::io::{self, BufReader, Chain, Cursor, Read};

use super::error::LayerError;
use super::limits::Limits;
use super::read::{Purpose, entries};

/// Memory that an xz stream may ask for: that of `xz -9`, and some.
const XZ_MEMORY_BYTES: u64 = 256 << 20;
/// The largest zstd window accepted, as a power of two: what `zstd` itself reads without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;
/// How much is read from the underlying stream at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How many bytes at an archive's start tell its compression.
pub const SNIFF_BYTES: usize = 6;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
}

impl ArchiveFormat {
    /// What the first [`SNIFF_BYTES`] bytes, or fewer if there are no more, say.
    #[must_use]
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A frame, or a frame to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Whether a file is an archive that ADD unpacks, and how it is compressed.
///
/// It is one if its first entry can be read: a lone compressed file is not. No more is read than that
/// takes; a slice is a reader too.
pub fn sniff_archive(mut reader: impl Read) -> Option<ArchiveFormat> {
    let mut first = [0; SNIFF_BYTES];
    let first = read_up_to(&mut reader, &mut first).ok()?;
    let format = ArchiveFormat::of(first);
    let mut archive =
        entries(Cursor::new(first).chain(reader), Purpose::Archive, Limits::default()).ok()?;
    archive.next_entry().ok()?.map(|_| format)
}

/// The plain bytes of an archive.
pub(super) fn plain<'r>(mut reader: impl Read + 'r) -> Result<Box<dyn Read + 'r>, LayerError> {
    let failed = |source| LayerError::Read { source };
    let mut first = [0; SNIFF_BYTES];
    let first = read_up_to(&mut reader, &mut first).map_err(failed)?.to_vec();
    let format = ArchiveFormat::of(&first);
    let whole: BufReader<Chain<Cursor<Vec<u8>>, _>> =
        BufReader::with_capacity(BUFFER_BYTES, Cursor::new(first).chain(reader));
    Ok(match format {
        ArchiveFormat::Plain => Box::new(whole),
        ArchiveFormat::Gzip => Box::new(buffered(flate2::bufread::MultiGzDecoder::new(whole))),
        ArchiveFormat::Bzip2 => Box::new(buffered(bzip2::bufread::MultiBzDecoder::new(whole))),
        ArchiveFormat::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY_BYTES,
                liblzma::stream::CONCATENATED,
            )
            .map_err(|error| failed(error.into()))?;
            Box::new(buffered(liblzma::bufread::XzDecoder::new_stream(whole, stream)))
        }
        ArchiveFormat::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
            Box::new(buffered(decoder))
        }
    })
}

fn buffered<R: Read>(reader: R) -> BufReader<R> {
    BufReader::with_capacity(BUFFER_BYTES, reader)
}

/// Fills as much of a buffer as the stream has.
fn read_up_to<'b>(reader: &mut impl Read, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(&buffer[..filled])
}
