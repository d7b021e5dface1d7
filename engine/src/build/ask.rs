//! `ask`: what is to be known of a Dockerfile without building it.
//!
//! No step runs. Of the images that it names only the configs of bases are looked at, and those that cannot be
//! had matter only where an answer depends on them.

use std::time::Instant;

use kiln_frontend::{
    BuildOptions, Diagnostic, Extent, FactRequest, Facts, Outline, Target, outline, targets,
};
use kiln_solver::{Cancel, Event, Narrator};

use super::contexts::Contexts;
use super::definition::{Text, faulty};
use super::missing::missing_image;
use super::request::BuildRequest;
use super::{is_error, options};
use crate::error::{Faulty, MissingImage};
use crate::{Engine, EngineError};

/// What is asked of a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// What is wrong with it.
    Check,
    /// What a build of the target can be given.
    Outline,
    /// Which stages there are.
    Targets,
}

/// An answer. With each is the Dockerfile that it is about.
#[derive(Debug)]
pub enum Answer {
    /// Remarks and errors, in source order.
    Checked {
        /// The remarks.
        remarks: Faulty,
        /// Base images that could not be had; no remark depends on them.
        unseen: Vec<MissingImage>,
    },
    /// The parameters of the target.
    Outline(Faulty, Outline),
    /// The stages, in order.
    Targets(Faulty, Vec<Target>),
}

impl Engine {
    /// Answers a question about the Dockerfile of `request`, and tells `sink` what is looked up for that, in
    /// order, on this thread.
    ///
    /// # Errors
    /// When the Dockerfile cannot be read, or an image cannot be had that the answer depends on. For anything
    /// but a check, also when the Dockerfile is not well formed.
    pub fn ask(
        &self,
        question: Question,
        request: &BuildRequest,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Answer, EngineError> {
        let start = Instant::now();
        let clock = || start.elapsed();
        let mut narrator = Narrator::new(&clock, sink);
        let contexts = self.open_contexts(request, &Cancel::never(), &mut narrator)?;
        let text = narrator.perform_here("[internal] load build definition", |_| {
            self.load_definition(request, &contexts)
        })?;
        match question {
            Question::Check => self.check(request, text, &contexts, &mut narrator),
            Question::Outline => {
                let options = options(request, &contexts);
                let text = well_formed(text, &options)?;
                let facts = self.known_bases(request, &text, &contexts, &mut narrator).0;
                let shown = outline(&text.parsed.dockerfile, &options, &facts)
                    .map_err(|first| refusal(&text, &options, &facts, first))?;
                Ok(Answer::Outline(text.told(Vec::new()), shown))
            }
            Question::Targets => {
                let text = well_formed(text, &options(request, &contexts))?;
                let shown = targets(&text.parsed.dockerfile);
                Ok(Answer::Targets(text.told(Vec::new()), shown))
            }
        }
    }

    fn check(
        &self,
        request: &BuildRequest,
        text: Text,
        contexts: &Contexts,
        narrator: &mut Narrator<'_>,
    ) -> Result<Answer, EngineError> {
        let options = options(request, contexts);
        let (facts, unseen) = self.known_bases(request, &text, contexts, narrator);
        let checked = text.check(&options, &facts, Extent::AllStages);
        let decides = |image: &(FactRequest, MissingImage)| checked.missing.contains(&image.0);
        if unseen.iter().any(decides) {
            let decisive = unseen.into_iter().filter(decides).map(|(_, image)| image);
            return Err(EngineError::Images(decisive.collect()));
        }
        let unseen = unseen.into_iter().map(|(_, image)| image).collect();
        Ok(Answer::Checked { remarks: text.told(checked.remarks), unseen })
    }

    /// Looks up the bases of all stages that are looked at; answers those that cannot be had beside the rest.
    fn known_bases(
        &self,
        request: &BuildRequest,
        text: &Text,
        contexts: &Contexts,
        narrator: &mut Narrator<'_>,
    ) -> (Facts, Vec<(FactRequest, MissingImage)>) {
        let options = options(request, contexts);
        let mut facts = Facts::new();
        let wanted = text.check(&options, &facts, Extent::AllStages).unknown;
        let found = self.find_out(&wanted, request, narrator);
        let mut unseen = Vec::new();
        for (wanted, found) in wanted.into_iter().zip(found) {
            let FactRequest::ImageConfig { reference, platform, span } = &wanted;
            match found {
                Ok(image) => facts.insert(reference.clone(), platform.clone(), image),
                Err(error) => {
                    let image = missing_image(text, *span, error);
                    unseen.push((wanted, image));
                }
            }
        }
        (facts, unseen)
    }
}

/// Refuses what the parser does not understand, with all that is wrong besides.
fn well_formed(text: Text, options: &BuildOptions) -> Result<Text, EngineError> {
    if text.parsed.errors.is_empty() {
        return Ok(text);
    }
    Err(refusal(&text, options, &Facts::new(), Vec::new()))
}

/// All that is wrong with a file, `first` being known of it.
fn refusal(
    text: &Text,
    options: &BuildOptions,
    facts: &Facts,
    first: Vec<Diagnostic>,
) -> EngineError {
    let mut errors = text.check(options, facts, Extent::Target).remarks;
    errors.retain(is_error);
    faulty(text, if errors.is_empty() { first } else { errors })
}
