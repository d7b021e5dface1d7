//! Relative slash-separated paths as bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest path, in bytes: what the kernel takes in one call, without its NUL.
pub(crate) const PATH_MAX_BYTES: usize = 4095;
/// The longest component, in bytes.
pub(crate) const NAME_MAX_BYTES: usize = 255;

/// The path in the form that the standard library wants.
pub(crate) fn host(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// Splits into the parent's path (empty for the root) and the last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Appends a component.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    if !parent.is_empty() {
        path.extend_from_slice(parent);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// The proper ancestors from the top down, without the root: `a`, `a/b` for `a/b/c`.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(slash, _)| &path[..slash])
}

/// Whether `path` may name an entry: relative, clean, neither empty nor too long.
pub(crate) fn is_clean(path: &[u8]) -> bool {
    path.len() <= PATH_MAX_BYTES && path.split(|&byte| byte == b'/').all(is_name)
}

/// Whether `name` may be that of an entry in its directory.
pub(crate) fn is_name(name: &[u8]) -> bool {
    let is_clean = |byte: &u8| !matches!(byte, 0 | b'/');
    !matches!(name, b"" | b"." | b"..") && name.len() <= NAME_MAX_BYTES && name.iter().all(is_clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_paths_name_entries() {
        for good in [&b"a"[..], b"a/b", b"...", b"a/..b", b"\xff/\n"] {
            assert!(is_clean(good), "{good:?}");
        }
        for bad in [&b""[..], b"/", b"/a", b"a/", b"a//b", b".", b"a/..", b"a/./b", b"a\0b"] {
            assert!(!is_clean(bad), "{bad:?}");
        }
        assert!(!is_clean(&[b'a'; 256]));
        assert!(!is_clean(&b"a/".repeat(2048)[..4096]));
    }

    #[test]
    fn splits_and_joins() {
        for (path, parent, name) in [(&b"a"[..], &b""[..], &b"a"[..]), (b"a/b/c", b"a/b", b"c")] {
            assert_eq!(split(path), (parent, name));
            assert_eq!(join(parent, name), path);
        }
        assert_eq!(ancestors(b"a/b/c").collect::<Vec<_>>(), [&b"a"[..], b"a/b"]);
        assert_eq!(ancestors(b"a").count(), 0);
    }
}
