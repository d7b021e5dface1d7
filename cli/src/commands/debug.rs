//! `kiln debug`.

use std::fs;
use std::path::Path;

use kiln_cli::args::PlanArgs;
use kiln_cli::exit_code::ExitCode;
use kiln_cli::planned;
use kiln_engine::{
    Bases, DockerfileSource, EngineError, Faulty, PlanRequest, check_only, plan_only,
};
use kiln_frontend::Plan;
use kiln_image::{ImageConfig, Platform};

use super::build::{build_args, stdin_dockerfile};
use super::report::note;
use super::{Failure, Place, print};

/// Prints a plan. A Dockerfile that is refused is an answer like any other, and no failure.
pub(super) fn plan(place: &Place, arguments: &PlanArgs) -> Result<(), Failure> {
    let dockerfile = match &arguments.file {
        file if file.as_os_str() == "-" => stdin_dockerfile()?,
        file => DockerfileSource::File(file.clone()),
    };
    let request = PlanRequest {
        dockerfile,
        target: arguments.target.clone(),
        build_args: build_args(&arguments.build_args),
        platform: arguments.platform.clone().unwrap_or_else(Platform::host),
    };
    let (planned, checked) = match &arguments.assume_base {
        Some(path) => both(&request, &Bases::Assumed(Box::new(base_config(path)?))),
        None => both(&request, &Bases::Found(&place.open()?)),
    };
    let mut document = match planned {
        Ok(plan) => planned::accepted(&plan),
        Err(EngineError::Dockerfile(faulty)) => planned::refused(&faulty),
        Err(error) => return Err(error.into()),
    };
    planned::add_lint(&mut document, &checked?);
    print(&format!("{document:#}\n"));
    Ok(())
}

/// The plan, and what the checks say.
fn both(
    request: &PlanRequest,
    bases: &Bases<'_>,
) -> (Result<Plan, EngineError>, Result<Faulty, EngineError>) {
    (plan_only(request, bases), check_only(request, bases))
}

fn base_config(path: &Path) -> Result<ImageConfig, Failure> {
    let bytes = fs::read(path).map_err(|source| EngineError::ReadFile {
        what: "image config",
        path: path.to_owned(),
        source,
    })?;
    planned::base_config(&bytes).map_err(|error| {
        note("error", &format!("`{}` is no image config: {error}", path.display()));
        Failure::Told(ExitCode::Usage)
    })
}
