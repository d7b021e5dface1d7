//! `COPY` and `ADD` of files of a context, a stage or an image, of here documents, and of what is fetched.
//!
//! With `--link` the copy is made on nothing, and the result put on top of the stage: it depends on nothing
//! below, and replaces a symbolic link where a copy on the stage would follow it. Where the stage has to be
//! looked at all the same, for the numbers of users and groups that `--chown` names, the copy is made on the
//! stage; so it is with `--chmod`, as in the reference.

use kiln_grammar::{Add, Copy, FileSource, Files, Span, Word};
use kiln_ir::{
    CopyOp, FileAction, FileOp, GuestPath, GuestPathError, ModeSpec, Op, OwnerSpec, PatternSet,
};

use super::Scope;
use super::remote::{self, Fetching};
use crate::expand::expand;
use crate::link::{Reference, resolve};
use crate::stage::{Effect, Ground, Input, Step};
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
    /// How an `ADD` fetches; a `COPY` fetches nothing.
    fetching: Option<Fetching>,
}

/// Lowers `COPY`.
pub(super) fn lower_copy(copy: &Copy, scope: &Scope<'_>) -> Result<Effect, Vec<Diagnostic>> {
    let from = match &copy.from {
        None => Ok(Reference::Context(MAIN_CONTEXT.to_owned())),
        Some(from) => resolve(&from.node, from.span, scope.index, scope.stages, scope.options)
            .and_then(|found| refuse_later(found, from.span, scope)),
    };
    let (from, common) = both(from, common("COPY", false, &copy.files, scope))?;
    let common = Common { parents: copy.parents, ..common };
    lower_files(&copy.files, &common, &from, scope)
}

/// Lowers `ADD`.
pub(super) fn lower_add(add: &Add, scope: &Scope<'_>) -> Result<Effect, Vec<Diagnostic>> {
    let common = common("ADD", add.unpack.unwrap_or(true), &add.files, scope);
    let (fetching, common) = both(Fetching::of(add, scope), common)?;
    let common = Common { fetching: Some(fetching), ..common };
    let from = Reference::Context(MAIN_CONTEXT.to_owned());
    lower_files(&add.files, &common, &from, scope)
}

/// Joins two results; of both failures when both fail.
fn both<A, B>(
    first: Result<A, Diagnostic>,
    second: Result<B, Vec<Diagnostic>>,
) -> Result<(A, B), Vec<Diagnostic>> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (first, second) => {
            Err(first.err().into_iter().chain(second.err().into_iter().flatten()).collect())
        }
    }
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
            fetching: None,
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
        created_by.extend([" --chown=", text]);
    }
    if let Some((text, _)) = &common.mode {
        created_by.extend([" --chmod=", text]);
    }
    let mut errors = Vec::new();
    let (mut paths, mut documents) = (String::new(), String::new());
    // A copy takes some hundred bytes, and most instructions have one.
    let mut copies = Vec::with_capacity(files.sources.len());
    let mut inline = Vec::new();
    let mut inputs = Inputs { from, list: Vec::new(), place: None };
    for source in &files.sources {
        match source {
            FileSource::Path(word) => match path_source(word, common, &mut inputs, scope) {
                Ok((text, copy)) => {
                    paths.extend([" ", &text]);
                    copies.push(copy);
                }
                Err(error) => errors.push(error),
            },
            FileSource::Inline { name, content } => match inline_source(name, content, scope) {
                Ok(document) => {
                    documents.extend([" <<", name]);
                    inline.push(document);
                }
                Err(error) => errors.push(error),
            },
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    created_by.extend([paths.as_str(), &documents, " ", &common.dest_text]);
    for (path, prepared) in inline {
        let input = inputs.add(prepared);
        // Not unpacked, whatever the instruction: the document is what it says.
        copies.push(CopyOp { unpack: false, ..blank_copy(input, path.as_str(), common) });
    }
    let (ground, inputs) = (ground(files, common), inputs.list);
    let actions = copies.into_iter().map(FileAction::Copy).collect();
    let step = Some(Step { op: Op::File(FileOp { actions }), ground, inputs });
    Ok(Effect { created_by: Some(created_by), changes: Vec::new(), step })
}

/// Whether a copy looks at the stage it is for.
fn ground(files: &Files, common: &Common) -> Ground {
    let names_users = common
        .owner
        .as_ref()
        .is_some_and(|(_, OwnerSpec(owner))| !owner.split(':').all(|id| id.parse::<u32>().is_ok()));
    if files.link && common.mode.is_none() && !names_users {
        Ground::Scratch
    } else {
        Ground::Stage
    }
}

/// The step's inputs from index 1 on.
struct Inputs<'f> {
    from: &'f Reference,
    list: Vec<Input>,
    /// The index of `from`, once it is an input.
    place: Option<usize>,
}

impl Inputs<'_> {
    fn add(&mut self, input: Input) -> usize {
        self.list.push(input);
        self.list.len()
    }

    /// The index of the context, stage or image that paths are in.
    fn from(&mut self) -> usize {
        if let Some(place) = self.place {
            return place;
        }
        let place = self.add(Input::Named(self.from.clone()));
        self.place = Some(place);
        place
    }
}

/// A source in a context, stage or image, or on a network.
fn path_source(
    word: &Word,
    common: &Common,
    inputs: &mut Inputs<'_>,
    scope: &Scope<'_>,
) -> Result<(String, CopyOp), Diagnostic> {
    let text = expand(word, &scope.state.environment)?;
    if let Some(fetched) = remote::fetched(&text, word.span, common.fetching.as_ref())? {
        let copy = blank_copy(inputs.add(Input::Fetched(fetched.source)), &fetched.path, common);
        return Ok((text, CopyOp { wildcard: false, unpack: fetched.unpack, ..copy }));
    }
    let (path, include) = path_and_include(&text, common.parents)
        .map_err(|error| Diagnostic::error(Rule::InvalidPath, word.span, error.to_string()))?;
    let ignore = match inputs.from {
        Reference::Context(name) => scope.ignore_of(name),
        Reference::Scratch
        | Reference::Stage(_)
        | Reference::LaterStage(_)
        | Reference::Image(_) => Vec::new(),
    };
    let copy = CopyOp { ignore, ..blank_copy(inputs.from(), path.as_str(), common) };
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
