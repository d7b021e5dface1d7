//! Files with holes, as GNU tar archives them: the old header and pax format 1.0.
//!
//! Formats 0.0 and 0.1, which GNU tar wrote for a year, are refused by the caller.

use tar::{GnuExtSparseHeader, Header};

use super::error::LayerError;
use super::header::BLOCK_BYTES;
use super::input::Input;
use super::number::number;

/// One run of bytes that the archive holds; between runs there are holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where the run is in the file.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) length: u64,
}

/// What a sparse file is made of: its runs in order, not overlapping, within its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SparseMap {
    pub(super) size_bytes: u64,
    pub(super) segments: Vec<Segment>,
}

impl SparseMap {
    /// Checks a map against itself and against how many bytes the archive holds of the file.
    pub(super) fn new(size_bytes: u64, segments: Vec<Segment>, stored_bytes: u64) -> Option<Self> {
        let (mut end, mut stored) = (0_u64, 0_u64);
        for segment in &segments {
            if segment.offset < end {
                return None;
            }
            end = segment.offset.checked_add(segment.length)?;
            stored = stored.checked_add(segment.length)?;
        }
        (end <= size_bytes && stored == stored_bytes).then_some(Self { size_bytes, segments })
    }
}

/// The runs in an old GNU header and whether more blocks of them follow.
pub(super) fn old_gnu(header: &Header) -> Option<(u64, Vec<Segment>, bool)> {
    let fields = header.as_gnu()?;
    let size_bytes = u64::try_from(number(&fields.realsize)?).ok()?;
    let runs = fields.sparse.iter().map(|run| (&run.offset, &run.numbytes));
    Some((size_bytes, segments(runs)?, fields.isextended[0] == 1))
}

/// The runs in a block that follows an old GNU header, and whether another follows.
pub(super) fn old_gnu_more(block: &[u8; BLOCK_BYTES]) -> Option<(Vec<Segment>, bool)> {
    let mut more = GnuExtSparseHeader::new();
    more.as_mut_bytes().copy_from_slice(block);
    let runs = more.sparse.iter().map(|run| (&run.offset, &run.numbytes));
    Some((segments(runs)?, more.isextended[0] == 1))
}

fn segments<'h>(runs: impl Iterator<Item = (&'h [u8; 12], &'h [u8; 12])>) -> Option<Vec<Segment>> {
    let is_used = |(_, length): &(&[u8; 12], &[u8; 12])| length[0] != 0;
    runs.take_while(is_used)
        .map(|(offset, length)| {
            let offset = u64::try_from(number(offset)?).ok()?;
            let length = u64::try_from(number(length)?).ok()?;
            Some(Segment { offset, length })
        })
        .collect()
}

/// Reads the map that stands before the content in pax format 1.0: decimal numbers, one a line; first
/// how many runs there are, then offset and length of each. `None` where it is malformed.
pub(super) fn pax_1_0(
    reader: &mut MapReader<'_, '_>,
    max_segments: u64,
) -> Result<Option<Vec<Segment>>, LayerError> {
    let Some(count) = reader.number()?.filter(|count| *count <= max_segments) else {
        return Ok(None);
    };
    let mut segments = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(length)) = (reader.number()?, reader.number()?) else {
            return Ok(None);
        };
        segments.push(Segment { offset, length });
    }
    Ok(Some(segments))
}

/// Reads numbers from the blocks at the start of a file's content.
pub(super) struct MapReader<'i, 'r> {
    input: &'i mut Input<'r>,
    left_bytes: u64,
    block: Vec<u8>,
    at: usize,
}

impl<'i, 'r> MapReader<'i, 'r> {
    pub(super) const fn new(input: &'i mut Input<'r>, left_bytes: u64) -> Self {
        Self { input, left_bytes, block: Vec::new(), at: 0 }
    }

    /// What is left of the content after the blocks that were read.
    pub(super) const fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// The number on the next line; `None` where there is none.
    fn number(&mut self) -> Result<Option<u64>, LayerError> {
        let mut value = None;
        loop {
            if self.at == self.block.len() {
                let Some(left) = self.left_bytes.checked_sub(BLOCK_BYTES as u64) else {
                    return Ok(None);
                };
                self.block = self.input.block()?.ok_or(LayerError::Truncated)?.to_vec();
                (self.at, self.left_bytes) = (0, left);
            }
            let byte = self.block[self.at];
            self.at += 1;
            value = match byte {
                b'\n' => return Ok(value),
                b'0'..=b'9' => {
                    let tenfold = value.unwrap_or(0_u64).checked_mul(10);
                    tenfold.and_then(|value| value.checked_add(u64::from(byte - b'0')))
                }
                _ => None,
            };
            if value.is_none() {
                return Ok(None);
            }
        }
    }
}
