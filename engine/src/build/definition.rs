//! The Dockerfile of a build, with the files that it includes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use kiln_frontend::{
    BuildOptions, Checked, Diagnostic, Expansion, Extent, Facts, SourceText, check, expand,
};
use kiln_grammar::Parsed;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::contexts::Contexts;
use super::request::{BuildContext, BuildRequest, Definition, DockerfileSource};
use crate::error::Faulty;
use crate::{Engine, EngineError};

/// The most that is read of an included file, in bytes.
const FRAGMENT_LIMIT: u64 = 1 << 20;

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

    fn of(file: String, bytes: &[u8], fragment: Fragments<'_>) -> Result<Self, EngineError> {
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
    let file = File::from(rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)?);
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
