//! Addresses of files and of Git repositories, as `ADD`, a context and `--build-context` take them.
//!
//! The forms are BuildKit's: `https://host/repo.git#ref:subdir`, the same with a query
//! (`?ref=&branch=&tag=&commit=&checksum=&subdir=&submodules=&keep-git-dir=`), `ssh://…`, `git://…` and
//! `user@host:path`. An address of http or https is a repository when its path ends in `.git`, else a file.
//! What is refused here could be taken for an option or a second command by git: nothing that begins with `-`
//! and no reference that git itself would not make. Absent: whether anything is there.

use kiln_ir::{GitSource, GuestPath, HttpSource};
use percent_encoding::percent_decode_str;

/// The name of a download whose address gives it none.
const UNNAMED: &str = "__unnamed__";
/// Permission bits of a download.
const DOWNLOAD_MODE: u32 = 0o600;
/// The host of repositories that are named without a scheme.
const SHORTHAND: &str = "github.com/";

/// Something that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A file.
    Http(HttpSource),
    /// A repository.
    Git(GitAddress),
}

/// A repository and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitAddress {
    /// What git is given.
    pub remote: String,
    /// A branch, tag, full reference or commit; nothing for `HEAD`.
    pub reference: Option<String>,
    /// What the commit's name begins with, in lower-case hexadecimal digits.
    pub checksum: Option<String>,
    /// The directory wanted.
    pub subdir: GuestPath,
    /// Whether `.git` stays, where the address says.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched, where the address says.
    pub submodules: Option<bool>,
}

/// An address that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A host or a user that git would take for an option, or an address that is not one word.
    #[error(
        "`{remote}` is not the address of a repository: its host or user begins with `-`, or it holds a space"
    )]
    Remote {
        /// The repository.
        remote: String,
    },
    /// A name that no branch, tag or commit can have.
    #[error("`{name}` cannot be a branch, a tag or a commit")]
    Reference {
        /// The name.
        name: String,
    },
    /// A commit that is not written in hexadecimal digits.
    #[error("`{text}` is not the name of a commit, or its beginning, in hexadecimal digits")]
    Commit {
        /// The text.
        text: String,
    },
    /// A subdirectory that is no path.
    #[error("`{subdir}` is not a directory in a repository")]
    Subdir {
        /// The text.
        subdir: String,
    },
    /// A parameter that means nothing.
    #[error("a Git address has no parameter `{key}`")]
    UnknownParameter {
        /// The parameter.
        key: String,
    },
    /// A parameter without a value.
    #[error("the parameter `{key}` has no value")]
    NoValue {
        /// The parameter.
        key: String,
    },
    /// A parameter that is given twice.
    #[error("the parameter `{key}` is given twice")]
    Twice {
        /// The parameter.
        key: String,
    },
    /// A switch that is neither on nor off.
    #[error("the parameter `{key}` is `{value}`, neither `true` nor `false`")]
    NotBool {
        /// The parameter.
        key: String,
        /// Its value.
        value: String,
    },
    /// Two things said of what can be one only.
    #[error("`{one}` and `{other}` exclude each other")]
    Conflict {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
}

/// The parameters of a Git address.
pub(crate) const PARAMETERS: [&str; 8] =
    ["ref", "branch", "tag", "commit", "checksum", "subdir", "submodules", "keep-git-dir"];

/// What a source of `ADD` or a `--build-context` names on a network; nothing for a path.
///
/// # Errors
/// When it is plainly meant as a repository's address, and is wrong.
pub fn parse_address(text: &str) -> Result<Option<Address>, AddressError> {
    if let Some(scheme) = scheme(text) {
        let (rest, _) = split_once(text, &['?', '#']);
        return match scheme.as_str() {
            "http" | "https" if !rest.ends_with(".git") => Ok(Some(Address::Http(http(text)))),
            "http" | "https" | "git" | "ssh" => {
                let remote = format!("{scheme}{}", &text[scheme.len()..]);
                parse_git(&remote).map(|git| Some(Address::Git(git)))
            }
            _ => Ok(None),
        };
    }
    if !is_scp(text) {
        return Ok(None);
    }
    parse_git(text).map(|git| Some(Address::Git(git)))
}

/// As [`parse_address`], for the main context: a directory that is not there may be short for a repository,
/// `github.com/user/repo`.
///
/// # Errors
/// As [`parse_address`].
pub fn parse_context_address(text: &str) -> Result<Option<Address>, AddressError> {
    if text.starts_with(SHORTHAND) {
        return parse_git(&format!("https://{text}")).map(|git| Some(Address::Git(git)));
    }
    parse_address(text)
}

/// An address without what may be secret in it: user, password and the values of a query.
#[must_use]
pub fn redact(address: &str) -> String {
    let (place, rest) = split_once(address, &['?', '#']);
    let query =
        if address[place.len()..].starts_with('?') && !rest.is_empty() { "?…" } else { "" };
    let Some((scheme, after)) = place.split_once("://") else { return format!("{place}{query}") };
    let authority = after.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}{query}", &after[authority.len()..])
}

impl GitAddress {
    /// What is to be done; `keep_git_dir` counts where the address does not say.
    #[must_use]
    pub fn source(self, keep_git_dir: bool) -> GitSource {
        GitSource {
            remote: self.remote,
            reference: self.reference,
            checksum: self.checksum,
            subdir: self.subdir,
            keep_git_dir: self.keep_git_dir.unwrap_or(keep_git_dir),
            submodules: self.submodules.unwrap_or(true),
        }
    }
}

/// The scheme in lower case.
fn scheme(text: &str) -> Option<String> {
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    is_scheme.then(|| scheme.to_ascii_lowercase())
}

/// Whether a text is `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    word(user, &['-', '_']) && word(host, &['-', '.'])
}

/// A file, named by the last component of its address's path.
pub(crate) fn http(url: &str) -> HttpSource {
    HttpSource {
        url: url.to_owned(),
        checksum: None,
        filename: filename(url),
        mode: DOWNLOAD_MODE,
        uid: 0,
        gid: 0,
    }
}

fn filename(url: &str) -> String {
    let (place, _) = split_once(url, &['?', '#']);
    let after = place.split_once("://").map_or(place, |(_, after)| after);
    let path = after.split_once('/').map_or("", |(_, path)| path);
    let path = percent_decode_str(path).decode_utf8().unwrap_or_default();
    match path.trim_end_matches('/').rsplit('/').next().unwrap_or_default() {
        "" | "." | ".." => UNNAMED.to_owned(),
        name if name.contains('\0') => UNNAMED.to_owned(),
        name => name.to_owned(),
    }
}

fn parse_git(text: &str) -> Result<GitAddress, AddressError> {
    let (address, fragment) = split_once(text, &['#']);
    let (remote, query) = split_once(address, &['?']);
    if is_dangerous(remote) {
        return Err(AddressError::Remote { remote: redact(remote) });
    }
    let fragment = percent_decode_str(fragment).decode_utf8_lossy();
    let (reference, subdir) = split_once(&fragment, &[':']);
    let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut said = Said { reference: filled(reference), subdir: filled(subdir), ..Said::default() };
    said.read(query)?;
    let reference = said.reference.or_else(|| said.checksum.clone());
    if let Some(name) = reference.as_deref().filter(|name| !is_reference(name)) {
        return Err(AddressError::Reference { name: name.to_owned() });
    }
    let checksum = said.checksum.map(|text| commit_prefix(&text)).transpose()?;
    let subdir = said.subdir.unwrap_or_default();
    let subdir = GuestPath::new(&subdir).map_err(|_| AddressError::Subdir { subdir })?;
    let Said { keep_git_dir, submodules, .. } = said;
    let remote = remote.to_owned();
    Ok(GitAddress { remote, reference, checksum, subdir, keep_git_dir, submodules })
}

/// What a fragment and a query say.
#[derive(Default)]
struct Said {
    reference: Option<String>,
    checksum: Option<String>,
    subdir: Option<String>,
    keep_git_dir: Option<bool>,
    submodules: Option<bool>,
}

impl Said {
    fn read(&mut self, query: &str) -> Result<(), AddressError> {
        let mut seen: Vec<String> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = split_once(pair, &['=']);
            let (key, value) = (decode(key), decode(value));
            if seen.contains(&key) {
                return Err(AddressError::Twice { key });
            }
            self.parameter(&key, value)?;
            seen.push(key);
        }
        Ok(())
    }

    fn parameter(&mut self, key: &str, value: String) -> Result<(), AddressError> {
        let switch = match key {
            "keep-git-dir" => Some(&mut self.keep_git_dir),
            "submodules" => Some(&mut self.submodules),
            _ => None,
        };
        if let Some(switch) = switch {
            let no = || AddressError::NotBool { key: key.to_owned(), value: value.clone() };
            *switch = Some(parse_switch(&value).ok_or_else(no)?);
            return Ok(());
        }
        if !PARAMETERS.contains(&key) {
            return Err(AddressError::UnknownParameter { key: key.to_owned() });
        }
        if value.is_empty() {
            return Err(AddressError::NoValue { key: key.to_owned() });
        }
        match key {
            "subdir" => only(&mut self.subdir, value),
            "ref" => only(&mut self.reference, value),
            "tag" => only(&mut self.reference, below("refs/tags/", value)),
            "branch" => only(&mut self.reference, below("refs/heads/", value)),
            _ => only(&mut self.checksum, value),
        }
    }
}

/// Sets what is not set, or is set to the same.
fn only(slot: &mut Option<String>, value: String) -> Result<(), AddressError> {
    match slot {
        Some(known) if *known != value => {
            Err(AddressError::Conflict { one: known.clone(), other: value })
        }
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

fn below(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

fn parse_switch(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What a commit's name begins with, in lower case.
pub(crate) fn commit_prefix(text: &str) -> Result<String, AddressError> {
    let digits = text.to_ascii_lowercase();
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    if digits.is_empty() || digits.len() > 64 || !is_hex {
        return Err(AddressError::Commit { text: text.to_owned() });
    }
    Ok(digits)
}

/// Whether git would make a reference of this name (git-check-ref-format(1)), or it is a commit.
fn is_reference(name: &str) -> bool {
    let bad = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    !name.starts_with(['-', '+', '/'])
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("//")
        && !name.contains("@{")
        && name != "@"
        && !name.contains(bad)
        && name.split('/').all(|part| !part.starts_with('.') && !part.ends_with(".lock"))
}

/// Whether git could take the remote, or ssh its user or host, for an option or for several words.
fn is_dangerous(remote: &str) -> bool {
    let authority = match scheme(remote) {
        Some(scheme) => remote[scheme.len()..].trim_start_matches([':', '/']).split('/').next(),
        // What stands behind the colon may look like an address or a user.
        None => remote.split(':').next(),
    };
    let mut parts =
        [remote].into_iter().chain(authority.into_iter().flat_map(|all| all.split('@')));
    let spaced = remote.chars().any(|c| c.is_control() || c == ' ');
    parts.any(|part| part.starts_with('-')) || spaced
}

/// A query's key or value with its percent and plus signs resolved.
fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// What comes before and after the first of some characters.
fn split_once<'t>(text: &'t str, at: &[char]) -> (&'t str, &'t str) {
    match text.find(at) {
        Some(position) => (&text[..position], &text[position + 1..]),
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests;
