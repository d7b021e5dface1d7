//! Whose a copied file is: `--chown`, with names looked up in the filesystem that is changed.

use kiln_ir::OwnerSpec;

use crate::select::{SelectError, nearest_names};
use crate::view::View;

/// Far more than any list of users: what is longer is none.
const LIST_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A user and a group by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Owner {
    /// Looks up `user[:group]` in the `/etc/passwd` and `/etc/group` of `base`. A number stands for
    /// itself, and a user's number alone for the group of the same number; a name alone brings its primary
    /// group. No user is root.
    ///
    /// # Errors
    /// [`SelectError::UnknownOwner`], or when the lists cannot be read.
    pub fn look_up(spec: &OwnerSpec, base: &View) -> Result<Self, SelectError> {
        let (user, group) = match spec.0.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (spec.0.as_str(), None),
        };
        let mut owner = match user.parse() {
            _ if user.is_empty() => Self::default(),
            Ok(number) => Self { uid: number, gid: number },
            Err(_) => {
                let lists = read(base, "etc/passwd")?;
                let found = named(&lists, user).and_then(|fields| {
                    Some(Self { uid: number(&fields, 2)?, gid: number(&fields, 3)? })
                });
                found.ok_or_else(|| unknown("user", user, &lists))?
            }
        };
        if let Some(group) = group {
            owner.gid = match group.parse() {
                Ok(number) => number,
                Err(_) => {
                    let lists = read(base, "etc/group")?;
                    let found = named(&lists, group).and_then(|fields| number(&fields, 2));
                    found.ok_or_else(|| unknown("group", group, &lists))?
                }
            };
        }
        Ok(owner)
    }
}

/// The text of a list; empty when there is none.
fn read(base: &View, path: &str) -> Result<String, SelectError> {
    let content = base.read_small(path.as_bytes(), LIST_MAX_BYTES)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// The fields of the first line for `name`.
fn named<'a>(list: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut lines = list.lines().map(|line| line.trim().split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))
}

fn number(fields: &[&str], index: usize) -> Option<u32> {
    fields.get(index)?.parse().ok()
}

fn unknown(what: &'static str, name: &str, list: &str) -> SelectError {
    let names = list.lines().filter_map(|line| line.split(':').next());
    let names = names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned);
    SelectError::UnknownOwner { what, name: name.to_owned(), nearest: nearest_names(name, names) }
}
