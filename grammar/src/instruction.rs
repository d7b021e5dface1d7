//! From an instruction's logical line to its node.
//!
//! Each keyword has one function, which gets the arguments and says everything that is wrong with them to
//! the [`Context`]; it goes on after a mistake as long as there is something to look at. A node made
//! beside a mistake is thrown away by the caller.

use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::suggest::{Suggestion, nearest};
use crate::syntax::{Heredoc, InstructionKind};
use crate::text::{Slice, Text};
use crate::word::{Dialect, Quotes, Span, Word, parse_word};

pub(crate) mod arguments;
mod config;
mod files;
mod flags;
mod pairs;
mod run;
mod stage;

use flags::Flags;

/// The keywords of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
}

impl Keyword {
    const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::Onbuild,
        Self::Run,
        Self::Shell,
        Self::Stopsignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    /// In upper case.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::Onbuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::Stopsignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.name().eq_ignore_ascii_case(name))
    }

    fn nearest(name: &str) -> Suggestion {
        nearest(name, &Self::ALL.map(Self::name))
    }

    /// Whether here documents can follow its line.
    pub(crate) fn takes_heredocs(self) -> bool {
        matches!(self, Self::Run | Self::Copy | Self::Add)
    }
}

/// An instruction's line, taken apart as far as all instructions are alike.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// The keyword as written.
    pub(crate) word: Slice<'a>,
    /// Which one it is.
    pub(crate) keyword: Option<Keyword>,
    /// The flags without their quotes, and where they stand.
    pub(crate) flags: Vec<(Text, Span)>,
    /// The rest, without blanks around it.
    pub(crate) arguments: Slice<'a>,
}

impl<'a> Head<'a> {
    /// Takes a line apart. Never fails: the keyword may be an unknown one.
    pub(crate) fn read(line: Slice<'a>) -> Self {
        let line = line.trim();
        let is_separator = |c| matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}');
        let end = line.as_str().find(is_separator).unwrap_or(line.as_str().len());
        let (flags, arguments) = arguments::flags(line.from(end));
        let word = line.part(0..end);
        Self { word, keyword: Keyword::of(word.as_str()), flags, arguments }
    }

    /// Whether the line includes another file: not part of the language, but of Kiln's dialect of it.
    pub(crate) fn is_include(&self) -> bool {
        self.word.as_str().eq_ignore_ascii_case("INCLUDE")
    }

    /// The keyword, or the one that was probably meant.
    pub(crate) fn meant(&self) -> Option<Keyword> {
        let misspelt = || Keyword::nearest(self.word.as_str()).and_then(Keyword::of);
        self.keyword.or_else(misspelt)
    }

    /// What to say about a keyword that is none.
    pub(crate) fn unknown(&self) -> SyntaxErrorKind {
        let name = self.word.as_str();
        SyntaxErrorKind::UnknownInstruction {
            name: name.to_owned(),
            nearest: Keyword::nearest(name),
        }
    }
}

/// What the functions of all instructions need.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The file's escape character.
    pub(crate) escape: char,
    /// The instruction's here documents.
    pub(crate) heredocs: &'a [Heredoc],
    /// The whole instruction.
    pub(crate) within: Span,
    /// Where mistakes go.
    pub(crate) errors: &'a mut Vec<SyntaxError>,
}

impl Context<'_> {
    /// Notes a mistake.
    pub(crate) fn error(&mut self, span: Span, cause: SyntaxErrorKind) {
        self.errors.push(SyntaxError { span, within: self.within, cause });
    }

    /// Parses a word; a malformed one is noted and comes back without parts.
    pub(crate) fn word(&mut self, text: Slice<'_>) -> Word {
        self.word_in(text, Dialect { escape: self.escape, quotes: Quotes::Marks })
    }

    /// Like [`word`](Self::word), for text with other rules.
    pub(crate) fn word_in(&mut self, text: Slice<'_>, dialect: Dialect) -> Word {
        parse_word(text, dialect).unwrap_or_else(|(span, cause)| {
            self.error(span, cause);
            Word { raw: text.as_str().to_owned(), span: text.span(), parts: Vec::new() }
        })
    }

    /// Notes every flag of an instruction that knows none.
    pub(crate) fn no_flags(&mut self, head: &Head<'_>) {
        if let Some(keyword) = head.keyword {
            Flags::read(keyword.name(), &[], &head.flags, self);
        }
    }

    /// Notes that an instruction has too few or too many arguments.
    pub(crate) fn wrong_arguments(
        &mut self,
        keyword: Keyword,
        arguments: Slice<'_>,
        expected: &'static str,
    ) {
        let span = if arguments.is_empty() { self.within } else { arguments.span() };
        let instruction = keyword.name();
        self.error(span, SyntaxErrorKind::WrongArguments { instruction, expected });
    }
}

/// An instruction's keyword and arguments, as its function gets them.
#[derive(Debug, Clone, Copy)]
struct Body<'a> {
    keyword: Keyword,
    flags: &'a [(Text, Span)],
    arguments: Slice<'a>,
}

impl<'a> Body<'a> {
    /// The flags, of which the instruction knows these.
    fn flags(self, specs: &[flags::FlagSpec], context: &mut Context<'_>) -> Flags<'a> {
        Flags::read(self.keyword.name(), specs, self.flags, context)
    }
}

/// Makes the node of any instruction but `ONBUILD`; nothing when there is not enough to make one.
pub(crate) fn lower(head: &Head<'_>, context: &mut Context<'_>) -> Option<InstructionKind> {
    let keyword = head.keyword?;
    let body = Body { keyword, flags: &head.flags, arguments: head.arguments };
    let has_flags = matches!(
        keyword,
        Keyword::Add | Keyword::Copy | Keyword::From | Keyword::Healthcheck | Keyword::Run
    );
    if !has_flags {
        body.flags(&[], context);
    }
    match keyword {
        Keyword::Add => files::add(body, context).map(InstructionKind::Add),
        Keyword::Copy => files::copy(body, context).map(InstructionKind::Copy),
        Keyword::Run => run::run(body, context).map(InstructionKind::Run),
        Keyword::From => stage::from(body, context).map(InstructionKind::From),
        Keyword::Arg => stage::arg(body, context).map(InstructionKind::Arg),
        Keyword::Env => pairs::pairs(body, context).map(InstructionKind::Env),
        Keyword::Label => pairs::pairs(body, context).map(InstructionKind::Label),
        Keyword::Cmd => config::command(body.arguments, context).map(InstructionKind::Cmd),
        Keyword::Entrypoint => {
            config::command(body.arguments, context).map(InstructionKind::Entrypoint)
        }
        Keyword::Shell => config::shell(body, context).map(InstructionKind::Shell),
        Keyword::Expose => config::expose(body, context).map(InstructionKind::Expose),
        Keyword::User => config::user(body, context).map(InstructionKind::User),
        Keyword::Workdir => config::workdir(body, context).map(InstructionKind::Workdir),
        Keyword::Volume => config::volume(body, context).map(InstructionKind::Volume),
        Keyword::Stopsignal => config::stopsignal(body, context).map(InstructionKind::Stopsignal),
        Keyword::Healthcheck => {
            config::healthcheck(body, context).map(InstructionKind::Healthcheck)
        }
        Keyword::Maintainer => config::maintainer(body, context).map(InstructionKind::Maintainer),
        Keyword::Onbuild => None,
    }
}
