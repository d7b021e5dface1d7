//! Build contexts: directories of this machine, opened with what is known of them from earlier builds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_cache::context::{LocalTree, StatCache};
use kiln_frontend::{MAIN_CONTEXT, NamedContext};
use kiln_ir::{Digest, read_ignore_file};

use super::request::{BuildRequest, DockerfileSource};
use crate::{Engine, EngineError};

/// The usual ignore file.
const IGNORE_FILE: &str = ".dockerignore";

/// The contexts of one build.
#[derive(Debug)]
pub(super) struct Contexts {
    /// By the names that the graph knows them by.
    pub(super) trees: BTreeMap<String, Arc<LocalTree>>,
    /// What the frontend is told of the named ones.
    pub(super) named: BTreeMap<String, NamedContext>,
    /// The patterns of the main one's ignore file.
    pub(super) ignore: Vec<String>,
}

impl Engine {
    pub(super) fn open_contexts(&self, request: &BuildRequest) -> Result<Contexts, EngineError> {
        let mut trees = BTreeMap::new();
        let mut named = BTreeMap::new();
        trees.insert(MAIN_CONTEXT.to_owned(), self.open_context(&request.context)?);
        for (name, value) in &request.named_contexts {
            let context = named_context(name, value)?;
            if let NamedContext::Local { .. } = context {
                trees.insert(name.clone(), self.open_context(Path::new(value))?);
            }
            named.insert(name.clone(), context);
        }
        Ok(Contexts { trees, named, ignore: main_ignore(request)? })
    }

    fn open_context(&self, dir: &Path) -> Result<Arc<LocalTree>, EngineError> {
        let unusable =
            |source| EngineError::ReadFile { what: "build context", path: dir.to_owned(), source };
        let real = fs::canonicalize(dir).map_err(unusable)?;
        if !real.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        let cache = fs::read(self.stat_cache_path(&real)).unwrap_or_default();
        Ok(Arc::new(LocalTree::open(&real, StatCache::decode(&cache))?))
    }

    /// Keeps what this build learned of the contexts' files for the next one.
    pub(super) fn save_stat_caches(&self, contexts: &Contexts) {
        for tree in contexts.trees.values() {
            if let Some(bytes) = tree.stat_cache().encode()
                && let Err(error) = replace(&self.stat_cache_path(tree.path()), &bytes)
            {
                // Without it the next build reads more files, and nothing is wrong.
                tracing::warn!(%error, context = %tree.path().display(), "stat cache not saved");
            }
        }
    }

    /// A context's stat cache, by its real path.
    fn stat_cache_path(&self, real: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let name = Digest::of(real.as_os_str().as_bytes()).to_string();
        self.root().join("contexts").join(&name[..32])
    }
}

/// What a `--build-context` of this name and value stands for.
fn named_context(name: &str, value: &str) -> Result<NamedContext, EngineError> {
    let refused = |reason: String| Err(EngineError::NamedContext { name: name.to_owned(), reason });
    if name == MAIN_CONTEXT {
        return refused("it is the name of the build's own context; choose another".to_owned());
    }
    match value.split_once("://") {
        Some(("docker-image" | "oci-layout", _)) => {
            Ok(NamedContext::Image { reference: value.to_owned() })
        }
        Some((scheme, _)) => refused(format!(
            "`{scheme}://` is not supported yet; give a directory, `docker-image://` or \
             `oci-layout://`"
        )),
        None if !Path::new(value).is_dir() => refused(format!("`{value}` is not a directory")),
        None => {
            let ignore = read_ignore(&Path::new(value).join(IGNORE_FILE))?.unwrap_or_default();
            Ok(NamedContext::Local { ignore })
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile, in place of the context's `.dockerignore`.
fn main_ignore(request: &BuildRequest) -> Result<Vec<String>, EngineError> {
    if let DockerfileSource::File(path) = &request.dockerfile {
        let mut name = path.as_os_str().to_owned();
        name.push(IGNORE_FILE);
        if let Some(patterns) = read_ignore(Path::new(&name))? {
            return Ok(patterns);
        }
    }
    Ok(read_ignore(&request.context.join(IGNORE_FILE))?.unwrap_or_default())
}

fn read_ignore(path: &Path) -> Result<Option<Vec<String>>, EngineError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(read_ignore_file(&String::from_utf8_lossy(&bytes)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => {
            Err(EngineError::ReadFile { what: "ignore file", path: path.to_owned(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_contexts_are_directories_or_images() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IGNORE_FILE), "*.o\n").unwrap();
        let path = dir.path().to_str().unwrap();
        let known = |value| named_context("base", value).unwrap();
        assert!(matches!(known(path), NamedContext::Local { ignore } if ignore == ["*.o"]));
        for image in ["docker-image://alpine", "oci-layout:///srv/alpine"] {
            assert!(
                matches!(known(image), NamedContext::Image { reference } if reference == image)
            );
        }
        for (name, value, reason) in [
            ("context", path, "the build's own context"),
            ("base", "/nowhere/at/all", "`/nowhere/at/all` is not a directory"),
            ("base", "https://example.com/x.git", "`https://` is not supported yet"),
        ] {
            let error = named_context(name, value).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(name), "{error}");
        }
    }
}
