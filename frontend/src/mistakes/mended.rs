//! A Dockerfile that has a stage wherever one is begun, be it well formed or not.

use kiln_grammar::{
    Dockerfile, From, Instruction, InstructionKind, Malformed, Parsed, Spanned, SyntaxErrorKind,
    Word, WordPart,
};

/// What a `FROM` that makes no sense is taken to begin with.
const STAND_IN: &str = "scratch";

/// A mended Dockerfile, and what could not be mended.
#[derive(Debug)]
pub(super) struct Mended<'p> {
    pub(super) dockerfile: Dockerfile,
    /// In source order.
    malformed: &'p [Malformed],
    /// Whether there may be other stages than those that are seen, or stages of other names.
    pub(super) doubts_stages: bool,
}

impl<'p> Mended<'p> {
    /// Puts an empty stage in the place of each `FROM` that makes no sense; nothing when the file cannot be
    /// told apart into instructions.
    pub(super) fn of(parsed: &'p Parsed) -> Option<Self> {
        use SyntaxErrorKind as Kind;
        let has = |is: fn(&Kind) -> bool| parsed.errors.iter().any(|error| is(&error.cause));
        let is_unreadable = |kind: &Kind| {
            matches!(
                kind,
                Kind::NoInstructions
                    | Kind::ForeignSyntax { .. }
                    | Kind::DuplicateDirective { .. }
                    | Kind::InvalidEscape { .. }
            )
        };
        if has(is_unreadable) {
            return None;
        }
        let malformed = parsed.malformed.as_slice();
        let mut dockerfile = parsed.dockerfile.clone();
        let stand_ins: Vec<_> = malformed
            .iter()
            .filter(|one| is_from(one))
            .chain(first_stage(&dockerfile, malformed))
            .map(stand_in)
            .collect();
        dockerfile.instructions.extend(stand_ins);
        dockerfile.instructions.sort_by_key(|instruction| instruction.span.start);
        let doubts_stages = has(|kind| matches!(kind, Kind::UnterminatedHeredoc { .. }))
            || malformed.iter().any(|one| is_from(one) || may_be_anything(one));
        Some(Self { dockerfile, malformed, doubts_stages })
    }

    /// What is malformed from one place up to another.
    pub(super) fn between(&self, start: usize, end: usize) -> &'p [Malformed] {
        let before = |place: usize| self.malformed.partition_point(|one| one.span.start < place);
        &self.malformed[before(start)..before(end)]
    }

    /// Whether nothing is malformed.
    pub(super) fn is_whole(&self) -> bool {
        self.malformed.is_empty()
    }
}

/// What probably begins the first stage when that is no `FROM`: something unknown above an instruction that no
/// stage is there for.
fn first_stage<'p>(dockerfile: &Dockerfile, malformed: &'p [Malformed]) -> Option<&'p Malformed> {
    let outside = |one: &&Instruction| !matches!(one.kind, InstructionKind::Arg(_));
    let first = dockerfile.instructions.iter().find(outside)?;
    let above = malformed.iter().take_while(|one| one.span.start < first.span.start);
    let is_needed = !matches!(first.kind, InstructionKind::From(_)) && !above.clone().any(is_from);
    above.filter(|one| is_needed && may_be_anything(one)).last()
}

fn is_from(malformed: &Malformed) -> bool {
    malformed.keyword == Some("FROM")
}

/// Whether nobody can say which instruction was meant.
fn may_be_anything(malformed: &Malformed) -> bool {
    malformed.keyword.is_none()
}

/// Whether an instruction may have been meant to set any variable, now or when it is triggered.
pub(super) fn may_set_variables(malformed: &Malformed) -> bool {
    malformed.keyword.is_none_or(|keyword| matches!(keyword, "ARG" | "ENV" | "ONBUILD"))
}

/// Whether an instruction may have been meant to set the working directory, now or when it is triggered.
pub(super) fn may_set_workdir(malformed: &Malformed) -> bool {
    malformed.keyword.is_none_or(|keyword| matches!(keyword, "WORKDIR" | "ONBUILD"))
}

/// Whether a stage is one that was put in the place of a `FROM` that makes no sense.
pub(super) fn is_stand_in(from: &Instruction) -> bool {
    from.text.is_empty()
}

fn stand_in(malformed: &Malformed) -> Instruction {
    let span = malformed.span;
    let parts = vec![WordPart::Literal(STAND_IN.to_owned())];
    let image = Word { raw: STAND_IN.to_owned(), span, parts };
    Instruction {
        span,
        keyword: Spanned { node: "FROM".to_owned(), span },
        kind: InstructionKind::From(From { platform: None, image, stage: None }),
        comments: Vec::new(),
        text: String::new(),
        heredocs: Vec::new(),
        blank_continuations: Vec::new(),
    }
}
