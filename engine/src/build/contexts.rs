//! Build contexts: directories of this machine, opened with what is known of them from earlier builds, and what
//! was fetched or read from standard input, which is a snapshot like any other.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_cache::context::{LocalTree, StatCache};
use kiln_frontend::{Address, MAIN_CONTEXT, NamedContext, parse_context_address};
use kiln_ir::{Digest, read_ignore_file};
use kiln_solver::{Cancel, Narrator};

use super::epoch::Dated;
use super::request::{BuildContext, BuildRequest, Definition, DockerfileSource};
use crate::runner::Value;
use crate::{Engine, EngineError};

/// The usual ignore file.
const IGNORE_FILE: &str = ".dockerignore";

/// The contexts of one build.
#[derive(Debug)]
pub(super) struct Contexts {
    /// By the names that the graph knows them by.
    pub(super) values: BTreeMap<String, Value>,
    /// What the frontend is told of the named ones.
    pub(super) named: BTreeMap<String, NamedContext>,
    /// The patterns of the main one's ignore file.
    pub(super) ignore: Vec<String>,
    /// The Dockerfile that came in place of the main one.
    pub(super) dockerfile: Option<Vec<u8>>,
    /// What the main one says of its time.
    pub(super) dated: Dated,
}

impl Contexts {
    /// Those that are directories of this machine.
    fn trees(&self) -> impl Iterator<Item = &LocalTree> {
        self.values.values().filter_map(|value| match value {
            Value::Context(tree) => Some(tree.as_ref()),
            _ => None,
        })
    }
}

/// A main context.
pub(super) struct Main {
    /// Its files.
    pub(super) value: Value,
    /// The Dockerfile that came in its place.
    pub(super) dockerfile: Option<Vec<u8>>,
    /// What it says of its time.
    pub(super) dated: Dated,
}

impl Engine {
    pub(super) fn open_contexts(
        &self,
        request: &BuildRequest,
        cancel: &Cancel,
        narrator: &mut Narrator<'_>,
    ) -> Result<Contexts, EngineError> {
        let mut values = BTreeMap::new();
        let mut named = BTreeMap::new();
        for (name, value) in &request.named_contexts {
            let context = named_context(name, value)?;
            if let NamedContext::Local { .. } = context {
                let tree = self.open_context(Path::new(value))?;
                values.insert(name.clone(), Value::Context(tree));
            }
            named.insert(name.clone(), context);
        }
        let (main, ignore) = match &request.context {
            BuildContext::Directory(dir) => {
                // One that cannot be found is refused below.
                let real = fs::canonicalize(dir).unwrap_or_default();
                let memo = self.stat_cache_path(&real).with_extension("head");
                let dated = Dated::of_directory(dir, memo, &request.parameters.build_args);
                let value = Value::Context(self.open_context(dir)?);
                (Main { value, dockerfile: None, dated }, main_ignore(request, dir)?)
            }
            BuildContext::Address(Address::Git(git)) => {
                (self.commit_context(git, request, cancel, narrator)?, Vec::new())
            }
            BuildContext::Address(Address::Http(http)) => {
                (self.downloaded_context(http, request, cancel, narrator)?, Vec::new())
            }
            BuildContext::Stdin => (self.stdin_context(request, cancel, narrator)?, Vec::new()),
        };
        let Main { value, dockerfile, dated } = main;
        values.insert(MAIN_CONTEXT.to_owned(), value);
        Ok(Contexts { values, named, ignore, dockerfile, dated })
    }

    fn open_context(&self, dir: &Path) -> Result<Arc<LocalTree>, EngineError> {
        let unusable =
            |source| EngineError::ReadFile { what: "build context", path: dir.to_owned(), source };
        let real = fs::canonicalize(dir).map_err(unusable)?;
        if !real.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        let cache = StatCache::read_ahead(self.stat_cache_path(&real));
        Ok(Arc::new(LocalTree::open(&real, cache)?))
    }

    /// Does `work` and keeps, beside it, what this build learned of the contexts' files for the next one.
    pub(super) fn saving_stat_caches<T>(&self, contexts: &Contexts, work: impl FnOnce() -> T) -> T {
        if !contexts.trees().any(|tree| tree.stat_cache().has_news()) {
            return work();
        }
        std::thread::scope(|scope| {
            let save = || self.save_stat_caches(contexts);
            if std::thread::Builder::new().spawn_scoped(scope, save).is_err() {
                save();
            }
            work()
        })
    }

    /// Keeps what this build learned of the contexts' files for the next one.
    fn save_stat_caches(&self, contexts: &Contexts) {
        for tree in contexts.trees() {
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
    if value.starts_with("docker-image://") || value.starts_with("oci-layout://") {
        return Ok(NamedContext::Image { reference: value.to_owned() });
    }
    if Path::new(value).is_dir() {
        let ignore = read_ignore(&Path::new(value).join(IGNORE_FILE))?.unwrap_or_default();
        return Ok(NamedContext::Local { ignore });
    }
    match parse_context_address(value) {
        Ok(Some(Address::Git(git))) => Ok(NamedContext::Git(git.source(false))),
        Ok(Some(Address::Http(http))) => Ok(NamedContext::Http { url: http.url }),
        Ok(None) => match value.split_once("://") {
            Some((scheme, _)) => refused(format!(
                "`{scheme}://` is none of what a context comes from; give a directory, \
                 `docker-image://`, `oci-layout://`, or an address of http, https, ssh or git"
            )),
            None => refused(format!("`{value}` is not a directory")),
        },
        Err(error) => refused(error.to_string()),
    }
}

pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile, in place of the context's `.dockerignore`.
fn main_ignore(request: &BuildRequest, context: &Path) -> Result<Vec<String>, EngineError> {
    if let Definition::Given(DockerfileSource::File(path)) = &request.dockerfile {
        let mut name = path.as_os_str().to_owned();
        name.push(IGNORE_FILE);
        if let Some(patterns) = read_ignore(Path::new(&name))? {
            return Ok(patterns);
        }
    }
    Ok(read_ignore(&context.join(IGNORE_FILE))?.unwrap_or_default())
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
    fn named_contexts_are_directories_images_or_addresses() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IGNORE_FILE), "*.o\n").unwrap();
        let path = dir.path().to_str().unwrap();
        let known = |value| named_context("base", value).unwrap();
        assert!(matches!(known(path), NamedContext::Local { ignore } if ignore == ["*.o"]));
        assert!(matches!(known("https://h/x.git#v1"), NamedContext::Git(git)
            if git.reference.as_deref() == Some("v1")));
        assert!(
            matches!(known("https://h/x.tar"), NamedContext::Http { url } if url == "https://h/x.tar")
        );
        for image in ["docker-image://alpine", "oci-layout:///srv/alpine"] {
            assert!(
                matches!(known(image), NamedContext::Image { reference } if reference == image)
            );
        }
        for (name, value, reason) in [
            ("context", path, "the build's own context"),
            ("base", "/nowhere/at/all", "`/nowhere/at/all` is not a directory"),
            ("base", "ftp://example.com/x", "`ftp://` is none of what"),
            ("base", "https://example.com/x.git?refs=a", "no parameter `refs`"),
        ] {
            let error = named_context(name, value).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(name), "{error}");
        }
    }
}
