//! Walks over the tree: the words of an instruction, the variables of a word.

use crate::syntax::{FileSource, Files, InstructionKind};
use crate::word::{Operation, Variable, Word, WordPart};

impl InstructionKind {
    /// The words that are expanded, in written order but for a destination, which follows its flags. Those
    /// of an `ONBUILD`'s trigger are left out: they are a later build's.
    #[must_use]
    pub fn words(&self) -> Vec<&Word> {
        match self {
            Self::From(from) => from.platform.iter().chain([&from.image]).collect(),
            Self::Run(run) => {
                let options = run.mounts.iter().flat_map(|mount| &mount.options);
                options.filter_map(|option| option.value.as_ref()).collect()
            }
            Self::Copy(copy) => of_files(&copy.files),
            Self::Add(add) => of_files(&add.files).into_iter().chain(&add.checksum).collect(),
            Self::Env(pairs) | Self::Label(pairs) => {
                pairs.pairs.iter().flat_map(|pair| [&pair.key, &pair.value]).collect()
            }
            Self::Arg(arg) => {
                let of = arg.declarations.iter();
                of.flat_map(|one| [&one.name].into_iter().chain(&one.default)).collect()
            }
            Self::Expose(expose) => expose.ports.iter().collect(),
            Self::User(user) => vec![&user.user],
            Self::Workdir(workdir) => vec![&workdir.path],
            Self::Volume(volume) => volume.paths.iter().collect(),
            Self::Stopsignal(signal) => vec![&signal.signal],
            Self::Cmd(_)
            | Self::Entrypoint(_)
            | Self::Shell(_)
            | Self::Healthcheck(_)
            | Self::Onbuild(_)
            | Self::Maintainer(_) => Vec::new(),
        }
    }
}

fn of_files(files: &Files) -> Vec<&Word> {
    let sources = files.sources.iter().map(|source| match source {
        FileSource::Path(word) | FileSource::Inline { content: word, .. } => word,
    });
    files.chown.iter().chain(&files.chmod).chain([&files.destination]).chain(sources).collect()
}

impl Word {
    /// Every variable in it, those in the operands of others included, each behind those inside it.
    #[must_use]
    pub fn variables(&self) -> Vec<&Variable> {
        let mut found = Vec::new();
        collect(&self.parts, &mut found);
        found
    }
}

fn collect<'w>(parts: &'w [WordPart], found: &mut Vec<&'w Variable>) {
    for part in parts {
        match part {
            WordPart::Literal(_) | WordPart::Quoted(_) => {}
            WordPart::DoubleQuoted(parts) => collect(parts, found),
            WordPart::Variable(variable) => {
                match &variable.operation {
                    None => {}
                    Some(
                        Operation::Default(_, operand)
                        | Operation::Alternative(_, operand)
                        | Operation::Require(_, operand)
                        | Operation::TrimPrefix(_, operand)
                        | Operation::TrimSuffix(_, operand),
                    ) => collect(operand, found),
                    Some(Operation::Replace { pattern, replacement, .. }) => {
                        collect(pattern, found);
                        collect(replacement, found);
                    }
                }
                found.push(variable);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn variables_are_found_in_quotes_and_operands() {
        let source = "FROM a\nENV k=\"$one${two:-${three/$four/x}}\" '$no'=\\$not\n";
        let instruction = &parse(source).dockerfile.instructions[1];
        let words = instruction.kind.words();
        let names: Vec<_> =
            words.iter().flat_map(|word| word.variables()).map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["one", "four", "three", "two"]);
    }

    #[test]
    fn every_expanded_word_of_a_copy_is_listed() {
        let source = "FROM a\nCOPY --chown=$u --chmod=$m a <<F $d\n$body\nF\n";
        let instruction = &parse(source).dockerfile.instructions[1];
        let raw: Vec<_> = instruction.kind.words().iter().map(|word| word.raw.as_str()).collect();
        assert_eq!(raw, ["$u", "$m", "$d", "a", "$body\n"]);
    }
}
