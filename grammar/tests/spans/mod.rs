//! The property that every span lies in the source on character boundaries, instructions in order.

use kiln_grammar::{
    Command, CommandLine, FileSource, Files, Instruction, InstructionKind, Operation, Pairs,
    Parsed, Span, Spanned, Word, WordPart,
};

/// Checks every span that a parse answered.
///
/// # Panics
/// At the first that does not lie in the source.
pub(crate) fn check(source: &str, parsed: &Parsed) {
    let spans = Spans { source };
    for error in &parsed.errors {
        spans.check(error.span);
        spans.check(error.within);
    }
    for directive in &parsed.dockerfile.directives {
        spans.check(directive.span);
        spans.text(&directive.name);
        spans.text(&directive.value);
    }
    let mut end = 0;
    for instruction in &parsed.dockerfile.instructions {
        assert!(instruction.span.start >= end, "instructions overlap");
        end = instruction.span.end;
        spans.instruction(instruction);
    }
}

struct Spans<'s> {
    source: &'s str,
}

impl Spans<'_> {
    fn check(&self, span: Span) {
        assert!(self.source.get(span.start..span.end).is_some(), "{span:?} in {:?}", self.source);
    }

    fn text(&self, text: &Spanned<String>) {
        self.check(text.span);
    }

    fn texts<'a>(&self, texts: impl IntoIterator<Item = &'a Spanned<String>>) {
        texts.into_iter().for_each(|text| self.text(text));
    }

    fn words<'a>(&self, words: impl IntoIterator<Item = &'a Word>) {
        for word in words {
            self.check(word.span);
            self.parts(&word.parts);
        }
    }

    fn parts(&self, parts: &[WordPart]) {
        for part in parts {
            match part {
                WordPart::Literal(_) | WordPart::Quoted(_) => {}
                WordPart::DoubleQuoted(parts) => self.parts(parts),
                WordPart::Variable(variable) => {
                    self.check(variable.span);
                    match &variable.operation {
                        None => {}
                        Some(
                            Operation::Default(_, parts)
                            | Operation::Alternative(_, parts)
                            | Operation::Require(_, parts)
                            | Operation::TrimPrefix(_, parts)
                            | Operation::TrimSuffix(_, parts),
                        ) => self.parts(parts),
                        Some(Operation::Replace { pattern, replacement, .. }) => {
                            self.parts(pattern);
                            self.parts(replacement);
                        }
                    }
                }
            }
        }
    }

    fn command(&self, line: &CommandLine) {
        self.check(line.span);
        if let Command::Exec(_) = line.command {
            assert!(line.json_fallback.is_none());
        }
        line.json_fallback.iter().for_each(|fallback| self.check(fallback.span));
    }

    fn pairs(&self, pairs: &Pairs) {
        for pair in &pairs.pairs {
            self.words([&pair.key, &pair.value]);
        }
    }

    fn files(&self, files: &Files) {
        self.words(files.chown.iter().chain(&files.chmod).chain([&files.destination]));
        self.texts(&files.exclude);
        for source in &files.sources {
            match source {
                FileSource::Path(path) => self.words([path]),
                FileSource::Inline { content, .. } => self.words([content]),
            }
        }
    }

    fn instruction(&self, instruction: &Instruction) {
        self.check(instruction.span);
        assert_eq!(
            &self.source[instruction.keyword.span.start..instruction.keyword.span.end],
            instruction.keyword.node,
        );
        self.texts(&instruction.comments);
        instruction.blank_continuations.iter().for_each(|blank| self.check(*blank));
        for heredoc in &instruction.heredocs {
            self.check(heredoc.span);
            let body = heredoc.body.span;
            assert_eq!(&self.source[body.start..body.end], heredoc.body.node);
        }
        self.kind(&instruction.kind);
    }

    fn kind(&self, kind: &InstructionKind) {
        match kind {
            InstructionKind::From(from) => {
                self.words(from.platform.iter().chain([&from.image]));
                self.texts(from.stage.iter().flat_map(|stage| [&stage.keyword, &stage.name]));
            }
            InstructionKind::Run(run) => {
                self.texts(run.network.iter().chain(&run.security).chain(&run.devices));
                for option in run.mounts.iter().flat_map(|mount| &mount.options) {
                    self.text(&option.key);
                    self.words(&option.value);
                }
                self.command(&run.command);
            }
            InstructionKind::Cmd(line) | InstructionKind::Entrypoint(line) => self.command(line),
            InstructionKind::Copy(copy) => {
                self.texts(&copy.from);
                self.files(&copy.files);
            }
            InstructionKind::Add(add) => {
                self.words(&add.checksum);
                self.files(&add.files);
            }
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => self.pairs(pairs),
            InstructionKind::Arg(arg) => {
                for declaration in &arg.declarations {
                    self.words(declaration.default.iter().chain([&declaration.name]));
                }
            }
            InstructionKind::Expose(expose) => self.words(&expose.ports),
            InstructionKind::User(user) => self.words([&user.user]),
            InstructionKind::Workdir(workdir) => self.words([&workdir.path]),
            InstructionKind::Volume(volume) => self.words(&volume.paths),
            InstructionKind::Stopsignal(stopsignal) => self.words([&stopsignal.signal]),
            InstructionKind::Healthcheck(check) => {
                self.texts(check.interval.iter().chain(&check.timeout).chain(&check.retries));
                self.texts(check.start_period.iter().chain(&check.start_interval));
                check.command.iter().for_each(|line| self.command(line));
            }
            InstructionKind::Onbuild(onbuild) => self.instruction(&onbuild.trigger),
            InstructionKind::Shell(_) | InstructionKind::Maintainer(_) => {}
        }
    }
}
