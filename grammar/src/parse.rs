//! From a whole source to its instructions.
//!
//! One pass: a logical line, the here documents it announces, its node, the next line. After a mistake the
//! next instruction is read as if nothing had happened, except behind a here document without an end, which
//! has swallowed the rest.

use crate::directives;
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::heredoc;
use crate::instruction::arguments::{self, Json};
use crate::instruction::{self, Context, Head, Keyword};
use crate::lines::{LogicalLine, Reader};
use crate::syntax::{
    Directive, Dockerfile, Heredoc, Include, Instruction, InstructionKind, Malformed, Onbuild,
};
use crate::text::{Slice, Text};
use crate::word::{self, Dialect, Quotes, Span, Spanned, Word};

/// There is room from the start for an instruction on each of so many lines: each takes some hundred bytes, which
/// would otherwise be moved again and again.
const MANY_LINES: usize = 4096;

/// What [`parse`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Everything that is well formed.
    pub dockerfile: Dockerfile,
    /// Every mistake, in source order.
    pub errors: Vec<SyntaxError>,
    /// What is left out of the tree for its mistakes, in source order.
    pub malformed: Vec<Malformed>,
}

/// Parses a Dockerfile. Takes any text, in time linear in its length.
#[must_use]
pub fn parse(source: &str) -> Parsed {
    let mut reader = Reader::new(source);
    let (directives, mistakes) = directives::read(&mut reader);
    let mut parser = Parser::new(reader);
    parser.instructions.reserve(source.lines().take(MANY_LINES).count());
    for (span, cause) in mistakes {
        parser.errors.push(SyntaxError { span, within: span, cause });
    }
    let mut has_stage = false;
    let mut told = false;
    while let Some((keyword, span)) = parser.next() {
        match keyword {
            Some(Keyword::From) => has_stage = true,
            Some(Keyword::Arg) => {}
            // It may be a misspelt `FROM`.
            None => told = true,
            Some(keyword) if !has_stage && !told => {
                // One is enough: the rest of the file follows from the same cause.
                told = true;
                let cause = SyntaxErrorKind::BeforeFrom { instruction: keyword.name() };
                parser.errors.push(SyntaxError { span, within: span, cause });
            }
            Some(_) => {}
        }
    }
    let parsed = parser.finish(directives);
    match directives::foreign(source) {
        // All mistakes have one cause.
        Some(directive) if !parsed.errors.is_empty() => refuse_foreign(directive, parsed),
        _ => parsed,
    }
}

fn refuse_foreign(directive: Directive, parsed: Parsed) -> Parsed {
    let frontend = directive.value.node.split(' ').next().unwrap_or_default().to_owned();
    let cause = SyntaxErrorKind::ForeignSyntax { frontend };
    let errors = vec![SyntaxError { span: directive.value.span, within: directive.span, cause }];
    let escape = parsed.dockerfile.escape;
    let dockerfile = Dockerfile { directives: vec![directive], escape, instructions: Vec::new() };
    Parsed { dockerfile, errors, malformed: Vec::new() }
}

/// Parses an `ONBUILD` trigger as an image's config stores it: one instruction, with its here documents.
///
/// # Errors
/// Every mistake in it; spans are offsets into `text`.
pub fn parse_trigger(text: &str) -> Result<Instruction, Vec<SyntaxError>> {
    let mut parser = Parser::new(Reader::new(text));
    while parser.next().is_some() {}
    let Parsed { dockerfile, errors, .. } = parser.finish(Vec::new());
    let mut instructions = dockerfile.instructions.into_iter();
    match (instructions.next(), instructions.next()) {
        (Some(trigger), None) if errors.is_empty() => Ok(trigger),
        (_, Some(second)) if errors.is_empty() => {
            let cause = SyntaxErrorKind::SeveralTriggers;
            Err(vec![SyntaxError { span: second.span, within: second.span, cause }])
        }
        _ => Err(errors),
    }
}

/// Parses one word by itself: quotes quote and variables are variables. `escape` is a backslash or a backtick.
///
/// # Errors
/// The first mistake in it; spans are offsets into `text`.
pub fn parse_word(text: &str, escape: char) -> Result<Word, SyntaxError> {
    let mut whole = Text::at(0);
    whole.push(text, 0);
    let within = Span { start: 0, end: text.len() };
    word::parse_word(whole.whole(), Dialect { escape, quotes: Quotes::Marks })
        .map_err(|(span, cause)| SyntaxError { span, within, cause })
}

/// Finds the lines that include another file, in source order. In a file that is parsed they are mistakes: what
/// they name is to be put in their place before.
#[must_use]
pub fn includes(source: &str) -> Vec<Include> {
    let mut reader = Reader::new(source);
    directives::read(&mut reader);
    let mut parser = Parser::new(reader);
    while parser.next().is_some() {}
    parser.includes
}

struct Parser<'s> {
    reader: Reader<'s>,
    instructions: Vec<Instruction>,
    includes: Vec<Include>,
    errors: Vec<SyntaxError>,
    malformed: Vec<Malformed>,
    seen_any: bool,
}

impl<'s> Parser<'s> {
    fn new(reader: Reader<'s>) -> Self {
        Self {
            reader,
            instructions: Vec::new(),
            includes: Vec::new(),
            errors: Vec::new(),
            malformed: Vec::new(),
            seen_any: false,
        }
    }

    fn finish(mut self, directives: Vec<Directive>) -> Parsed {
        self.take_line_errors();
        if !self.seen_any {
            let end = self.reader.last_line();
            let span = Span { start: end, end };
            let cause = SyntaxErrorKind::NoInstructions;
            self.errors.push(SyntaxError { span, within: span, cause });
        }
        self.errors.sort_by_key(|error| (error.span.start, error.span.end));
        let escape = self.reader.escape();
        let dockerfile = Dockerfile { directives, escape, instructions: self.instructions };
        Parsed { dockerfile, errors: self.errors, malformed: self.malformed }
    }

    fn take_line_errors(&mut self) {
        for (span, cause) in self.reader.take_errors() {
            self.errors.push(SyntaxError { span, within: span, cause });
        }
    }

    /// Reads one instruction; answers its keyword, if it is one, and its span.
    fn next(&mut self) -> Option<(Option<Keyword>, Span)> {
        let line = self.reader.next_logical()?;
        self.seen_any = true;
        let errors_before = self.errors.len();
        let head = Head::read(line.text.whole());
        let (keyword, span, meant) = (head.keyword, line.span, head.meant());
        let instruction = self.instruction(&line, head);
        match instruction.filter(|_| self.errors.len() == errors_before) {
            Some(instruction) => self.instructions.push(instruction),
            None => self.malformed.push(Malformed {
                span,
                keyword: meant.map(Keyword::name),
                text: line.text.whole().trim().as_str().to_owned(),
            }),
        }
        self.take_line_errors();
        Some((keyword, span))
    }

    fn instruction(&mut self, line: &LogicalLine, head: Head<'_>) -> Option<Instruction> {
        let within = line.span;
        if head.word.is_empty() {
            self.error(within, within, SyntaxErrorKind::EmptyContinuation);
            return None;
        }
        let Some(keyword) = head.keyword else {
            if head.is_include() {
                self.includes.push(Include { span: within, path: head.arguments.spanned() });
                self.error(head.word.span(), within, SyntaxErrorKind::Include);
            } else {
                self.error(head.word.span(), within, head.unknown());
                // What follows a misspelt keyword is not taken for further instructions.
                self.heredocs(line, &head);
            }
            return None;
        };
        let trigger = (keyword == Keyword::Onbuild).then(|| Head::read(head.arguments));
        let heredocs = self.heredocs(line, trigger.as_ref().unwrap_or(&head));
        let escape = self.reader.escape();
        let mut context = Context { escape, heredocs: &heredocs, within, errors: &mut self.errors };
        let kind = match trigger {
            Some(trigger) => onbuild(&head, &trigger, &mut context)?,
            None => instruction::lower(&head, &mut context)?,
        };
        let trigger_owns = matches!(kind, InstructionKind::Onbuild(_));
        Some(Instruction {
            span: line.span,
            keyword: head.word.spanned(),
            kind,
            comments: line.comments.clone(),
            text: line.text.whole().trim().as_str().to_owned(),
            heredocs: if trigger_owns { Vec::new() } else { heredocs },
            blank_continuations: line.blanks.clone(),
        })
    }

    fn error(&mut self, span: Span, within: Span, cause: SyntaxErrorKind) {
        self.errors.push(SyntaxError { span, within, cause });
    }

    /// Reads the bodies of the here documents that a line announces.
    fn heredocs(&mut self, line: &LogicalLine, head: &Head<'_>) -> Vec<Heredoc> {
        let whole = line.text.whole();
        let takes = head.meant().is_some_and(Keyword::takes_heredocs);
        if !takes || !whole.as_str().contains("<<") {
            return Vec::new();
        }
        if matches!(arguments::json(head.arguments), Json::Strings(_)) {
            return Vec::new();
        }
        let mut heredocs = Vec::new();
        for announced in heredoc::of_line(whole) {
            let Some(body) = self.reader.next_body(&announced.name, announced.strip_tabs) else {
                let name = announced.name;
                self.error(
                    announced.span,
                    line.span,
                    SyntaxErrorKind::UnterminatedHeredoc { name },
                );
                break;
            };
            heredocs.push(Heredoc {
                name: announced.name,
                span: announced.span,
                body,
                file_descriptor: announced.file_descriptor,
                strip_tabs: announced.strip_tabs,
                expand: announced.expand,
            });
        }
        heredocs
    }
}

fn onbuild(
    head: &Head<'_>,
    trigger: &Head<'_>,
    context: &mut Context<'_>,
) -> Option<InstructionKind> {
    context.no_flags(head);
    if trigger.word.is_empty() {
        context.wrong_arguments(Keyword::Onbuild, head.arguments, "an instruction");
        return None;
    }
    let Some(keyword) = trigger.keyword else {
        context.error(trigger.word.span(), trigger.unknown());
        return None;
    };
    if matches!(keyword, Keyword::Onbuild | Keyword::From | Keyword::Maintainer) {
        let instruction = keyword.name();
        context.error(trigger.word.span(), SyntaxErrorKind::InvalidTrigger { instruction });
        return None;
    }
    let kind = instruction::lower(trigger, context)?;
    let heredocs = context.heredocs.to_vec();
    Some(InstructionKind::Onbuild(Onbuild {
        stored: stored(head.arguments, &heredocs),
        trigger: Box::new(Instruction {
            span: head.arguments.span(),
            keyword: trigger.word.spanned(),
            kind,
            comments: Vec::<Spanned<String>>::new(),
            text: head.arguments.as_str().to_owned(),
            heredocs,
            blank_continuations: Vec::new(),
        }),
    }))
}

/// What an image's config keeps of a trigger.
fn stored(trigger: Slice<'_>, heredocs: &[Heredoc]) -> String {
    let mut stored = trigger.as_str().to_owned();
    for heredoc in heredocs {
        stored.push('\n');
        stored.push_str(&heredoc.body.node);
        stored.push_str(&heredoc.name);
    }
    stored
}
