//! Mounts that the old interface makes in one call, through libmount.
//!
//! Targets are paths that the caller knows to be safe: those of descriptors.

use std::io;
use std::path::Path;

use libmount::Tmpfs;

/// Mounts an empty filesystem in memory, of at most `size_bytes`.
pub(crate) fn tmpfs(at: &Path, size_bytes: Option<u64>, mode: u32) -> io::Result<()> {
    let mut tmpfs = Tmpfs::new(at).mode(mode);
    if let Some(size) = size_bytes {
        tmpfs = tmpfs.size_bytes(usize::try_from(size).unwrap_or(usize::MAX));
    }
    tmpfs.bare_mount().map_err(plain)
}

/// libmount's account of what was mounted where and what the system said, without its guesses at why.
fn plain(error: libmount::OSError) -> io::Error {
    io::Error::other(error.to_string())
}
