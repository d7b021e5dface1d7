//! `plan`: what a Dockerfile comes to, to be looked at instead of built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_frontend::{
    BuildOptions, FactRequest, Facts, Plan, Planning, ResolvedImage, plan, syntax_diagnostics,
};
use kiln_image::{ImageConfig, OciDigest, Platform};

use super::definition::{Text, faulty, read_fragment};
use super::note;
use super::request::DockerfileSource;
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
/// When the Dockerfile cannot be read or built, or a base image cannot be found.
pub fn plan_only(request: &PlanRequest, bases: &Bases<'_>) -> Result<Plan, EngineError> {
    let context = context_of(&request.dockerfile);
    let text = Text::read(&request.dockerfile, &|path| read_fragment(&context, path))?;
    let options = BuildOptions {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        build_platform: Platform::host(),
        ..BuildOptions::new(request.platform.clone())
    };
    if !text.errors.is_empty() {
        return Err(faulty(&text, syntax_diagnostics(&text.errors)));
    }
    let mut facts = Facts::new();
    loop {
        match plan(&text.parsed, text.source.text(), &options, &facts) {
            Ok(Planning::Done(plan)) => return Ok(*plan),
            Ok(Planning::Need(wanted)) => learn(&text, &wanted, bases, &mut facts)?,
            Err(diagnostics) => return Err(faulty(&text, diagnostics)),
        }
    }
}

/// Where files are that a Dockerfile without a context includes: beside it.
fn context_of(dockerfile: &DockerfileSource) -> PathBuf {
    match dockerfile {
        DockerfileSource::File(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
        DockerfileSource::Text(_) => PathBuf::from("."),
    }
}

fn learn(
    text: &Text,
    wanted: &[FactRequest],
    bases: &Bases<'_>,
    facts: &mut Facts,
) -> Result<(), EngineError> {
    let answer = |FactRequest::ImageConfig { reference, platform, .. }: &FactRequest| match bases {
        Bases::Assumed(config) => Ok(assumed(reference, config)),
        Bases::Found(engine) => engine.find_image(reference, platform, false),
    };
    note(text, wanted, wanted.iter().map(answer).collect(), facts)
}

/// An image that exists nowhere.
fn assumed(reference: &str, config: &ImageConfig) -> ResolvedImage {
    let nothing = OciDigest::of(b"");
    let mut config = config.clone();
    config.rootfs.diff_ids = vec![nothing];
    ResolvedImage {
        manifest: nothing.to_string(),
        locator: reference.to_owned(),
        reference: reference.to_owned(),
        config,
    }
}
