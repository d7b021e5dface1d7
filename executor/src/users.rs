//! Who `user[:group]` is, by the guest's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are Docker's: a number is always an id, whether or not the files know it; a user that they
//! know brings its group, home directory and, unless a group is named, the groups that list it.
//! Malformed lines are passed over.

use crate::report::Fault;

/// What the guest's files are called.
pub(crate) const PASSWD: &str = "/etc/passwd";
/// See [`PASSWD`].
pub(crate) const GROUP: &str = "/etc/group";

/// A user found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Groups besides `gid`, in the file's order.
    pub(crate) supplementary: Vec<u32>,
    pub(crate) home: String,
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Finds `spec`, which may be empty for root.
pub(crate) fn find(spec: &str, passwd: &[u8], group: &[u8]) -> Result<Found, Fault> {
    let (user, wanted_group) = match spec.split_once(':') {
        Some((user, group)) => (user, group),
        None => (spec, ""),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let known = users(passwd).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let mut found = match (&known, number) {
        (Some(entry), _) => Found {
            uid: entry.uid,
            gid: entry.gid,
            supplementary: Vec::new(),
            home: if entry.home.is_empty() { "/".to_owned() } else { entry.home.clone() },
        },
        (None, Some(uid)) => Found { uid, gid: 0, supplementary: Vec::new(), home: "/".to_owned() },
        (None, None) => return Err(unknown("user", user, PASSWD)),
    };
    if !wanted_group.is_empty() {
        found.gid = find_group(wanted_group, group)?;
    } else if let Some(entry) = known {
        found.supplementary = groups(group)
            .filter(|group| group.members.contains(&entry.name))
            .map(|group| group.gid)
            .collect();
    }
    Ok(found)
}

fn find_group(wanted: &str, group: &[u8]) -> Result<u32, Fault> {
    if let Ok(gid) = wanted.parse() {
        return Ok(gid);
    }
    groups(group)
        .find(|entry| entry.name == wanted)
        .map(|entry| entry.gid)
        .ok_or_else(|| unknown("group", wanted, GROUP))
}

fn unknown(kind: &str, name: &str, file: &str) -> Fault {
    Fault::UnknownName { kind: kind.to_owned(), name: name.to_owned(), file: file.to_owned() }
}

fn users(passwd: &[u8]) -> impl Iterator<Item = User> {
    lines(passwd).filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { return None };
        Some(User {
            name: (*name).to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: rest.get(1).map_or_else(String::new, |home| (*home).to_owned()),
        })
    })
}

fn groups(group: &[u8]) -> impl Iterator<Item = Group> {
    lines(group).filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, rest @ ..] = fields.as_slice() else { return None };
        let members = rest.first().map_or("", |members| members);
        Some(Group {
            name: (*name).to_owned(),
            gid: gid.parse().ok()?,
            members: members.split(',').map(|member| member.trim().to_owned()).collect(),
        })
    })
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes
        .split(|&byte| byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD_TEXT: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# note\nbroken\n\
        app:x:1000:1001:App:/home/app:/bin/sh\nbare:x:7:8\n\xff\xfe:x:9:9::/:/\n";
    const GROUP_TEXT: &[u8] = b"root:x:0:\nwheel:x:10:root,app\nstaff:x:50:app\nbad:x:no:app\n";

    fn check(spec: &str, expected: Result<(u32, u32, &[u32], &str), &str>) {
        let found = find(spec, PASSWD_TEXT, GROUP_TEXT);
        match (found, expected) {
            (Ok(found), Ok((uid, gid, groups, home))) => {
                assert_eq!((found.uid, found.gid), (uid, gid), "{spec}");
                assert_eq!((found.supplementary.as_slice(), found.home.as_str()), (groups, home));
            }
            (Err(Fault::UnknownName { name, .. }), Err(expected)) => assert_eq!(name, expected),
            (found, expected) => panic!("{spec}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn finds_as_docker_does() {
        check("", Ok((0, 0, &[10], "/root")));
        check("app", Ok((1000, 1001, &[10, 50], "/home/app")));
        check("1000", Ok((1000, 1001, &[10, 50], "/home/app")));
        check("app:staff", Ok((1000, 50, &[], "/home/app")));
        check("app:123", Ok((1000, 123, &[], "/home/app")));
        check("4242", Ok((4242, 0, &[], "/")));
        check("4242:7", Ok((4242, 7, &[], "/")));
        check("bare", Ok((7, 8, &[], "/")));
        check("nobody", Err("nobody"));
        check("app:nogroup", Err("nogroup"));
    }
}
