//! `COPY` and `ADD` of files of a context, a stage or an image, and of here documents.
//!
//! `--link` is taken and changes nothing: the copy is made on top of the stage, as without it. (What it
//! asks for, that the result does not depend on the layers below, keys by content give anyway; it differs
//! where the destination holds a symbolic link, which is followed here.)

use kiln_grammar::{Add, Copy, FileSource, Files, Span, Word};
use kiln_ir::{
    CopyOp, FileAction, FileOp, GuestPath, GuestPathError, ModeSpec, Op, OwnerSpec, PatternSet,
};

use super::{Scope, not_supported_yet};
use crate::expand::expand;
use crate::link::{Reference, resolve};
use crate::stage::{Effect, Input, Step};
use crate::{Diagnostic, MAIN_CONTEXT, Rule};

/// Permission bits of a here document's file.
const HEREDOC_MODE: u32 = 0o644;
/// The highest mode: permissions with set-id and sticky bits.
const MAX_MODE: u32 = 0o7777;

/// What holds for all sources of one instruction.
struct Common {
    keyword: &'static str,
    unpack: bool,
    parents: bool,
    dest: GuestPath,
    dest_is_dir: bool,
    dest_text: String,
    owner: Option<(String, OwnerSpec)>,
    mode: Option<(String, ModeSpec)>,
    exclude: Vec<String>,
}

/// Lowers `COPY`.
pub(super) fn lower_copy(copy: &Copy, scope: &Scope<'_>) -> Result<Effect, Vec<Diagnostic>> {
    let from = match &copy.from {
        None => Reference::Context(MAIN_CONTEXT.to_owned()),
        Some(from) => resolve(&from.node, from.span, scope.index, scope.stages, scope.options)
            .and_then(|found| refuse_later(found, from.span, scope))
            .map_err(|error| vec![error])?,
    };
    let common = common("COPY", false, &copy.files, scope)?;
    let common = Common { parents: copy.parents, ..common };
    lower_files(&copy.files, &common, &from, scope)
}

/// Lowers `ADD`.
pub(super) fn lower_add(
    add: &Add,
    span: Span,
    scope: &Scope<'_>,
) -> Result<Effect, Vec<Diagnostic>> {
    if let Some(checksum) = &add.checksum {
        return Err(vec![not_supported_yet("`ADD --checksum`", checksum.span)]);
    }
    if add.keep_git_dir.is_some() {
        return Err(vec![not_supported_yet("`ADD --keep-git-dir`", span)]);
    }
    let common = common("ADD", add.unpack.unwrap_or(true), &add.files, scope)?;
    let from = Reference::Context(MAIN_CONTEXT.to_owned());
    lower_files(&add.files, &common, &from, scope)
}

/// Says that a stage is named before it is there.
pub(super) fn refuse_later(
    reference: Reference,
    span: Span,
    scope: &Scope<'_>,
) -> Result<Reference, Diagnostic> {
    let Reference::LaterStage(index) = reference else { return Ok(reference) };
    let stage = &scope.stages[index];
    let name = stage.name.clone().unwrap_or_else(|| index.to_string());
    let message = format!("the stage `{name}` is used before it is defined");
    Err(Diagnostic::error(Rule::StageOrder, span, message)
        .label(stage.from.span, "it is defined here")
        .hint("move its definition above this stage"))
}

fn common(
    keyword: &'static str,
    unpack: bool,
    files: &Files,
    scope: &Scope<'_>,
) -> Result<Common, Vec<Diagnostic>> {
    let environment = &scope.state.environment;
    let optional = |word: &Option<Word>| {
        let text = word.as_ref().map(|word| expand(word, environment)).transpose();
        text.map(|text| text.filter(|text| !text.is_empty()))
    };
    let mut errors = Vec::new();
    let mut note = |error: Diagnostic| errors.push(error);
    let owner = optional(&files.chown).map_err(&mut note).ok().flatten();
    let owner = owner.map(|text| {
        // A colon with nothing behind it is root's group.
        let group = if text.ends_with(':') { "0" } else { "" };
        (text.clone(), OwnerSpec(text + group))
    });
    let mode_text = optional(&files.chmod).map_err(&mut note).ok().flatten();
    let mode = mode_text.and_then(|text| {
        let span = files.chmod.as_ref().map_or(files.destination.span, |word| word.span);
        parse_mode(&text, span).map_err(&mut note).ok().map(|mode| (text, mode))
    });
    for pattern in &files.exclude {
        if let Err(error) = PatternSet::parse([pattern.node.as_str()]) {
            note(Diagnostic::error(Rule::InvalidPattern, pattern.span, error.to_string()));
        }
    }
    let dest = destination(&files.destination, scope).map_err(&mut note).ok();
    match dest {
        Some((dest_text, dest, dest_is_dir)) if errors.is_empty() => Ok(Common {
            keyword,
            unpack,
            parents: false,
            dest,
            dest_is_dir,
            dest_text,
            owner,
            mode,
            exclude: files.exclude.iter().map(|pattern| pattern.node.clone()).collect(),
        }),
        _ => Err(errors),
    }
}

/// The destination as expanded, cleaned below the working directory, and whether it is said to be a
/// directory.
fn destination(word: &Word, scope: &Scope<'_>) -> Result<(String, GuestPath, bool), Diagnostic> {
    let text = expand(word, &scope.state.environment)?;
    let path = GuestPath::resolve(&scope.state.cwd, &text)
        .map_err(|error| Diagnostic::error(Rule::InvalidPath, word.span, error.to_string()))?;
    let is_dir = text.is_empty() || text == "." || text.ends_with('/') || text.ends_with("/.");
    Ok((text, path, is_dir))
}

fn lower_files(
    files: &Files,
    common: &Common,
    from: &Reference,
    scope: &Scope<'_>,
) -> Result<Effect, Vec<Diagnostic>> {
    let mut created_by = String::from(common.keyword);
    if common.parents {
        created_by += " --parents";
    }
    if let Some((text, _)) = &common.owner {
        created_by += &format!(" --chown={text}");
    }
    if let Some((text, _)) = &common.mode {
        created_by += &format!(" --chmod={text}");
    }
    let mut errors = Vec::new();
    let (mut paths, mut documents) = (String::new(), String::new());
    let mut copies = Vec::new();
    let mut inline = Vec::new();
    for source in &files.sources {
        match source {
            FileSource::Path(word) => match path_source(word, common, from, scope) {
                Ok((text, copy)) => {
                    paths += &format!(" {text}");
                    copies.push(copy);
                }
                Err(error) => errors.push(error),
            },
            FileSource::Inline { name, content } => match inline_source(name, content, scope) {
                Ok(document) => {
                    documents += &format!(" <<{name}");
                    inline.push(document);
                }
                Err(error) => errors.push(error),
            },
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    created_by += &format!("{paths}{documents} {}", common.dest_text);
    let mut inputs = Vec::new();
    if !copies.is_empty() {
        inputs.push(Input::Named(from.clone()));
    }
    for (path, prepared) in inline {
        inputs.push(prepared);
        // Not unpacked, whatever the instruction: the document is what it says.
        let copy = CopyOp { unpack: false, ..blank_copy(inputs.len(), path.as_str(), common) };
        copies.push(copy);
    }
    let actions = copies.into_iter().map(FileAction::Copy).collect();
    let step = Some(Step { op: Op::File(FileOp { actions }), inputs });
    Ok(Effect { created_by: Some(created_by), changes: Vec::new(), step })
}

/// A source in a context, stage or image, which is the step's input 1.
fn path_source(
    word: &Word,
    common: &Common,
    from: &Reference,
    scope: &Scope<'_>,
) -> Result<(String, CopyOp), Diagnostic> {
    let text = expand(word, &scope.state.environment)?;
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(match common.keyword {
            "ADD" => not_supported_yet("`ADD` from a network address", word.span),
            _ => Diagnostic::error(Rule::InvalidPath, word.span, "`COPY` takes no network address")
                .hint("`ADD` does"),
        });
    }
    if common.keyword == "ADD" && is_git(&text) {
        return Err(not_supported_yet("`ADD` from a Git repository", word.span));
    }
    let (path, include) = path_and_include(&text, common.parents)
        .map_err(|error| Diagnostic::error(Rule::InvalidPath, word.span, error.to_string()))?;
    let ignore = match from {
        Reference::Context(name) => scope.ignore_of(name),
        Reference::Scratch
        | Reference::Stage(_)
        | Reference::LaterStage(_)
        | Reference::Image(_) => Vec::new(),
    };
    let copy = CopyOp { ignore, ..blank_copy(1, path.as_str(), common) };
    let Some(include) = include else { return Ok((text, copy)) };
    let required = !copy.wildcard && !has_wildcard(&include);
    Ok((text, CopyOp { required, include: vec![include], ..copy }))
}

/// Where to copy from. With `--parents` that is the part before the first `/./`, or the root; the rest is
/// what alone to take of it, nothing for all.
fn path_and_include(
    text: &str,
    parents: bool,
) -> Result<(GuestPath, Option<String>), GuestPathError> {
    if !parents {
        return Ok((GuestPath::new(text)?, None));
    }
    let (above, below) = text.split_once("/./").unwrap_or(("/", text));
    let below = GuestPath::new(below)?.relative().to_owned();
    Ok((GuestPath::new(above)?, Some(below).filter(|below| !below.is_empty())))
}

/// A here document as a file of an empty filesystem.
fn inline_source(
    name: &str,
    content: &Word,
    scope: &Scope<'_>,
) -> Result<(GuestPath, Input), Diagnostic> {
    let content = expand(content, &scope.state.environment)?.into_bytes();
    let path = GuestPath::new(name).map_err(|error| {
        Diagnostic::error(Rule::InvalidPath, Span::default(), error.to_string())
    })?;
    let action =
        FileAction::Mkfile { path: path.clone(), mode: HEREDOC_MODE, owner: None, content };
    let op = Op::File(FileOp { actions: vec![action] });
    Ok((path, Input::Prepared(Box::new(op), Vec::new())))
}

fn blank_copy(input: usize, source: &str, common: &Common) -> CopyOp {
    CopyOp {
        input,
        source: source.to_owned(),
        wildcard: has_wildcard(source),
        required: false,
        dest: common.dest.clone(),
        dest_is_dir: common.dest_is_dir,
        owner: common.owner.as_ref().map(|(_, owner)| owner.clone()),
        mode: common.mode.as_ref().map(|(_, mode)| mode.clone()),
        unpack: common.unpack,
        include: Vec::new(),
        exclude: common.exclude.clone(),
        ignore: Vec::new(),
    }
}

/// Whether a wildcard stands in a path, outside of escapes.
fn has_wildcard(path: &str) -> bool {
    let mut rest = path.chars();
    while let Some(ch) = rest.next() {
        match ch {
            '*' | '?' | '[' => return true,
            '\\' => drop(rest.next()),
            _ => {}
        }
    }
    false
}

fn is_git(text: &str) -> bool {
    let without_fragment = text.split(['#', '?']).next().unwrap_or(text);
    text.starts_with("git@")
        || text.starts_with("git://")
        || text.starts_with("ssh://")
        || (text.starts_with("github.com/") && without_fragment.ends_with(".git"))
}

/// Reads a `--chmod`: octal, or symbolic as chmod(1) has it.
fn parse_mode(text: &str, span: Span) -> Result<ModeSpec, Diagnostic> {
    if let Ok(bits) = u32::from_str_radix(text, 8)
        && !text.starts_with('+')
    {
        if bits <= MAX_MODE {
            return Ok(ModeSpec::Octal(bits));
        }
    } else if text.split(',').all(is_symbolic_clause) {
        return Ok(ModeSpec::Symbolic(text.to_owned()));
    }
    let message = format!("`{text}` is not a mode");
    Err(Diagnostic::error(Rule::InvalidMode, span, message)
        .hint("write octal digits up to `7777`, or a change such as `u+x,go=r`"))
}

/// Whether a text is `[ugoa]*([+-=][rwxXst]*|[+-=][ugo])+`.
fn is_symbolic_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if !actions.starts_with(['+', '-', '=']) {
        return false;
    }
    actions.split(['+', '-', '=']).all(|permissions| {
        matches!(permissions, "u" | "g" | "o")
            || permissions.chars().all(|ch| "rwxXst".contains(ch))
    })
}
