//! `plan`: what a Dockerfile comes to, to be looked at instead of built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_frontend::{
    BuildOptions, Extent, FactRequest, Facts, Plan, Planning, ResolvedImage, plan,
    syntax_diagnostics,
};
use kiln_image::{ImageConfig, OciDigest, Platform};

use super::definition::{Text, faulty, read_fragment};
use super::note;
use super::request::DockerfileSource;
use crate::error::Faulty;
use crate::{Engine, EngineError};

/// A plan, as asked for.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// The stage to build; nothing for the last.
    pub target: Option<String>,
    /// Values for `ARG`s.
    pub build_args: BTreeMap<String, String>,
    /// The platform of the image.
    pub platform: Platform,
}

/// Where a plan's base images come from.
#[derive(Debug)]
pub enum Bases<'e> {
    /// Every one, whatever its name, has this config and one layer.
    Assumed(Box<ImageConfig>),
    /// The store, or else registries.
    Found(&'e Engine),
}

/// Plans a Dockerfile; reads no context, makes nothing.
///
/// # Errors
/// When the Dockerfile cannot be read or built, or a base image cannot be found. Of a Dockerfile that cannot be
/// built only what its first reading finds is told; [`check_only`] tells all.
pub fn plan_only(request: &PlanRequest, bases: &Bases<'_>) -> Result<Plan, EngineError> {
    let text = read(&request.dockerfile)?;
    let options = options(request);
    if !text.parsed.errors.is_empty() {
        return Err(faulty(&text, syntax_diagnostics(&text.parsed.errors)));
    }
    let mut facts = Facts::new();
    loop {
        match plan(&text.parsed.dockerfile, text.source.text(), &options, &facts) {
            Ok(Planning::Done(plan)) => return Ok(*plan),
            Ok(Planning::Need(wanted)) => learn(&text, &wanted, bases, &mut facts)?,
            Err(diagnostics) => return Err(faulty(&text, diagnostics)),
        }
    }
}

fn read(dockerfile: &DockerfileSource) -> Result<Text, EngineError> {
    let context = context_of(dockerfile);
    Text::read(dockerfile, &|path| read_fragment(&context, path))
}

/// Where files are that a Dockerfile without a context includes: beside it.
fn context_of(dockerfile: &DockerfileSource) -> PathBuf {
    match dockerfile {
        DockerfileSource::File(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
        DockerfileSource::Text(_) => PathBuf::from("."),
    }
}

/// Checks all stages of a Dockerfile, or those that the target needs; reads no context but for what it
/// includes. Base images that cannot be found count as images that set nothing.
///
/// # Errors
/// When the Dockerfile cannot be read.
pub fn check_only(request: &PlanRequest, bases: &Bases<'_>) -> Result<Faulty, EngineError> {
    let text = read(&request.dockerfile)?;
    let options = options(request);
    let mut facts = Facts::new();
    for wanted in text.check(&options, &facts, Extent::AllStages).unknown {
        // It is looked up for the plan, too, and missed there.
        let _unseen = learn(&text, &[wanted], bases, &mut facts);
    }
    let remarks = text.check(&options, &facts, Extent::AllStages).remarks;
    Ok(text.told(remarks))
}

fn options(request: &PlanRequest) -> BuildOptions {
    BuildOptions {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        build_platform: Platform::host(),
        ..BuildOptions::new(request.platform.clone())
    }
}

fn learn(
    text: &Text,
    wanted: &[FactRequest],
    bases: &Bases<'_>,
    facts: &mut Facts,
) -> Result<(), EngineError> {
    let answer = |FactRequest::ImageConfig { reference, platform, .. }: &FactRequest| match bases {
        Bases::Assumed(config) => Ok(assumed(reference, platform, config)),
        Bases::Found(engine) => engine.find_image(reference, platform, false),
    };
    note(text, wanted, wanted.iter().map(answer).collect(), facts)
}

/// An image that exists nowhere. One that is for no platform is for the one that is asked for.
fn assumed(reference: &str, platform: &Platform, config: &ImageConfig) -> ResolvedImage {
    let nothing = OciDigest::of(b"");
    let mut config = config.clone();
    if config.os.is_empty() && config.architecture.is_empty() {
        config.os = platform.os().to_owned();
        config.architecture = platform.architecture().to_owned();
        config.variant = platform.variant().to_owned();
    }
    config.rootfs.diff_ids = vec![nothing];
    ResolvedImage {
        manifest: nothing.to_string(),
        locator: reference.to_owned(),
        reference: reference.to_owned(),
        config,
    }
}
