//! What is not known of variables, and of the working directory, at a point of a file.
//!
//! A variable is in doubt where an instruction that may set it was not understood, where what it is set from
//! is in doubt, or where it may come from an image that nobody has looked at. So is the directory.

use std::collections::{BTreeMap, BTreeSet};

use kiln_grammar::{Arg, InstructionKind, MountFlag, Pairs, Span, Word};

use crate::Diagnostic;
use crate::environment::Environment;
use crate::expand::expand;

/// The options that say where a mount appears.
const TARGETS: [&str; 3] = ["target", "dst", "destination"];

/// Which variables are in doubt: a few, or all but a few.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubt {
    /// Whether those are that nothing here names.
    others: bool,
    /// Those of which the opposite holds.
    except: BTreeSet<String>,
    /// Whether the working directory is in doubt.
    workdir: bool,
}

/// What is in doubt in one instruction, each in source order.
#[derive(Debug, Default)]
pub(super) struct Doubted {
    /// Words of which the value is.
    pub(super) words: Vec<Span>,
    /// Mounts of which the place is.
    mounts: Vec<Span>,
}

/// What `ARG` takes values from besides its defaults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'g> {
    /// The values of the build's arguments.
    pub(super) build_args: &'g BTreeMap<String, String>,
    /// The arguments above the first stage, with what is in doubt of them; nothing for these themselves.
    pub(super) globals: Option<(&'g Environment, &'g Doubt)>,
}

impl Doubt {
    /// Every variable is in doubt.
    pub(super) fn of_everything() -> Self {
        Self { others: true, except: BTreeSet::new(), workdir: true }
    }

    /// From here on every variable is in doubt.
    pub(super) fn every_variable(&mut self) {
        (self.others, self.except) = (true, BTreeSet::new());
    }

    /// From here on the working directory is in doubt.
    pub(super) fn the_workdir(&mut self) {
        self.workdir = true;
    }

    /// Whether a word's value is in doubt.
    fn is_of(&self, word: &Word) -> bool {
        word.variables().iter().any(|variable| self.is_of_name(&variable.name))
    }

    fn is_of_name(&self, name: &str) -> bool {
        self.others != self.except.contains(name)
    }

    fn set(&mut self, name: &str, doubted: bool) {
        if doubted == self.others {
            self.except.remove(name);
        } else {
            self.except.insert(name.to_owned());
        }
    }

    /// Follows an instruction, and answers what in it is in doubt. One that fails sets nothing.
    pub(super) fn follow(
        &mut self,
        kind: &InstructionKind,
        given: Given<'_>,
        fails: bool,
    ) -> Doubted {
        if let InstructionKind::Arg(arg) = kind {
            return Doubted { words: self.follow_arg(arg, given, fails), mounts: Vec::new() };
        }
        let mut doubted = Doubted { words: self.words_of(kind), mounts: Vec::new() };
        if let InstructionKind::Env(pairs) = kind {
            self.follow_env(pairs, fails);
        } else if let InstructionKind::Workdir(workdir) = kind {
            let is_absolute = literal(&workdir.path).is_some_and(|path| path.starts_with('/'));
            self.workdir = fails || !doubted.words.is_empty() || (self.workdir && !is_absolute);
        } else if let InstructionKind::Run(run) = kind
            && self.workdir
        {
            let relative = run.mounts.iter().filter(|mount| is_relative(mount));
            doubted.mounts = relative.map(|mount| mount.span).collect();
        }
        doubted
    }

    /// The words whose values are in doubt, in source order.
    pub(super) fn words_of(&self, kind: &InstructionKind) -> Vec<Span> {
        let words = kind.words().into_iter().filter(|word| self.is_of(word));
        let mut words: Vec<Span> = words.map(|word| word.span).collect();
        words.sort_unstable();
        words
    }

    fn follow_env(&mut self, pairs: &Pairs, fails: bool) {
        // All pairs see the variables from before.
        let names = pairs.pairs.iter().map(|pair| (literal(&pair.key), self.is_of(&pair.value)));
        for (name, doubted) in names.collect::<Vec<_>>() {
            match name {
                Some(name) => self.set(&name, fails || doubted),
                None => self.every_variable(),
            }
        }
    }

    fn follow_arg(&mut self, arg: &Arg, given: Given<'_>, fails: bool) -> Vec<Span> {
        let mut doubted = Vec::new();
        for declaration in &arg.declarations {
            // What stands before it on the same line counts already.
            let words = [&declaration.name].into_iter().chain(&declaration.default);
            let before = doubted.len();
            doubted.extend(words.filter(|word| self.is_of(word)).map(|word| word.span));
            let Some(name) = literal(&declaration.name) else {
                self.every_variable();
                continue;
            };
            let is_given = given.build_args.contains_key(&name);
            match given.globals {
                _ if fails || is_given => self.set(&name, fails),
                _ if declaration.default.is_some() => self.set(&name, doubted.len() > before),
                Some((_, doubt)) if doubt.is_of_name(&name) => self.set(&name, true),
                Some((globals, _)) if globals.get(&name).is_some() => self.set(&name, false),
                // It leaves a variable as it is.
                Some(_) | None => {}
            }
        }
        doubted
    }
}

impl Doubted {
    /// Whether a mistake may be none, once what is in doubt is known.
    pub(super) fn covers(&self, mistake: &Diagnostic) -> bool {
        let Some(span) = mistake.span else { return false };
        touches(span, &self.words) || self.mounts.binary_search(&span).is_ok()
    }
}

/// Whether a place touches one of others, which are in source order.
pub(super) fn touches(place: Span, others: &[Span]) -> bool {
    let at = others.partition_point(|other| other.end < place.start);
    others.get(at).is_some_and(|other| other.start <= place.end)
}

/// Whether a mount's place depends on the working directory.
fn is_relative(mount: &MountFlag) -> bool {
    let targets = mount.options.iter().filter(|option| TARGETS.contains(&option.key.node.as_str()));
    targets.filter_map(|option| option.value.as_ref()).any(|value| !value.raw.starts_with('/'))
}

/// The value of a word without variables.
fn literal(word: &Word) -> Option<String> {
    let is_literal = word.variables().is_empty();
    is_literal.then(|| expand(word, &Environment::default()).ok()).flatten()
}
