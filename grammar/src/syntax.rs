//! The syntax tree of a Dockerfile.
//!
//! Every node is what was written, with the bytes of the source it stands in; nothing is evaluated, no
//! default is filled in, and no value is checked beyond its shape. Text that the language expands is a
//! [`Word`]; text that it does not is a `String`. Spans are byte offsets into the text given to
//! [`parse`](crate::parse) and always lie inside it, on character boundaries.

use crate::word::{Span, Spanned, Word};

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The parser directives at the top, in written order.
    pub directives: Vec<Directive>,
    /// The character that escapes and continues lines: a backslash, or a backtick where a directive says so.
    pub escape: char,
    /// The instructions in written order; those with errors are left out.
    pub instructions: Vec<Instruction>,
}

/// A parser directive, `# name=value` above everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// `syntax`, `escape` or `check`, in lower case.
    pub name: Spanned<String>,
    /// The value, without blanks around it.
    pub value: Spanned<String>,
    /// The whole comment line, without its line ending.
    pub span: Span,
}

/// One instruction with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// From the keyword to the end of the last continued line; here documents' bodies are outside.
    pub span: Span,
    /// The keyword as written; compare it without regard to case.
    pub keyword: Spanned<String>,
    /// What it says.
    pub kind: InstructionKind,
    /// The comment lines directly above, without `#` and blanks, in written order.
    pub comments: Vec<Spanned<String>>,
    /// The logical line: continuations joined, comments in them left out, blanks around it trimmed.
    pub text: String,
    /// The here documents its line opens, in written order; only `RUN`, `COPY`, `ADD` and these under
    /// `ONBUILD` have any.
    pub heredocs: Vec<Heredoc>,
    /// Empty lines inside the continued line, which are allowed and warned about.
    pub blank_continuations: Vec<Span>,
}

/// An instruction that is left out of the tree for its mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// From the keyword to the end of the last continued line.
    pub span: Span,
    /// Its keyword in capitals, or the one nearest to what stands in its place; nothing where none is near.
    pub keyword: Option<&'static str>,
    /// The logical line, as [`Instruction::text`].
    pub text: String,
}

/// `INCLUDE path`, of Kiln's dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// From the keyword to the end of the last continued line.
    pub span: Span,
    /// What follows the keyword, without blanks around it; may be empty.
    pub path: Spanned<String>,
}

/// A here document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes.
    pub name: String,
    /// The bytes of the word that opens it (`<<-"EOF"`).
    pub span: Span,
    /// The body exactly as in the source, each line with its ending.
    pub body: Spanned<String>,
    /// The number before `<<`, 0 when there is none.
    pub file_descriptor: u32,
    /// Whether leading tabs are to be taken off each line (`<<-`).
    pub strip_tabs: bool,
    /// Whether variables in the body are expanded: no part of the delimiter was quoted.
    pub expand: bool,
}

impl Heredoc {
    /// The body as a program or file gets it: leading tabs taken off when it was opened with `<<-`.
    #[must_use]
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.body.node.clone();
        }
        self.body.node.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// What an instruction says, by keyword.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the language's keywords; their structs say more")]
pub enum InstructionKind {
    From(From),
    Run(Run),
    Cmd(CommandLine),
    Entrypoint(CommandLine),
    Shell(Shell),
    Copy(Copy),
    Add(Add),
    Env(Pairs),
    Label(Pairs),
    Arg(Arg),
    Expose(Expose),
    User(User),
    Workdir(Workdir),
    Volume(Volume),
    Stopsignal(Stopsignal),
    Healthcheck(Healthcheck),
    Onbuild(Onbuild),
    Maintainer(Maintainer),
}

/// `FROM [--platform=…] image [AS name]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// `--platform`.
    pub platform: Option<Word>,
    /// The base: an image, an earlier stage, a named context or `scratch`.
    pub image: Word,
    /// The stage's name.
    pub stage: Option<StageName>,
}

/// `AS name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageName {
    /// `AS`, in the case it was written.
    pub keyword: Spanned<String>,
    /// The name as written; in lower case it is a valid stage name.
    pub name: Spanned<String>,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `--mount`, in written order.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Option<Spanned<String>>,
    /// `--security`.
    pub security: Option<Spanned<String>>,
    /// `--device`, in written order.
    pub devices: Vec<Spanned<String>>,
    /// The command; empty shell text when the line has none.
    pub command: CommandLine,
    /// Whether the command is nothing but the opening of the instruction's one here document, whose
    /// body is then the script. Otherwise here documents are the shell's, to be given back to it.
    pub is_script: bool,
}

/// One `--mount=key=value,…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// The comma-separated options in written order. Keys are neither known nor distinct for sure.
    pub options: Vec<MountOption>,
    /// The flag's value.
    pub span: Span,
}

/// One option of a `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// The key in lower case.
    pub key: Spanned<String>,
    /// What follows `=`; nothing when there is no `=`. The value of `from` is one literal: the
    /// language does not expand it.
    pub value: Option<Word>,
}

/// A command with the place it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The command.
    pub command: Command,
    /// Its bytes; empty, at the end of the instruction, when there is none.
    pub span: Span,
    /// Why text that opens like a JSON array was taken for the shell's.
    pub json_fallback: Option<JsonFallback>,
}

/// A command in one of its two forms. Variables in either are left to the program that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell, continuations joined.
    Shell(String),
    /// A program and its arguments; may be empty.
    Exec(Vec<String>),
}

/// Says that arguments open like a JSON array but are none, so that they were read the other way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFallback {
    /// Where the text stops being a JSON array.
    pub span: Span,
}

/// `SHELL ["program", "argument"…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// The program and its arguments; at least one.
    pub argv: Vec<String>,
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// `--from`, not expanded.
    pub from: Option<Spanned<String>>,
    /// What `ADD` has too.
    pub files: Files,
    /// `--parents`.
    pub parents: bool,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// What `COPY` has too.
    pub files: Files,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`, when given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, when given.
    pub unpack: Option<bool>,
}

/// What `COPY` and `ADD` share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in written order, not expanded.
    pub exclude: Vec<Spanned<String>>,
    /// What to copy, in written order; at least one.
    pub sources: Vec<FileSource>,
    /// Where to.
    pub destination: Word,
    /// Why text that opens like a JSON array was split at blanks.
    pub json_fallback: Option<JsonFallback>,
}

/// One source of a `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A path, pattern or URL.
    Path(Word),
    /// A here document, to become a file.
    Inline {
        /// The file's name: the document's delimiter.
        name: String,
        /// The file's content, tabs stripped; one literal when the delimiter was quoted.
        content: Word,
    },
}

/// `ENV` and `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// Names and values in written order; at least one.
    pub pairs: Vec<Pair>,
    /// How they were written.
    pub form: PairForm,
}

/// One name and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name, which is expanded too.
    pub key: Word,
    /// The value; may be empty.
    pub value: Word,
}

/// The way names and values were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairForm {
    /// `key=value …`.
    Assignments,
    /// `key value`, deprecated: one pair whose value is the rest of the line.
    Legacy,
}

/// `ARG name[=default] …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// The declarations in written order; at least one.
    pub declarations: Vec<ArgDeclaration>,
}

/// One declared build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// The name, which is expanded too.
    pub name: Word,
    /// The default, when there is a `=`.
    pub default: Option<Word>,
}

/// `EXPOSE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expose {
    /// The ports in written order; at least one. Each may expand to several.
    pub ports: Vec<Word>,
}

/// `USER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// `user[:group]`.
    pub user: Word,
}

/// `WORKDIR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workdir {
    /// The path: the rest of the line.
    pub path: Word,
}

/// `VOLUME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The paths in written order; at least one.
    pub paths: Vec<Word>,
    /// Why text that opens like a JSON array was split at blanks.
    pub json_fallback: Option<JsonFallback>,
}

/// `STOPSIGNAL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopsignal {
    /// The signal's name or number.
    pub signal: Word,
}

/// `HEALTHCHECK`. No flag's value is checked or expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// `--interval`.
    pub interval: Option<Spanned<String>>,
    /// `--timeout`.
    pub timeout: Option<Spanned<String>>,
    /// `--start-period`.
    pub start_period: Option<Spanned<String>>,
    /// `--start-interval`.
    pub start_interval: Option<Spanned<String>>,
    /// `--retries`.
    pub retries: Option<Spanned<String>>,
    /// `CMD command`; nothing for `NONE`.
    pub command: Option<CommandLine>,
}

/// `ONBUILD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The instruction that a child image's build runs first; its here documents are in it.
    pub trigger: Box<Instruction>,
    /// What an image's config stores: the trigger as one text, here documents and all.
    pub stored: String,
}

/// `MAINTAINER`, deprecated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintainer {
    /// The rest of the line, not expanded.
    pub name: String,
}
