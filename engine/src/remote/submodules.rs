//! Submodules: the commits that a commit names by path, each from a repository of its own.
//!
//! `git submodule` is not used: it runs what a repository's configuration says, and keeps repositories at places
//! that the commit chooses. Here a submodule's address is one of the forms that `ADD` takes, or relative to its
//! parent's; its files go to a path that leads through directories only.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_frontend::{Address, parse_address};

use super::RemoteError;
use super::checkout::{Checkout, make_dir};
use super::command::Reach;
use super::git::Repository;
use super::refs::Found;
use crate::EngineError;

/// How deep submodules may have submodules.
const MAX_DEPTH: usize = 10;
/// How many submodules one commit may have.
const MAX_SUBMODULES: usize = 1000;
/// The file that says where submodules come from.
const CONFIG: &str = ".gitmodules";
/// The mode that git gives an entry that is a submodule.
const GITLINK: &str = "160000";

/// A submodule as its parent names it.
#[derive(Debug, PartialEq, Eq)]
struct Submodule {
    path: String,
    commit: String,
}

impl Checkout<'_> {
    /// Fetches the submodules of a commit, and theirs, below `dir`, which holds the commit's files.
    pub(super) fn submodules(
        &self,
        parent: &Repository,
        commit: &str,
        dir: &Path,
    ) -> Result<(), EngineError> {
        self.submodules_at(parent, commit, dir, 1)
    }

    fn submodules_at(
        &self,
        parent: &Repository,
        commit: &str,
        dir: &Path,
        depth: usize,
    ) -> Result<(), EngineError> {
        let listing = parent.git(self.access).run(
            "list the files of",
            Reach::Nothing,
            &["ls-tree", "-r", "-z", "--full-tree", commit],
        )?;
        let submodules = parse_tree(&listing);
        if submodules.is_empty() {
            return Ok(());
        }
        let refuse = |path: &str, reason: String| {
            let (remote, path) = (parent.shown().to_owned(), path.to_owned());
            EngineError::from(RemoteError::Submodule { remote, path, reason })
        };
        if depth > MAX_DEPTH {
            return Err(refuse(&submodules[0].path, format!("it is the {depth}th inside another")));
        }
        if submodules.len() > MAX_SUBMODULES {
            let many = format!("there are {} of them", submodules.len());
            return Err(refuse(&submodules[0].path, many));
        }
        let addresses = self.addresses(parent, commit)?;
        for Submodule { path, commit } in submodules {
            let address = addresses.iter().find(|(known, _)| *known == path);
            let (_, address) = address
                .ok_or_else(|| refuse(&path, format!("`{CONFIG}` does not say where it is")))?;
            let remote = absolute(&parent.remote, address).ok_or_else(|| {
                refuse(&path, format!("`{address}` is not an address to fetch from"))
            })?;
            let place = place(dir, &path).map_err(|reason| refuse(&path, reason))?;
            let repository = self.engine.repository(&remote, &self.git.remote, self.access)?;
            let found = Found { commit: commit.clone(), reference: "HEAD".to_owned() };
            repository.fetch(&found, self.access)?;
            self.files(&repository, &commit, &place, &self.index())?;
            self.submodules_at(&repository, &commit, &place, depth + 1)?;
        }
        Ok(())
    }

    /// Paths of submodules with their addresses, as the commit's own file says.
    fn addresses(
        &self,
        parent: &Repository,
        commit: &str,
    ) -> Result<Vec<(String, String)>, EngineError> {
        let blob = format!("--blob={commit}:{CONFIG}");
        let arguments = ["config", &blob, "--null", "--list"];
        let listing =
            parent.git(self.access).run("read the submodules of", Reach::Nothing, &arguments);
        match listing {
            Ok(listing) => Ok(parse_config(&listing)),
            // There is no such file, or it is none.
            Err(EngineError::Remote(RemoteError::Git { .. })) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The submodules in what `git ls-tree -z` writes.
fn parse_tree(listing: &[u8]) -> Vec<Submodule> {
    let text = String::from_utf8_lossy(listing);
    let entries = text.split('\0').filter_map(|entry| entry.split_once('\t'));
    let links = entries.filter_map(|(what, path)| {
        let mut words = what.split(' ');
        let (mode, _kind, commit) = (words.next()?, words.next()?, words.next()?);
        (mode == GITLINK).then(|| Submodule { path: path.to_owned(), commit: commit.to_owned() })
    });
    links.collect()
}

/// Paths and addresses in what `git config --null --list` writes: `submodule.NAME.path`, newline, value.
fn parse_config(listing: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(listing);
    let settings: Vec<(&str, &str, &str)> = (text.split('\0'))
        .filter_map(|entry| entry.split_once('\n'))
        .filter_map(|(key, value)| {
            let (name, what) = key.strip_prefix("submodule.")?.rsplit_once('.')?;
            Some((name, what, value))
        })
        .collect();
    let of = |name: &str, what: &str| {
        settings.iter().rev().find(|(n, w, _)| *n == name && *w == what).map(|(_, _, value)| *value)
    };
    let paths = settings.iter().filter(|(_, what, _)| *what == "path");
    paths
        .filter_map(|(name, _, path)| Some(((*path).to_owned(), of(name, "url")?.to_owned())))
        .collect()
}

/// A submodule's address: relative to the parent's when it begins with `./` or `../`, but not beyond its host.
fn absolute(parent: &str, address: &str) -> Option<String> {
    let address = match address.starts_with("./") || address.starts_with("../") {
        true => relative(parent, address)?,
        false => address.to_owned(),
    };
    // What has no `.git` at its end is a repository all the same.
    let probe = if address.ends_with(".git") { address.clone() } else { format!("{address}.git") };
    match parse_address(&probe) {
        Ok(Some(Address::Git(git))) if git.remote == probe => Some(address),
        _ => None,
    }
}

fn relative(parent: &str, address: &str) -> Option<String> {
    let (root, path) = match parent.split_once("://") {
        Some((scheme, after)) => {
            let (host, path) = after.split_once('/').unwrap_or((after, ""));
            (format!("{scheme}://{host}/"), path)
        }
        None => {
            let (host, path) = parent.split_once(':')?;
            let slash = if path.starts_with('/') { "/" } else { "" };
            (format!("{host}:{slash}"), path)
        }
    };
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for part in address.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(format!("{root}{}", parts.join("/")))
}

/// The directory for a submodule's files: git made it empty, or it is made here. No link is followed.
fn place(dir: &Path, path: &str) -> Result<PathBuf, String> {
    let mut place = dir.to_owned();
    for part in path.split('/') {
        let is_git =
            part.eq_ignore_ascii_case(".git") || part.to_ascii_lowercase().starts_with("git~");
        if matches!(part, "" | "." | "..") || is_git {
            return Err("its path leads out of the repository".to_owned());
        }
        place.push(part);
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err("something that is no directory is in its place".to_owned()),
            Err(_) => make_dir(&place).map_err(|error| error.to_string())?,
        }
    }
    let mut inside = fs::read_dir(&place).map_err(|error| error.to_string())?;
    match inside.next() {
        None => Ok(place),
        Some(_) => Err("its directory is not empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_the_forms_that_are_fetched() {
        let parent = "https://h.example/a/b.git";
        for (address, expected) in [
            ("https://other/x", Some("https://other/x")),
            ("https://other/x.git", Some("https://other/x.git")),
            ("git@h:x", Some("git@h:x")),
            ("../c.git", Some("https://h.example/a/c.git")),
            ("../../c", Some("https://h.example/c")),
            ("./c", Some("https://h.example/a/b.git/c")),
            ("../../../c", None),
            ("../../../../c", None),
            ("file:///etc", None),
            ("/etc", None),
            ("ext::sh -c id", None),
            ("-u./x", None),
            ("ssh://-oProxyCommand=id/x", None),
            ("https://h/x#y", None),
            ("", None),
        ] {
            assert_eq!(absolute(parent, address).as_deref(), expected, "{address}");
        }
        assert_eq!(absolute("git@h:a/b.git", "../c.git").as_deref(), Some("git@h:a/c.git"));
        assert_eq!(absolute("git@h:b.git", "../c.git").as_deref(), Some("git@h:c.git"));
        assert_eq!(absolute("git@h:b.git", "../../c.git"), None);
        assert_eq!(absolute("https://h:8/a.git", "../b").as_deref(), Some("https://h:8/b"));
        assert_eq!(absolute("https://h:8/a.git", "../../b"), None);
    }

    #[test]
    fn listings_are_read() {
        let tree = b"100644 blob aa\tfile\x00160000 commit bb\tlib/a b\x00120000 blob cc\tlink\0";
        let found = parse_tree(tree);
        assert_eq!(found, [Submodule { path: "lib/a b".to_owned(), commit: "bb".to_owned() }]);
        let config = b"submodule.a.b.path\nlib/a\0submodule.a.b.url\nhttps://h/a\0\
            submodule.x.path\nlib/x\0submodule.a.b.update\n!rm -rf /\0core.x\ny\0";
        let pair = ("lib/a".to_owned(), "https://h/a".to_owned());
        assert_eq!(parse_config(config), [pair]);
    }

    #[test]
    fn places_lead_through_directories_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("full")).unwrap();
        fs::write(root.join("full/file"), "").unwrap();
        std::os::unix::fs::symlink("/", root.join("link")).unwrap();
        assert_eq!(place(root, "a/b").unwrap(), root.join("a/b"));
        for path in [
            "",
            "/etc",
            "../x",
            "a/../../x",
            ".git/hooks",
            "a/.GIT",
            "git~1/x",
            "link/tmp",
            "link",
            "full",
            "full/file",
            "a//b",
            ".",
        ] {
            assert!(place(root, path).is_err(), "{path}");
        }
    }
}
