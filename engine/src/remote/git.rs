//! A directory of a commit as a layer.
//!
//! Repositories are kept bare in the store, one for each remote, and only what is asked for is fetched, without
//! history. A branch or tag is looked up in every build; a commit that was fetched before costs no request.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_cache::{LayerRef, RemoteRow, RepositoryGuard};
use kiln_frontend::redact;
use kiln_ir::{ContentHash as _, GitSource};
use kiln_solver::Stream;

use super::checkout::Checkout;
use super::command::{Git, Reach};
use super::http::host_name;
use super::refs::{Found, Refs};
use super::{Access, RemoteError};
use crate::{Engine, EngineError};

/// A commit in the store.
#[derive(Debug, Clone)]
pub(crate) struct FetchedCommit {
    /// The files that are wanted of it.
    pub(crate) layer: LayerRef,
    /// When it was committed, in seconds since 1970.
    pub(crate) time: Option<i64>,
}

/// A repository that this process holds, with what is needed to fetch into it.
pub(super) struct Repository {
    guard: RepositoryGuard,
    /// Without a name or password.
    pub(super) remote: String,
    shown: String,
    headers: Vec<(String, String)>,
}

impl Engine {
    /// Brings the files of a commit into the store.
    pub(crate) fn fetch_git(
        &self,
        git: &GitSource,
        access: &Access<'_>,
    ) -> Result<FetchedCommit, EngineError> {
        let repository = self.repository(&git.remote, &git.remote, access)?;
        let found = match git.commit() {
            Some(commit) => Found { commit: commit.to_owned(), reference: commit.to_owned() },
            None => repository.resolve(git.reference.as_deref(), access)?,
        };
        if let Some(expected) = git.checksum.as_ref().filter(|sum| !found.commit.starts_with(*sum))
        {
            let name = git.reference.clone().unwrap_or_else(|| "HEAD".to_owned());
            let (remote, expected) = (repository.shown.clone(), expected.clone());
            return Err(RemoteError::Commit { remote, name, expected, actual: found.commit }.into());
        }
        let told = format!("{} {}\n", found.commit, found.reference);
        access.report.output(Stream::Stderr, told.as_bytes());
        let exact = GitSource { reference: Some(found.commit.clone()), ..git.clone() };
        let wanted = exact.digest("kiln commit 1");
        if let Some(row) = self.known_remote(&wanted)? {
            let time = row.last_modified.and_then(|text| text.parse().ok());
            return Ok(FetchedCommit { layer: LayerRef::new(row.layer), time });
        }
        repository.fetch(&found, access)?;
        let layer = Checkout::new(self, git, access)?.layer(&repository, &found.commit)?;
        let time = repository.commit_time(&found.commit, access)?;
        let row = RemoteRow {
            version: Some(found.commit),
            last_modified: time.map(|time| time.to_string()),
            layer,
        };
        self.store.put_remote(&wanted, &row)?;
        Ok(FetchedCommit { layer: LayerRef::new(layer), time })
    }

    /// Takes the repository of a remote; `top` is the remote that the build names, of which this one may be
    /// a submodule.
    pub(super) fn repository(
        &self,
        remote: &str,
        top: &str,
        access: &Access<'_>,
    ) -> Result<Repository, EngineError> {
        let (remote, in_address) = without_password(remote);
        let headers = headers(&remote, top, in_address, access)?;
        let guard = self.store.acquire_repository(&remote, &|| access.cancel.is_cancelled())?;
        let repository = Repository { guard, shown: redact(&remote), remote, headers };
        if !repository.guard.path().join("HEAD").is_file() {
            let arguments = ["init", "--quiet", "--bare", "--template="];
            repository.git(access).run("make a repository for", Reach::Nothing, &arguments)?;
        }
        Ok(repository)
    }
}

impl Repository {
    /// Calls of git on it.
    pub(super) fn git<'a>(&'a self, access: &'a Access<'a>) -> Git<'a> {
        Git { dir: self.guard.path(), shown: &self.shown, headers: &self.headers, access }
    }

    /// Where it is in the store.
    pub(super) fn path(&self) -> &Path {
        self.guard.path()
    }

    /// The remote in messages.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    fn resolve(&self, name: Option<&str>, access: &Access<'_>) -> Result<Found, EngineError> {
        let git = self.git(access);
        let listing = git.run(
            "list the branches and tags of",
            Reach::Network,
            &["ls-remote", "--", &self.remote],
        )?;
        let refs = Refs::parse(&listing);
        refs.find(name).ok_or_else(|| {
            let name = name.unwrap_or("HEAD").to_owned();
            let near = refs.nearest(&name);
            RemoteError::Reference { remote: self.shown.clone(), name, near }.into()
        })
    }

    /// Fetches a commit, if it is not here. Servers differ in what they give: a commit by its name, alone;
    /// else what has the name; else everything.
    pub(super) fn fetch(&self, found: &Found, access: &Access<'_>) -> Result<(), EngineError> {
        if self.has(&found.commit, access)? {
            return Ok(());
        }
        let kept = |wanted: &str| format!("+{wanted}:refs/kiln/{}", found.commit);
        let everything =
            ["+refs/heads/*:refs/kiln/heads/*", "+refs/tags/*:refs/kiln/tags/*"].map(str::to_owned);
        let tries: [(&[&str], &[String]); 3] = [
            (&["--depth=1"], &[kept(&found.commit)]),
            (&["--depth=1"], &[kept(&found.reference)]),
            (&[], &everything),
        ];
        let mut first = None;
        for (options, wanted) in tries {
            let fetch = ["fetch", "--quiet", "--no-tags", "--force", "--no-write-fetch-head"];
            let mut arguments: Vec<&str> = fetch.iter().chain(options).copied().collect();
            arguments.extend(["--", &self.remote]);
            arguments.extend(wanted.iter().map(String::as_str));
            let result = self.git(access).run("fetch from", Reach::Network, &arguments);
            match result {
                Err(EngineError::Cancelled) => return Err(EngineError::Cancelled),
                // What the first way failed of says most.
                Err(error) => drop(first.get_or_insert(error)),
                Ok(_) if self.has(&found.commit, access)? => return Ok(()),
                Ok(_) => {}
            }
        }
        Err(first.unwrap_or_else(|| {
            let (remote, name) = (self.shown.clone(), found.reference.clone());
            RemoteError::Reference { remote, name, near: None }.into()
        }))
    }

    fn has(&self, commit: &str, access: &Access<'_>) -> Result<bool, EngineError> {
        let arguments = ["cat-file", "-e", &format!("{commit}^{{commit}}")];
        match self.git(access).run("look into", Reach::Nothing, &arguments) {
            Ok(_) => Ok(true),
            Err(EngineError::Remote(RemoteError::Git { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn commit_time(&self, commit: &str, access: &Access<'_>) -> Result<Option<i64>, EngineError> {
        let arguments = ["rev-list", "--max-count=1", "--no-commit-header", "--format=%ct", commit];
        let time = self.git(access).run("read a commit of", Reach::Nothing, &arguments)?;
        Ok(String::from_utf8(time).ok().and_then(|text| text.trim().parse().ok()))
    }
}

/// An address of http without name and password, and these as a header.
fn without_password(remote: &str) -> (String, Option<String>) {
    let Some((scheme, after)) = remote.split_once("://").filter(|(s, _)| s.starts_with("http"))
    else {
        return (remote.to_owned(), None);
    };
    let authority = after.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        None => (remote.to_owned(), None),
        Some((user, host)) => {
            let pair = percent_encoding::percent_decode_str(user).collect::<Vec<u8>>();
            let pair = if user.contains(':') { pair } else { [pair, b":".to_vec()].concat() };
            let header = format!("Authorization: Basic {}", STANDARD.encode(pair));
            (format!("{scheme}://{host}{}", &after[authority.len()..]), Some(header))
        }
    }
}

/// The credential for a remote, with the beginning of the addresses that it is for. A secret that names no host
/// is for the host of `top` alone.
fn headers(
    remote: &str,
    top: &str,
    in_address: Option<String>,
    access: &Access<'_>,
) -> Result<Vec<(String, String)>, EngineError> {
    let Some((scheme, after)) = remote.split_once("://").filter(|(s, _)| s.starts_with("http"))
    else {
        return Ok(Vec::new());
    };
    let place = format!("{scheme}://{}/", after.split('/').next().unwrap_or_default());
    let host = host_name(remote);
    let mut ids = vec![format!("GIT_AUTH_HEADER.{host}"), format!("GIT_AUTH_TOKEN.{host}")];
    if host == host_name(top) {
        ids.extend(["GIT_AUTH_HEADER".to_owned(), "GIT_AUTH_TOKEN".to_owned()]);
    }
    let Some((index, value)) = access.secret(&ids)? else {
        return Ok(in_address.map(|header| (place, header)).into_iter().collect());
    };
    let unusable = || EngineError::Secret {
        id: ids[index].clone(),
        detail: "it holds what no header can".to_owned(),
    };
    let value = String::from_utf8(value.0.trim_ascii().to_vec()).map_err(|_| unusable())?;
    if value.contains(|c: char| c.is_control()) {
        return Err(unusable());
    }
    let value = match index % 2 {
        0 => value,
        _ => format!("Basic {}", STANDARD.encode(format!("x-access-token:{value}"))),
    };
    Ok(vec![(place, format!("Authorization: {value}"))])
}
