//! The Dockerfile of a build, with the files that it includes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use kiln_frontend::{
    BuildOptions, Checked, Diagnostic, Expansion, Extent, Facts, SourceText, check, expand,
};
use kiln_grammar::{Dockerfile, Parsed, SyntaxError};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::request::{BuildRequest, DockerfileSource};
use crate::EngineError;
use crate::error::Faulty;

/// The most that is read of an included file, in bytes.
const FRAGMENT_LIMIT: u64 = 1 << 20;

/// A Dockerfile as it was read.
pub(super) struct Text {
    pub(super) source: SourceText,
    pub(super) parsed: Dockerfile,
    /// What of it the parser refused.
    pub(super) errors: Vec<SyntaxError>,
}

impl Text {
    /// Reads a build's Dockerfile, be it well formed or not.
    pub(super) fn load(request: &BuildRequest) -> Result<Self, EngineError> {
        Self::read(&request.dockerfile, &request.context)
    }

    /// Reads a Dockerfile, and what it includes from a directory.
    pub(super) fn read(dockerfile: &DockerfileSource, context: &Path) -> Result<Self, EngineError> {
        let (file, bytes) = match dockerfile {
            DockerfileSource::Text(text) => ("-".to_owned(), text.clone().into_bytes()),
            DockerfileSource::File(path) => {
                let bytes = fs::read(path).map_err(unreadable("Dockerfile", path))?;
                (path.display().to_string(), bytes)
            }
        };
        let source = include(SourceText::of_file(file, text(&bytes)), context)?;
        let Parsed { dockerfile, errors } = kiln_grammar::parse(source.text());
        Ok(Self { source, parsed: dockerfile, errors })
    }

    /// The build checks.
    pub(super) fn check(&self, options: &BuildOptions, facts: &Facts, extent: Extent) -> Checked {
        let parsed = Parsed { dockerfile: self.parsed.clone(), errors: self.errors.clone() };
        check(&parsed, self.source.text(), options, facts, extent)
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
fn include(source: SourceText, context: &Path) -> Result<SourceText, EngineError> {
    let mut fragments = BTreeMap::new();
    loop {
        match expand(source.clone(), &fragments) {
            Ok(Expansion::Done(whole)) => return Ok(whole),
            Ok(Expansion::Need(paths)) => {
                for path in paths {
                    let bytes = read_inside(context, &path)
                        .map_err(unreadable("included file", &context.join(&path)))?;
                    fragments.insert(path, text(&bytes));
                }
            }
            Err((source, diagnostics)) => return Err(refused(source, diagnostics)),
        }
    }
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
