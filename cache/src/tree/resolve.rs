//! Following symbolic links by name, inside a root.

use super::{manifest::lossy, paths};
use crate::CacheError;

/// The kernel's own limit.
const LINKS_MAX: usize = 40;

/// What becomes of a symbolic link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// It is followed like any other.
    Follow,
    /// The link itself is meant.
    Keep,
}

/// Follows the links in `path`, where `link` gives the text of the one at a path, if there is one.
/// Absolute links start again at the root, and `..` stops there. What does not exist is kept as written.
pub(crate) fn resolve<'a>(
    path: &[u8],
    last: LastLink,
    link: impl Fn(&[u8]) -> Option<&'a [u8]>,
) -> Result<Vec<u8>, CacheError> {
    let mut done = Vec::with_capacity(path.len());
    let mut ahead: Vec<Vec<u8>> = Vec::new();
    push_components(&mut ahead, path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            done.truncate(paths::split(&done).0.len());
            continue;
        }
        let candidate = paths::join(&done, &name);
        let kept = last == LastLink::Keep && ahead.is_empty();
        match if kept { None } else { link(&candidate) } {
            None => done = candidate,
            Some(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(CacheError::TooManyLinks { path: lossy(path) });
                }
                if target.first() == Some(&b'/') {
                    done.clear();
                }
                push_components(&mut ahead, target);
            }
        }
    }
    Ok(done)
}

/// Pushes the components so that the first is popped first.
fn push_components(ahead: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.split(|&byte| byte == b'/').rev();
    ahead.extend(components.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &[u8], last: LastLink) -> Result<String, CacheError> {
        let links: &[(&str, &str)] = &[
            ("lib", "usr/lib"),
            ("usr/lib/self", "."),
            ("etc/abs", "/usr/../lib"),
            ("etc/up", "../../../../lib/x"),
            ("etc/loop", "loop"),
        ];
        let link = |path: &[u8]| {
            links.iter().find(|(from, _)| from.as_bytes() == path).map(|(_, to)| to.as_bytes())
        };
        resolve(path, last, link).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        for (path, followed, kept) in [
            ("lib", "usr/lib", "lib"),
            ("lib/a", "usr/lib/a", "usr/lib/a"),
            ("lib/../b", "usr/b", "usr/b"),
            ("lib/self/self/c", "usr/lib/c", "usr/lib/c"),
            ("etc/abs", "usr/lib", "etc/abs"),
            ("/etc/up/", "usr/lib/x", "etc/up"),
            ("../..//etc/./none", "etc/none", "etc/none"),
            ("", "", ""),
        ] {
            assert_eq!(at(path.as_bytes(), LastLink::Follow).unwrap(), followed, "{path}");
            assert_eq!(at(path.as_bytes(), LastLink::Keep).unwrap(), kept, "{path}");
        }
        assert!(matches!(at(b"etc/loop", LastLink::Follow), Err(CacheError::TooManyLinks { .. })));
        assert_eq!(at(b"etc/loop", LastLink::Keep).unwrap(), "etc/loop");
    }
}
