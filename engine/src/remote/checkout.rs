//! From a commit in a repository to a layer.
//!
//! Files are checked out by `git read-tree` and `git checkout-index` into a fresh directory of the staging area:
//! no hook runs, and git itself refuses names such as `..` and `.git`. From there they are copied like those of
//! any context, so that no link leads out and owners do not count. Modes are those that git knows, whatever
//! this process's umask.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_cache::context::{LocalTree, StatCache};
use kiln_cache::copy::{Target, write_selection};
use kiln_cache::select::{RootContent, SelectError, select};
use kiln_cache::view::View;
use kiln_ir::{CopyOp, Digest, GitSource, GuestPath, ModeSpec};
use tempfile::TempDir;

use super::command::{Git, Reach};
use super::git::Repository;
use super::{Access, RemoteError};
use crate::export::write_error;
use crate::runner::now;
use crate::{Engine, EngineError};

/// What git keeps of a mode: whether a file is executable.
const MODE: &str = "u=rwX,go=rX";

/// A checkout in the making.
pub(super) struct Checkout<'a> {
    pub(super) engine: &'a Engine,
    pub(super) git: &'a GitSource,
    pub(super) access: &'a Access<'a>,
    /// Removed with all that is in it.
    scratch: TempDir,
}

impl<'a> Checkout<'a> {
    /// Makes room.
    pub(super) fn new(
        engine: &'a Engine,
        git: &'a GitSource,
        access: &'a Access<'a>,
    ) -> Result<Self, EngineError> {
        let staging = engine.store.staging_dir();
        let scratch = tempfile::tempdir_in(staging).map_err(write_error("checkout", staging))?;
        Ok(Self { engine, git, access, scratch })
    }

    /// Makes the layer of a commit that the repository has.
    pub(super) fn layer(
        &self,
        repository: &Repository,
        commit: &str,
    ) -> Result<Digest, EngineError> {
        let files = self.scratch.path().join("files");
        make_dir(&files)?;
        let mut index = self.index();
        if self.git.keep_git_dir {
            self.clone_into(repository, commit, &files)?;
            index = files.join(".git/index");
        }
        self.files(repository, commit, &files, &index)?;
        if self.git.submodules {
            self.submodules(repository, commit, &files)?;
        }
        self.import(repository, &files)
    }

    /// A file for git's index that does not stay.
    pub(super) fn index(&self) -> PathBuf {
        self.scratch.path().join("index")
    }

    /// Writes the files of a commit to a directory.
    pub(super) fn files(
        &self,
        repository: &Repository,
        commit: &str,
        dir: &Path,
        index: &Path,
    ) -> Result<(), EngineError> {
        let git = repository.git(self.access);
        let at = [("GIT_INDEX_FILE", index), ("GIT_WORK_TREE", dir)];
        git.run_with("read a commit of", Reach::Nothing, &["read-tree", commit], &at)?;
        // Without `-u`: an index that knows nothing of this machine's files is the same everywhere.
        let arguments = ["checkout-index", "--all", "--force", "--quiet"];
        git.run_with("check out a commit of", Reach::Nothing, &arguments, &at)?;
        Ok(())
    }

    /// Makes a repository of the one commit in `dir`, with the remote as its origin.
    fn clone_into(
        &self,
        repository: &Repository,
        commit: &str,
        dir: &Path,
    ) -> Result<(), EngineError> {
        let own = dir.join(".git");
        make_dir(&own)?;
        let shown = repository.shown();
        let git = Git { dir: &own, shown, headers: &[], access: self.access };
        let run = |reach, arguments: &[&str]| git.run("keep the repository", reach, arguments);
        run(Reach::Nothing, &["init", "--quiet", "--template=", "--initial-branch=kiln"])?;
        let from = repository.path().display().to_string();
        let fetch = ["fetch", "--quiet", "--no-tags", "--depth=1", "--no-write-fetch-head"];
        run(Reach::Store, &[&fetch[..], &["--", &from, commit]].concat())?;
        run(Reach::Nothing, &["update-ref", "--no-deref", "HEAD", commit])?;
        run(Reach::Nothing, &["config", "core.bare", "false"])?;
        run(Reach::Nothing, &["config", "remote.origin.url", &repository.remote])?;
        let fetched = "+refs/heads/*:refs/remotes/origin/*";
        run(Reach::Nothing, &["config", "remote.origin.fetch", fetched])?;
        Ok(())
    }

    /// Makes a layer of the wanted directory.
    fn import(&self, repository: &Repository, files: &Path) -> Result<Digest, EngineError> {
        let tree = LocalTree::open(files, StatCache::default())?;
        let copy = whole(&self.git.subdir);
        let no_directory = || RemoteError::Subdir {
            remote: repository.shown().to_owned(),
            subdir: self.git.subdir.relative().to_owned(),
        };
        let selection = match select(&tree, &copy) {
            Err(SelectError::Missing { .. }) => return Err(no_directory().into()),
            other => other?,
        };
        let is_dir = |content: &RootContent| matches!(content, RootContent::Directory(_));
        if !selection.roots().iter().all(|root| is_dir(&root.content)) {
            return Err(no_directory().into());
        }
        let base = View::new(&self.engine.layers, &[])?;
        let mut writer = self.engine.layers.writer(&[])?;
        let mut target = Target::new(&base, &mut writer, now());
        write_selection(&selection, &tree, &copy, &mut target)?;
        Ok(writer.finish()?)
    }
}

/// The copy of a directory's content to the root.
fn whole(dir: &GuestPath) -> CopyOp {
    CopyOp {
        input: 0,
        source: dir.as_str().to_owned(),
        wildcard: false,
        required: true,
        dest: GuestPath::root(),
        dest_is_dir: true,
        owner: None,
        mode: Some(ModeSpec::Symbolic(MODE.to_owned())),
        unpack: false,
        include: Vec::new(),
        exclude: Vec::new(),
        ignore: Vec::new(),
    }
}

/// Makes a directory that only its owner enters; what is in it has modes of its own in the layer.
pub(super) fn make_dir(path: &Path) -> Result<(), EngineError> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .map_err(write_error("checkout", path))
}
