//! The bytes of files: hashing them, and copying them into a layer in the same pass.
//!
//! Buffers belong to threads, so that a small file costs no allocation.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};

use kiln_ir::Digest;
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;

use crate::stat::StatKey;

/// Files up to this size are read by one call.
const BUFFER_BYTES: usize = 256 * 1024;
/// Runs of zeros shorter than this are written like any other bytes.
const HOLE_BYTES: usize = 16 * 1024;
/// From here on the kernel copies bytes that need not be hashed.
pub(crate) const KERNEL_COPY_MIN_BYTES: u64 = 256 * 1024;

/// Where the bytes of a file come from.
pub enum Content<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// From a stream, up to its end.
    Reader(&'a mut dyn Read),
    /// From an open file, from its start to its end.
    File(BorrowedFd<'a>, Known),
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Reader(_) => f.write_str("Reader"),
            Self::File(file, known) => f.debug_tuple("File").field(file).field(known).finish(),
        }
    }
}

/// What is known of a file's digest before it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// It was this when last looked at, and may have changed since: it is checked.
    Expected(Digest),
    /// It was this as long as its stat was this one, which no change leaves as it is.
    AsOf(StatKey, Digest),
    /// It is this: the file is in a layer, which nothing changes.
    Certain(Digest),
}

/// What was copied: the digest of the bytes and their number.
pub(super) type Copied = (Digest, u64);

/// A failed copy.
pub(super) enum CopyError {
    /// The system's answer to reading or writing.
    Io(io::Error),
    /// The bytes are not those expected.
    Changed,
}

impl<E: Into<io::Error>> From<E> for CopyError {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's buffer. Within `body` the thread may take up other work that borrows too: it gets
/// a buffer of its own.
pub(super) fn with_buffer<T>(body: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER.take();
    buffer.resize(BUFFER_BYTES, 0);
    let result = body(&mut buffer);
    BUFFER.set(buffer);
    result
}

/// Fills a new, empty file.
pub(super) fn fill(out: BorrowedFd<'_>, content: Content<'_>) -> Result<Copied, CopyError> {
    match content {
        Content::Bytes(bytes) => {
            write_all(out, bytes)?;
            Ok((Digest::of(bytes), bytes.len() as u64))
        }
        Content::Reader(reader) => copy_stream(out, reader),
        Content::File(file, known) => copy_file(out, file, known),
    }
}

fn copy_stream(out: BorrowedFd<'_>, reader: &mut dyn Read) -> Result<Copied, CopyError> {
    with_buffer(|buffer| {
        let mut sink = Sink::new(out);
        loop {
            let length = fill_from(reader, buffer)?;
            sink.hash_and_put(&buffer[..length], Holes::Found)?;
            if length < buffer.len() {
                return sink.finish();
            }
        }
    })
}

fn copy_file(out: BorrowedFd<'_>, file: BorrowedFd<'_>, known: Known) -> Result<Copied, CopyError> {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(CopyError::Changed);
    }
    let size_bytes = stat.st_size.cast_unsigned();
    let sparse = is_sparse(&stat);
    if let Some(digest) = trusted(file, known)?
        && !sparse
        && size_bytes >= KERNEL_COPY_MIN_BYTES
        && copy_in_kernel(out, file, size_bytes)?
    {
        // It must not have changed meanwhile either.
        return trusted(file, known)?.map(|_| (digest, size_bytes)).ok_or(CopyError::Changed);
    }
    let holes = if sparse { Holes::Found } else { Holes::Written };
    let (digest, copied_bytes) = match known {
        Known::Certain(digest) => {
            let mut sink = Sink::new(out);
            pass_on(file, size_bytes, |chunk| sink.put(chunk, holes))?;
            (digest, sink.end()?)
        }
        Known::Nothing | Known::Expected(_) | Known::AsOf(..) => {
            let mut sink = Sink::new(out);
            pass_on(file, size_bytes, |chunk| sink.hash_and_put(chunk, holes))?;
            sink.finish()?
        }
    };
    let changed = match known {
        Known::Nothing => false,
        Known::Expected(expected) | Known::AsOf(_, expected) => expected != digest,
        Known::Certain(_) => copied_bytes != size_bytes,
    };
    if changed { Err(CopyError::Changed) } else { Ok((digest, copied_bytes)) }
}

/// Whether the file has holes.
pub(super) fn is_sparse(stat: &rustix::fs::Stat) -> bool {
    stat.st_blocks.cast_unsigned().saturating_mul(512) < stat.st_size.cast_unsigned()
}

/// The digest of a file of which nothing has to be read to know it.
fn trusted(file: BorrowedFd<'_>, known: Known) -> Result<Option<Digest>, CopyError> {
    Ok(match known {
        Known::Nothing | Known::Expected(_) => None,
        Known::AsOf(key, digest) => (StatKey::now(file)? == key).then_some(digest),
        Known::Certain(digest) => Some(digest),
    })
}

/// Hands all of a file on in chunks; a file that grows is taken as long as it was.
fn pass_on(
    file: BorrowedFd<'_>,
    size_bytes: u64,
    mut put: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    with_buffer(|buffer| {
        let mut left = size_bytes;
        while left > 0 {
            let chunk = read_full(file, chunk_of(buffer, left))?;
            if chunk.is_empty() {
                break;
            }
            left -= chunk.len() as u64;
            put(chunk)?;
        }
        Ok(())
    })
}

/// Shares the blocks, or has the kernel copy them. False, with nothing written, when it can do neither.
fn copy_in_kernel(
    out: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    size_bytes: u64,
) -> Result<bool, CopyError> {
    if rustix::fs::ioctl_ficlone(out, file).is_ok() {
        return Ok(true);
    }
    let mut left = size_bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(file, None, out, None, length) {
            Ok(0) => return Err(CopyError::Changed),
            Ok(copied) => left -= copied as u64,
            Err(error) if left == size_bytes && !is_fatal(error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Whether writing the bytes ourselves would meet the same error.
fn is_fatal(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::FBIG)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holes {
    /// Runs of zeros are left out of the file.
    Found,
    Written,
}

/// A file being written from its start, and the hash of what is written.
struct Sink<'a> {
    out: BorrowedFd<'a>,
    hasher: Hasher,
    length_bytes: u64,
    /// Zeros at the end that are not in the file yet.
    hole_bytes: u64,
}

impl<'a> Sink<'a> {
    fn new(out: BorrowedFd<'a>) -> Self {
        Self { out, hasher: Hasher::new(), length_bytes: 0, hole_bytes: 0 }
    }

    fn hash_and_put(&mut self, chunk: &[u8], holes: Holes) -> io::Result<()> {
        self.hasher.update(chunk);
        self.put(chunk, holes)
    }

    fn put(&mut self, chunk: &[u8], holes: Holes) -> io::Result<()> {
        self.length_bytes += chunk.len() as u64;
        if holes == Holes::Written {
            return write_all(self.out, chunk);
        }
        let mut rest = chunk;
        while !rest.is_empty() {
            let (zeros, after) = rest.split_at(hole_length(rest));
            self.hole_bytes += zeros.len() as u64;
            let (data, after) = after.split_at(data_length(after));
            if !data.is_empty() {
                self.skip_hole()?;
                write_all(self.out, data)?;
            }
            rest = after;
        }
        Ok(())
    }

    fn skip_hole(&mut self) -> io::Result<()> {
        if self.hole_bytes > 0 {
            let by = i64::try_from(self.hole_bytes).map_err(io::Error::other)?;
            rustix::fs::seek(self.out, rustix::fs::SeekFrom::Current(by))?;
            self.hole_bytes = 0;
        }
        Ok(())
    }

    /// Ends the file and tells its length.
    fn end(&mut self) -> io::Result<u64> {
        if self.hole_bytes > 0 {
            rustix::fs::ftruncate(self.out, self.length_bytes)?;
        }
        Ok(self.length_bytes)
    }

    fn finish(mut self) -> Result<Copied, CopyError> {
        let length_bytes = self.end()?;
        Ok((self.hasher.finish(), length_bytes))
    }
}

/// How many bytes at the start of `bytes` are whole holes.
fn hole_length(bytes: &[u8]) -> usize {
    let holes = bytes.chunks_exact(HOLE_BYTES).take_while(|chunk| is_zero(chunk));
    holes.map(<[u8]>::len).sum()
}

/// How many bytes at the start of `bytes` come before the next whole hole.
fn data_length(bytes: &[u8]) -> usize {
    let data = bytes.chunks(HOLE_BYTES);
    let is_data = |chunk: &&[u8]| chunk.len() < HOLE_BYTES || !is_zero(chunk);
    data.take_while(is_data).map(<[u8]>::len).sum()
}

fn is_zero(chunk: &[u8]) -> bool {
    chunk.iter().all(|&byte| byte == 0)
}

/// BLAKE3, on all cores when a chunk is worth it.
struct Hasher(blake3::Hasher);

impl Hasher {
    fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    fn update(&mut self, chunk: &[u8]) {
        if chunk.len() >= BUFFER_BYTES {
            self.0.update_rayon(chunk);
        } else {
            self.0.update(chunk);
        }
    }

    fn finish(&self) -> Digest {
        Digest::from_bytes(*self.0.finalize().as_bytes())
    }
}

fn chunk_of(buffer: &mut [u8], left: u64) -> &mut [u8] {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    &mut buffer[..length]
}

/// Reads until `buffer` is full or the file ends.
fn read_full<'b>(file: BorrowedFd<'_>, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let mut length = 0;
    while length < buffer.len() {
        match rustix::io::retry_on_intr(|| rustix::io::read(file, &mut buffer[length..]))? {
            0 => break,
            read => length += read,
        }
    }
    Ok(&buffer[..length])
}

fn fill_from(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn write_all(out: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(out, bytes))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

/// Writes at a place of the file's; the file's own position does not count and stays.
pub(super) fn write_all_at(out: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::pwrite(out, bytes, at))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => (bytes, at) = (&bytes[written..], at + written as u64),
        }
    }
    Ok(())
}
