//! The order of steps: what a changed file makes run again.

use kiln_grammar::{FileSource, InstructionKind};

use super::super::Check;
use super::super::report::{Remark, Report};
use super::super::walk::Step;
use super::Memory;
use super::shell::Simple;

/// Remembers a `COPY` of the whole context.
pub(super) fn note_copy(step: &Step<'_>, memory: &mut Memory) {
    let InstructionKind::Copy(copy) = step.kind() else { return };
    let is_whole = copy.from.is_none()
        && copy.files.exclude.is_empty()
        && copy.files.sources.iter().any(|source| {
            matches!(source, FileSource::Path(word) if ["", ".", "./", "/"].contains(&word.raw.as_str()))
        });
    if is_whole && !memory.has_dependencies && memory.whole_context.is_none() {
        memory.whole_context = Some((step.site.clone(), step.keyword()));
    }
}

/// Checks that dependencies are not installed anew whenever any file changes.
pub(super) fn check(
    commands: &[Simple],
    step: &Step<'_>,
    memory: &mut Memory,
    report: &mut Report,
) {
    let Some((program, manifest)) = commands.iter().find_map(installs) else { return };
    // A later one finds the dependencies there.
    memory.has_dependencies = true;
    let Some((site, span)) = memory.whole_context.take() else { return };
    let message = "a change of any file installs the dependencies anew";
    let remark = Remark::new(Check::CacheHostileCopy, span, message)
        .label(step.keyword(), format!("`{program}` reads `{manifest}` alone"))
        .hint(format!("copy `{manifest}` and install, and copy the rest after that"));
    report.say(&site, remark);
}

/// The program of a command that installs what a manifest lists, and the manifest.
fn installs(command: &Simple) -> Option<(String, &'static str)> {
    let operands: Vec<&str> = command.operands().collect();
    let program = command.program();
    let manifest = match (program, operands.as_slice()) {
        ("npm", ["ci" | "install" | "i"]) if !command.has("-g") => "package-lock.json",
        ("yarn", [] | ["install"]) if command.words.len() < 4 => "yarn.lock",
        ("pnpm", ["install" | "i"]) if !command.has("-g") => "pnpm-lock.yaml",
        ("pip" | "pip3", ["install", file]) if command.has("-r") && file.ends_with(".txt") => {
            "requirements.txt"
        }
        ("bundle", ["install"]) => "Gemfile.lock",
        ("composer", ["install"]) => "composer.lock",
        ("go", ["mod", "download"]) => "go.sum",
        ("cargo", ["fetch"]) => "Cargo.lock",
        ("poetry", ["install"]) => "poetry.lock",
        ("mvn", ["dependency:go-offline"]) => "pom.xml",
        _ => return None,
    };
    Some((program.to_owned(), manifest))
}
