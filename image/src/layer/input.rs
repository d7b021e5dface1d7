//! The plain bytes of an archive, read in the units of the format, and hashed on the way.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use tar::Header;

use super::error::LayerError;
use super::header::BLOCK_BYTES;
use super::number::number;
use crate::OciDigest;

/// The stream under an archive's entries.
pub(super) struct Input<'r> {
    reader: Box<dyn Read + 'r>,
    hasher: Option<Sha256>,
    size_bytes: u64,
    is_ended: bool,
}

impl<'r> Input<'r> {
    pub(super) fn new(reader: Box<dyn Read + 'r>, is_hashed: bool) -> Self {
        let hasher = is_hashed.then(Sha256::new);
        Self { reader, hasher, size_bytes: 0, is_ended: false }
    }

    /// The digest, if one was wanted, and the number of bytes read.
    pub(super) fn finish(self) -> (Option<OciDigest>, u64) {
        let digest = self.hasher.map(|hasher| OciDigest::from_bytes(hasher.finalize().into()));
        (digest, self.size_bytes)
    }

    /// The next header, its checksum right; `None` at the end mark or where the stream ends.
    pub(super) fn header(&mut self, entries: u64) -> Result<Option<Header>, LayerError> {
        let damaged = |reason| LayerError::Header { entries, reason };
        if self.is_ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.is_ended = true;
            return Ok(None);
        };
        if block == [0; BLOCK_BYTES] {
            self.is_ended = true;
            return match self.block()? {
                Some(second) if second != [0; BLOCK_BYTES] => {
                    Err(damaged("half an end mark is followed by something else"))
                }
                _ => Ok(None),
            };
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        let stated = number(&header.as_old().cksum).ok_or_else(|| damaged("it is not a header"))?;
        let (unsigned, signed) = checksums(&block);
        if stated != unsigned && stated != signed {
            return Err(damaged("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// The size that a header states.
    pub(super) fn size(&self, header: &Header, entries: u64) -> Result<u64, LayerError> {
        let size = number(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
        size.ok_or(LayerError::Header { entries, reason: "a size is not a number" })
    }

    /// The next block; `None` where the stream ends before it.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, LayerError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.read(&mut block[filled..]).map_err(|source| LayerError::Read { source })? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(LayerError::Truncated),
                read => filled += read,
            }
        }
        Ok(Some(block))
    }

    /// So many bytes, with the padding after them read too. The caller has limited the size.
    pub(super) fn padded(&mut self, size_bytes: u64) -> Result<Vec<u8>, LayerError> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size_bytes {
            bytes.extend(self.block()?.ok_or(LayerError::Truncated)?);
        }
        bytes.truncate(usize::try_from(size_bytes).unwrap_or(bytes.len()));
        Ok(bytes)
    }

    /// Content of a file: no more than is left of it, and an error if the stream ends before.
    pub(super) fn content(&mut self, buffer: &mut [u8], left_bytes: u64) -> io::Result<usize> {
        let room = usize::try_from(left_bytes).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.read(&mut buffer[..room])?;
        if read == 0 && room > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, LayerError::Truncated));
        }
        Ok(read)
    }

    pub(super) fn skip(&mut self, mut bytes: u64) -> Result<(), LayerError> {
        let mut scratch = [0; 16 << 10];
        while bytes > 0 {
            let room = usize::try_from(bytes).unwrap_or(usize::MAX).min(scratch.len());
            match self.read(&mut scratch[..room]).map_err(|source| LayerError::Read { source })? {
                0 => return Err(LayerError::Truncated),
                read => bytes -= read as u64,
            }
        }
        Ok(())
    }

    /// Reads to the stream's end.
    pub(super) fn drain(&mut self, max_bytes: u64) -> Result<(), LayerError> {
        let (mut scratch, mut drained) = ([0; 16 << 10], 0);
        loop {
            match self.read(&mut scratch).map_err(|source| LayerError::Read { source })? {
                0 => return Ok(()),
                read => drained += read as u64,
            }
            if drained > max_bytes {
                let what = "bytes after the archive's end";
                return Err(LayerError::Limit { what, limit: max_bytes });
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        self.size_bytes += read as u64;
        Ok(read)
    }
}

/// The sum of a header's bytes, its checksum taken as spaces; also with bytes taken as signed, as some
/// old writers did.
fn checksums(block: &[u8; BLOCK_BYTES]) -> (i64, i64) {
    let bytes = || {
        let spaced = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
        block.iter().enumerate().map(spaced)
    };
    (bytes().map(i64::from).sum(), bytes().map(|byte| i64::from(byte.cast_signed())).sum())
}
