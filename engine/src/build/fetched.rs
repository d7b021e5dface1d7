//! Main contexts that are no directory: a commit, or a file that is an archive or a Dockerfile.
//!
//! The file comes by HTTP or on standard input. Its first bytes tell what it is; an archive is unpacked by the
//! same op that unpacks it for ADD, under the same limits, and is found again by its content.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use kiln_cache::Snapshot;
use kiln_cache::context::{LocalTree, StatCache};
use kiln_cache::select::{SelectError, SourceTree, select};
use kiln_cache::view::View;
use kiln_frontend::{
    CONTEXT_FILE, GitAddress, MAIN_CONTEXT, NoCache, downloaded_context, redact, unpacked_context,
};
use kiln_image::layer::sniff_archive;
use kiln_ir::{GraphBuilder, GuestPath, HttpSource, LocalSource, Op, SourceOp, VertexMeta};
use kiln_solver::{AfterFailure, Cancel, Limits, Narrator, Request, solve};

use super::contexts::{Contexts, Main};
use super::epoch::Dated;
use super::failed;
use super::request::BuildRequest;
use crate::export::write_error;
use crate::remote::Access;
use crate::runner::{Runner, Value, whole};
use crate::{Engine, EngineError};

/// The largest Dockerfile.
const MAX_DOCKERFILE_BYTES: u64 = 64 << 20;
/// The build argument that keeps `.git` in a context that is a commit.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// What works on a context before the build's own graph is known.
struct Opening<'a, 'n> {
    request: &'a BuildRequest,
    cancel: &'a Cancel,
    narrator: &'a mut Narrator<'n>,
}

impl Engine {
    /// A commit, with its time.
    pub(super) fn commit_context(
        &self,
        git: &GitAddress,
        request: &BuildRequest,
        cancel: &Cancel,
        narrator: &mut Narrator<'_>,
    ) -> Result<Main, EngineError> {
        let argument = request.parameters.build_args.get(KEEP_GIT_DIR);
        let keep = argument.is_some_and(|value| matches!(value.as_str(), "1" | "t" | "true"));
        let source = git.clone().source(keep);
        let name = format!("[internal] load git source {}", redact(&source.remote));
        let fetched = narrator.perform(&name, |report| {
            // Whoever starts the build names the repository: their agent may be asked.
            let agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
            let fresh = request.parameters.no_cache == NoCache::Everything;
            let access =
                Access { secrets: &request.supplies.secrets, report, cancel, agent, fresh };
            self.fetch_git(&source, &access)
        })?;
        let value = Value::of(Snapshot::of([fetched.layer]));
        let dated = fetched.time.map_or(Dated::No, Dated::At);
        Ok(Main { value, dockerfile: None, dated })
    }

    /// An archive by its address, or a Dockerfile, which is then the one file of the context.
    pub(super) fn downloaded_context(
        &self,
        http: &HttpSource,
        request: &BuildRequest,
        cancel: &Cancel,
        narrator: &mut Narrator<'_>,
    ) -> Result<Main, EngineError> {
        let (source, _) = downloaded_context(&http.url);
        let opening = Opening { request, cancel, narrator };
        let (value, dockerfile) = self.file_context(source, BTreeMap::new(), opening)?;
        Ok(Main { value, dockerfile, dated: Dated::No })
    }

    /// An archive on standard input, or a Dockerfile, which then has an empty context.
    pub(super) fn stdin_context(
        &self,
        request: &BuildRequest,
        cancel: &Cancel,
        narrator: &mut Narrator<'_>,
    ) -> Result<Main, EngineError> {
        let staging = self.store.staging_dir();
        let dir = tempfile::tempdir_in(staging).map_err(write_error("context", staging))?;
        let path = dir.path().join(CONTEXT_FILE);
        let mut file = File::create(&path).map_err(write_error("context", &path))?;
        io::copy(&mut io::stdin().lock(), &mut file).map_err(write_error("context", &path))?;
        let tree = Arc::new(LocalTree::open(dir.path(), StatCache::default())?);
        let values = BTreeMap::from([(MAIN_CONTEXT.to_owned(), Value::Context(tree))]);
        let source = Op::Source(SourceOp::Local(LocalSource { name: MAIN_CONTEXT.to_owned() }));
        let opening = Opening { request, cancel, narrator };
        let (mut value, dockerfile) = self.file_context(source, values, opening)?;
        if dockerfile.is_some() {
            value = Value::of(Snapshot::default());
        }
        Ok(Main { value, dockerfile, dated: Dated::No })
    }

    /// What the file of a source comes to: a context, and its bytes if it is no archive.
    fn file_context(
        &self,
        source: Op,
        values: BTreeMap<String, Value>,
        opening: Opening<'_, '_>,
    ) -> Result<(Value, Option<Vec<u8>>), EngineError> {
        let Opening { request, cancel, narrator } = opening;
        let mut graph = GraphBuilder::new();
        let named = |name: &str| VertexMeta {
            name: format!("[internal] {name}"),
            ignore_cache: request.parameters.no_cache == NoCache::Everything,
            ..VertexMeta::default()
        };
        let scratch = graph.add(Op::Source(SourceOp::Scratch), Vec::new(), named("empty context"));
        let file = graph.add(source, Vec::new(), named("load remote build context"));
        let files =
            graph.add(unpacked_context(), vec![scratch, file], named("unpack build context"));
        let graph = graph.finish();
        let (targets, limits) = ([file, files], Limits { jobs: request.conduct.jobs });
        let wanted = Request {
            graph: &graph,
            targets: &targets,
            limits,
            expected: &[],
            after_failure: AfterFailure::StopNeedless,
        };
        let runner = Runner::new(self, &graph, values, request, None);
        let mut solved = solve(&wanted, &runner, &self.store.records(), cancel, narrator)
            .map_err(|error| failed(error, |_| None))?;
        let files = solved.remove(1);
        let dockerfile = match solved.remove(0) {
            Value::Context(tree) => dockerfile_in(tree.as_ref())?,
            Value::Snapshot(snapshot) => dockerfile_in(&self.view_of(&snapshot)?)?,
        };
        Ok((files, dockerfile))
    }

    /// A file of the main context.
    pub(super) fn read_in_context(
        &self,
        contexts: &Contexts,
        what: &'static str,
        name: &str,
    ) -> Result<Vec<u8>, EngineError> {
        let unreadable =
            |source: io::Error| EngineError::ReadFile { what, path: name.into(), source };
        let path = GuestPath::new(name).map_err(|error| unreadable(io::Error::other(error)))?;
        let found = match &contexts.values[MAIN_CONTEXT] {
            Value::Context(tree) => read(tree.as_ref(), &path)?,
            Value::Snapshot(snapshot) => read(&self.view_of(snapshot)?, &path)?,
        };
        found.ok_or_else(|| unreadable(io::ErrorKind::NotFound.into()))
    }

    fn view_of(&self, snapshot: &Snapshot) -> Result<View, EngineError> {
        let layers: Vec<_> = snapshot.layers().iter().map(|layer| layer.digest).collect();
        Ok(View::new(&self.layers, &layers)?)
    }
}

/// The bytes of the file that should be a context, if it is no archive.
fn dockerfile_in<T: SourceTree>(tree: &T) -> Result<Option<Vec<u8>>, EngineError> {
    if sniff_archive(tree.open(CONTEXT_FILE.as_bytes())?).is_some() {
        return Ok(None);
    }
    let file = tree.open(CONTEXT_FILE.as_bytes())?;
    read_all(file, CONTEXT_FILE).map(Some)
}

/// A file, with links followed inside the tree; nothing where there is none.
fn read<T: SourceTree>(tree: &T, path: &GuestPath) -> Result<Option<Vec<u8>>, EngineError> {
    let selection = match select(tree, &whole(path)) {
        Ok(selection) => selection,
        Err(SelectError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(file) = selection.roots().first().and_then(|root| root.file()) else {
        return Ok(None);
    };
    read_all(tree.open(file.source())?, path.as_str()).map(Some)
}

fn read_all(file: File, name: &str) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::new();
    let read = file.take(MAX_DOCKERFILE_BYTES).read_to_end(&mut bytes);
    read.map_err(|source| EngineError::ReadFile { what: "Dockerfile", path: name.into(), source })?;
    Ok(bytes)
}
