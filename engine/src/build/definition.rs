//! The Dockerfile of a build, with the files that it includes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::iter;
use std::path::Path;

use kiln_frontend::{
    BuildOptions, Checked, Diagnostic, Expansion, Extent, Facts, SourceText, check, expand,
};
use kiln_grammar::Parsed;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::contexts::Contexts;
use super::request::{BuildContext, BuildRequest, Definition, DockerfileSource};
use crate::error::Faulty;
use crate::{Engine, EngineError};

/// The most that is read of an included file, in bytes.
const FRAGMENT_LIMIT: u64 = 1 << 20;
/// How often a file is tried to which a link leads by `..`: while anybody on the machine mounts or renames
/// something, the kernel cannot tell where that leads, and says so.
const MAX_TRIES: usize = 1000;

/// A Dockerfile as it was read.
pub(super) struct Text {
    pub(super) source: SourceText,
    pub(super) parsed: Parsed,
}

/// Reads a file that is included, by its path in the context.
pub(super) type Fragments<'f> = &'f dyn Fn(&str) -> Result<Vec<u8>, EngineError>;

impl Engine {
    /// Reads the Dockerfile of a build whose contexts are open.
    pub(super) fn load_definition(
        &self,
        request: &BuildRequest,
        contexts: &Contexts,
    ) -> Result<Text, EngineError> {
        let fragment = |path: &str| match &request.context {
            BuildContext::Directory(dir) => read_fragment(dir, path),
            BuildContext::Address(_) | BuildContext::Stdin => {
                self.read_in_context(contexts, "included file", path)
            }
        };
        if let Some(bytes) = &contexts.dockerfile {
            return Text::of("-".to_owned(), bytes, &fragment);
        }
        match &request.dockerfile {
            Definition::Given(source) => Text::read(source, &fragment),
            Definition::InContext(name) => {
                let bytes = self.read_in_context(contexts, "Dockerfile", name)?;
                Text::of(name.clone(), &bytes, &fragment)
            }
        }
    }
}

impl Text {
    /// Reads a Dockerfile, be it well formed or not, and what it includes by `fragment`.
    pub(super) fn read(
        dockerfile: &DockerfileSource,
        fragment: Fragments<'_>,
    ) -> Result<Self, EngineError> {
        match dockerfile {
            DockerfileSource::Text(text) => Self::of("-".to_owned(), text.as_bytes(), fragment),
            DockerfileSource::File(path) => {
                let bytes = fs::read(path).map_err(unreadable("Dockerfile", path))?;
                Self::of(path.display().to_string(), &bytes, fragment)
            }
        }
    }

    /// Makes something of the bytes of a file of this name.
    pub(super) fn of(
        file: String,
        bytes: &[u8],
        fragment: Fragments<'_>,
    ) -> Result<Self, EngineError> {
        let source = include(SourceText::of_file(file, text(bytes)), fragment)?;
        let parsed = kiln_grammar::parse(source.text());
        Ok(Self { source, parsed })
    }

    /// The build checks.
    pub(super) fn check(&self, options: &BuildOptions, facts: &Facts, extent: Extent) -> Checked {
        check(&self.parsed, self.source.text(), options, facts, extent)
    }

    /// The file with what is to be said of it.
    pub(super) fn told(self, diagnostics: Vec<Diagnostic>) -> Faulty {
        Faulty { source: self.source, diagnostics }
    }
}

/// Refuses a file.
pub(super) fn faulty(text: &Text, diagnostics: Vec<Diagnostic>) -> EngineError {
    refused(text.source.clone(), diagnostics)
}

fn refused(source: SourceText, diagnostics: Vec<Diagnostic>) -> EngineError {
    EngineError::Dockerfile(Box::new(Faulty { source, diagnostics }))
}

/// Puts included files in their places.
fn include(source: SourceText, fragment: Fragments<'_>) -> Result<SourceText, EngineError> {
    let mut fragments = BTreeMap::new();
    loop {
        match expand(source.clone(), &fragments) {
            Ok(Expansion::Done(whole)) => return Ok(whole),
            Ok(Expansion::Need(paths)) => {
                for path in paths {
                    let bytes = fragment(&path)?;
                    fragments.insert(path, text(&bytes));
                }
            }
            Err((source, diagnostics)) => return Err(refused(source, diagnostics)),
        }
    }
}

/// Reads an included file of a directory.
pub(super) fn read_fragment(directory: &Path, path: &str) -> Result<Vec<u8>, EngineError> {
    read_inside(directory, path).map_err(unreadable("included file", &directory.join(path)))
}

/// Reads a small file of a directory, whose links lead nowhere outside of it.
fn read_inside(directory: &Path, path: &str) -> io::Result<Vec<u8>> {
    let root = File::open(directory)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = || rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve);
    let is_told = |opened: &rustix::io::Result<_>| !matches!(opened, Err(Errno::AGAIN));
    let opened = iter::repeat_with(open).take(MAX_TRIES).find(is_told);
    let file = File::from(opened.unwrap_or(Err(Errno::AGAIN))?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FRAGMENT_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FRAGMENT_LIMIT {
        let limit = format!("larger than {FRAGMENT_LIMIT} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, limit));
    }
    Ok(bytes)
}

/// As the reference does: what is no text is replaced, and refused by the grammar where it matters.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn unreadable(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::ReadFile { what, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn an_included_file_is_found_while_others_rename() {
        let context = tempfile::tempdir().unwrap();
        for name in ["a/b", "names/one"] {
            fs::create_dir_all(context.path().join(name)).unwrap();
        }
        fs::write(context.path().join("a/file"), "RUN true\n").unwrap();
        symlink(format!("a{}/file", "/b/..".repeat(20)), context.path().join("link")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let names = context.path().join("names");
                while !done.load(Ordering::Relaxed) {
                    fs::rename(names.join("one"), names.join("two")).unwrap();
                    fs::rename(names.join("two"), names.join("one")).unwrap();
                }
            });
            let read = (0..2_000).map(|_| read_inside(context.path(), "link"));
            let failed: Vec<_> = read.filter_map(Result::err).collect();
            done.store(true, Ordering::Relaxed);
            assert!(failed.is_empty(), "{} of 2,000: {:?}", failed.len(), failed[0]);
        });
    }
}
