//! Dockerfile text to a spanned syntax tree.
//!
//! [`parse`] takes any text, never fails and never panics: it answers the instructions that are well
//! formed and every mistake in the others. Nothing here knows the values of variables, the defaults of
//! flags, files or images.

mod directives;
mod error;
mod heredoc;
mod instruction;
mod line_index;
mod lines;
mod parse;
mod suggest;
mod syntax;
mod text;
mod visit;
mod word;

pub use error::{SyntaxError, SyntaxErrorKind};
pub use line_index::LineIndex;
pub use parse::{Parsed, includes, parse, parse_trigger, parse_word};
pub use suggest::nearest;
pub use syntax::{
    Add, Arg, ArgDeclaration, Command, CommandLine, Copy, Directive, Dockerfile, Expose,
    FileSource, Files, From, Healthcheck, Heredoc, Include, Instruction, InstructionKind,
    JsonFallback, Maintainer, Malformed, MountFlag, MountOption, Onbuild, Pair, PairForm, Pairs,
    Run, Shell, StageName, Stopsignal, User, Volume, Workdir,
};
pub use word::{
    Absence, Extent, Matches, Operation, Span, Spanned, Variable, Word, WordPart, line_column,
};
