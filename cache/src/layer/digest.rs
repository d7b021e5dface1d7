//! The digest of a file's bytes, by all cores when it is a large one.
//!
//! BLAKE3 is a tree: a part whose length is a power of two, at a multiple of that length, is a subtree of
//! its own (BLAKE3's paper, §2.1). So each thread reads and hashes parts of the file, and what is left to
//! do by one is a handful of hashes.

use std::io;

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use kiln_ir::Digest;
use rayon::prelude::*;
use rustix::fd::{AsFd, BorrowedFd};

use super::content::with_buffer;

/// How much of a large file one thread hashes at a time: a power of two.
const PART_BYTES: u64 = 4 * 1024 * 1024;
/// Files shorter than this are hashed by the thread that asks: others have files of their own to hash.
pub(super) const LARGE_BYTES: u64 = 4 * PART_BYTES;

/// Who is shown what is hashed.
type Show<'a> = dyn Fn(u64, &[u8]) + Sync + 'a;

/// The digest of the first `size_bytes` of an open regular file.
///
/// # Errors
/// When reading fails; `UnexpectedEof` when the file has become shorter.
pub(crate) fn digest_file(file: impl AsFd, size_bytes: u64) -> io::Result<Digest> {
    digest_file_showing(file, size_bytes, &|_, _| {})
}

/// The same; each piece is shown to `show` with its offset, by several threads and in any order.
///
/// # Errors
/// As for [`digest_file`].
pub(crate) fn digest_file_showing(
    file: impl AsFd,
    size_bytes: u64,
    show: &Show<'_>,
) -> io::Result<Digest> {
    let file = file.as_fd();
    if size_bytes == 0 {
        return Ok(Digest::of(b""));
    }
    let hash = if size_bytes < LARGE_BYTES {
        let mut hasher = blake3::Hasher::new();
        hash_part(file, (0, size_bytes), &mut hasher, show)?;
        hasher.finalize()
    } else {
        let parts: io::Result<Vec<ChainingValue>> = (0..size_bytes.div_ceil(PART_BYTES))
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|number| {
                let start = number * PART_BYTES;
                let mut hasher = blake3::Hasher::new();
                hasher.set_input_offset(start);
                let end = size_bytes.min(start + PART_BYTES);
                hash_part(file, (start, end), &mut hasher, show)?;
                Ok(hasher.finalize_non_root())
            })
            .collect();
        let parts = parts?;
        let (left, right) = parts.split_at(left_parts(parts.len()));
        merge_subtrees_root(&merge(left), &merge(right), Mode::Hash)
    };
    Ok(Digest::from_bytes(*hash.as_bytes()))
}

/// Hashes the bytes from the first offset up to the second.
fn hash_part(
    file: BorrowedFd<'_>,
    (mut start, end): (u64, u64),
    hasher: &mut blake3::Hasher,
    show: &Show<'_>,
) -> io::Result<()> {
    with_buffer(|buffer| {
        while start < end {
            let wanted = usize::try_from(end - start).unwrap_or(usize::MAX).min(buffer.len());
            let into = &mut buffer[..wanted];
            let read =
                match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *into, start))? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => read,
                };
            show(start, &buffer[..read]);
            hasher.update(&buffer[..read]);
            start += read as u64;
        }
        Ok(())
    })
}

/// The node above some parts, of which there is at least one.
fn merge(parts: &[ChainingValue]) -> ChainingValue {
    if let [one] = parts {
        return *one;
    }
    let (left, right) = parts.split_at(left_parts(parts.len()));
    merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
}

/// How many of so many parts, two or more, are on the left of the node above them: the greatest power of
/// two that leaves something for the right.
fn left_parts(parts: usize) -> usize {
    parts.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Mutex;

    use super::*;

    /// Whatever the length, as one thread would have it.
    #[test]
    fn parts_make_the_whole() {
        let bytes: Vec<u8> = (0..9 * PART_BYTES).map(|at| ((at * at) >> 7) as u8).collect();
        let whole = LARGE_BYTES as usize;
        let part = PART_BYTES as usize;
        for length in [
            0,
            1,
            1024,
            300_000,
            whole - 1,
            whole,
            whole + 1,
            whole + part - 1,
            whole + part,
            whole + part + 1025,
            7 * part + 5,
            8 * part,
            9 * part,
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes[..length]).unwrap();
            let digest = digest_file(&file, length as u64).unwrap();
            assert_eq!(digest, Digest::of(&bytes[..length]), "{length} bytes");
            let shown = Mutex::new(vec![0; length]);
            let show = |at: u64, piece: &[u8]| {
                let at = at as usize;
                for (to, from) in shown.lock().unwrap()[at..at + piece.len()].iter_mut().zip(piece)
                {
                    *to ^= from;
                }
            };
            let again = digest_file_showing(&file, length as u64, &show).unwrap();
            assert_eq!(again, digest, "{length} bytes");
            assert!(shown.lock().unwrap()[..] == bytes[..length], "{length} bytes, each once");
            let longer = digest_file(&file, length as u64 + 1).unwrap_err();
            assert_eq!(longer.kind(), io::ErrorKind::UnexpectedEof, "{length} bytes");
        }
    }
}
