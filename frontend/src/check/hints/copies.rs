//! `COPY` of what a later one replaces before anything has read it.

use kiln_grammar::{FileSource, Files, InstructionKind};
use kiln_ir::GuestPath;

use super::super::Check;
use super::super::report::{Remark, Report};
use super::super::walk::Step;
use super::Memory;
use crate::expand::expand;

/// Checks the files that an instruction puts somewhere. A command may read them, and so may the step of
/// another stage; but that one sees the last alone.
pub(super) fn check(step: &Step<'_>, memory: &mut Memory, report: &mut Report) {
    let files = match step.kind() {
        InstructionKind::Copy(copy) => &copy.files,
        InstructionKind::Add(add) => &add.files,
        InstructionKind::Run(_) => {
            memory.copied.clear();
            return;
        }
        InstructionKind::From(_)
        | InstructionKind::Cmd(_)
        | InstructionKind::Entrypoint(_)
        | InstructionKind::Shell(_)
        | InstructionKind::Env(_)
        | InstructionKind::Label(_)
        | InstructionKind::Arg(_)
        | InstructionKind::Expose(_)
        | InstructionKind::User(_)
        | InstructionKind::Workdir(_)
        | InstructionKind::Volume(_)
        | InstructionKind::Stopsignal(_)
        | InstructionKind::Healthcheck(_)
        | InstructionKind::Onbuild(_)
        | InstructionKind::Maintainer(_) => return,
    };
    if matches!(step.kind(), InstructionKind::Copy(copy) if copy.parents) {
        return;
    }
    for (path, span) in written(files, step) {
        let replaced = memory.copied.insert(path.clone(), (step.site.clone(), span));
        let Some((site, earlier)) = replaced else { continue };
        let message = format!("`{path}` is replaced before anything reads it");
        let remark = Remark::new(Check::OverwrittenCopy, earlier, message)
            .label(span, "this one stays")
            .hint("leave out the first, or give one of them another destination");
        report.say(&site, remark);
    }
}

/// Where files end up, as far as that shows: a source with an extension is one file.
fn written(files: &Files, step: &Step<'_>) -> Vec<(String, kiln_grammar::Span)> {
    let state = step.scope.state;
    let Ok(dest) = expand(&files.destination, &state.environment) else { return Vec::new() };
    let is_dir = dest.is_empty() || dest.ends_with('/') || dest.ends_with('.');
    // A directory may be there under any name but that of a file.
    let named = dest.rsplit('/').next().unwrap_or_default();
    if dest.contains('\\') || !(is_dir || is_file(named)) {
        return Vec::new();
    }
    let Ok(base) = GuestPath::resolve(&state.cwd, &dest) else { return Vec::new() };
    let of = |source: &FileSource| {
        let (name, span) = match source {
            FileSource::Inline { name, content } => (name.clone(), content.span),
            FileSource::Path(word) => {
                let text = expand(word, &state.environment).ok()?;
                let name = text.rsplit('/').next()?.to_owned();
                let is_remote = text.contains("://") || text.contains('@');
                (Some(name).filter(|name| is_file(name) && !is_remote)?, word.span)
            }
        };
        let path = if is_dir { GuestPath::resolve(&base, &name).ok()? } else { base.clone() };
        Some((path.to_string(), span))
    };
    files.sources.iter().filter_map(of).collect()
}

/// Whether a name is that of one file: it has an extension, no wildcard, and is not `conf.d` or the like, nor
/// an archive that `ADD` takes apart.
fn is_file(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let unpacked = ["tar", "gz", "tgz", "bz2", "xz", "d"];
    !stem.is_empty()
        && !extension.is_empty()
        && !unpacked.contains(&extension)
        && !name.contains(['*', '?', '['])
}
