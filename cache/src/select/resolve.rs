//! Following symbolic links inside a tree that may fail to be read.
//!
//! Absolute links start again at the tree's root and `..` stops there, so no path leads out.

use super::{Peek, SelectError, shown};
use crate::tree::{LastLink, paths};

/// The kernel's own limit.
const LINKS_MAX: usize = 40;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Without links, but perhaps the last component. What does not exist is kept as written.
    pub(crate) path: Vec<u8>,
    /// What stands there.
    pub(crate) end: End,
}

/// What stands at the end of a resolved path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Dir,
    /// No directory, or a link that was not to be followed.
    Other,
    Missing,
    /// The path goes on below something that is no directory.
    NotADirectory,
}

/// Follows `path` by `peek`.
pub(crate) fn resolve(
    path: &[u8],
    last: LastLink,
    peek: impl Fn(&[u8]) -> Result<Option<Peek>, SelectError>,
) -> Result<Resolved, SelectError> {
    let mut resolved = Resolved { path: Vec::with_capacity(path.len()), end: End::Dir };
    let mut ahead: Vec<Vec<u8>> = Vec::new();
    push_components(&mut ahead, path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            let parent = paths::split(&resolved.path).0.len();
            resolved.path.truncate(parent);
            // Only a path that does not exist could have another end below than a directory.
            if resolved.end == End::Other {
                resolved.end = End::NotADirectory;
            }
            continue;
        }
        let candidate = paths::join(&resolved.path, &name);
        match resolved.end {
            End::Dir => {}
            End::Other => resolved.end = End::NotADirectory,
            End::Missing | End::NotADirectory => {}
        }
        if resolved.end != End::Dir {
            resolved.path = candidate;
            continue;
        }
        match peek(&candidate)? {
            Some(Peek::Symlink(target)) if last == LastLink::Follow || !ahead.is_empty() => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(SelectError::TooManyLinks { path: shown(path) });
                }
                if target.first() == Some(&b'/') {
                    resolved.path.clear();
                }
                push_components(&mut ahead, &target);
                continue;
            }
            Some(Peek::Dir) => {}
            Some(Peek::Other | Peek::Symlink(_)) => resolved.end = End::Other,
            None => resolved.end = End::Missing,
        }
        resolved.path = candidate;
    }
    Ok(resolved)
}

/// Pushes the components so that the first is popped first.
fn push_components(ahead: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.split(|&byte| byte == b'/').rev();
    ahead.extend(components.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec));
}
