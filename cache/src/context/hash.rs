//! Reading a file's content and attributes, sure that both are those of one stat.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::sync::Arc;

use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::NO_CONTENT;
use super::stat_cache::Known;
use crate::layer::{AheadCopy, LayerStore, digest_file, digest_file_showing};
use crate::stat::StatKey;

/// What reading gave, and the copy that was made meanwhile.
type Reading = (Known, Option<Arc<AheadCopy>>);

/// Reads what `key` describes, and copies it in the same go if that is asked for and can be. Nothing when `name` is
/// something else by now, or changed while it was read.
pub(super) fn read(
    dir: &OwnedFd,
    name: &CStr,
    key: &StatKey,
    copy_to: Option<&LayerStore>,
) -> Result<Option<Reading>, Errno> {
    let is_dir = FileType::from_raw_mode(key.mode) == FileType::Directory;
    let only = if is_dir { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | only;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    if StatKey::now(&file)? != *key {
        return Ok(None);
    }
    let xattrs = attributes(&file)?;
    let copying = copy_to.and_then(|layers| layers.copy_ahead(file.as_fd()));
    let digest = match &copying {
        _ if is_dir => Ok(NO_CONTENT),
        None => digest_file(&file, key.size_bytes),
        Some(copying) => {
            digest_file_showing(&file, key.size_bytes, &|at, bytes| copying.put(at, bytes))
        }
    };
    let digest = match digest {
        Ok(digest) => digest,
        // It became shorter.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    };
    if StatKey::now(&file)? != *key {
        return Ok(None);
    }
    let ahead = copying.and_then(|copying| copying.finish(*key, digest)).map(Arc::new);
    Ok(Some((Known { digest, xattrs }, ahead)))
}

/// The extended attributes that count.
fn attributes(file: &OwnedFd) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    let mut found = BTreeMap::new();
    let mut names = Vec::with_capacity(256);
    loop {
        match rustix::fs::flistxattr(file, rustix::buffer::spare_capacity(&mut names)) {
            Ok(_) => break,
            Err(Errno::OPNOTSUPP) => return Ok(found),
            Err(Errno::RANGE) => {
                names.clear();
                names.reserve(64 * 1024);
            }
            Err(errno) => return Err(errno),
        }
    }
    for name in names.split(|&byte| byte == 0).filter(|name| counts(name)) {
        // The kernel's limit for a value.
        let mut value = Vec::with_capacity(64 * 1024);
        match rustix::fs::fgetxattr(file, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => {
                value.shrink_to_fit();
                found.insert(name.to_vec(), value);
            }
            // Removed since it was listed: the stat that follows will tell.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

fn counts(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}
