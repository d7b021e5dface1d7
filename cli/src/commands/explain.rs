//! `kiln explain`.

use kiln_cli::args::{ExplainArgs, Format};
use kiln_cli::why::{self, Detail};
use kiln_engine::history::{BuildState, BuildStatus};

use super::table::age;
use super::{Failure, Place, print};

/// Says why the steps of a build ran or did not.
pub(super) fn explain(place: &Place, arguments: &ExplainArgs) -> Result<(), Failure> {
    let engine = place.open()?;
    let listed = engine.find_build(arguments.build.as_deref())?;
    let build = engine.past_build(&listed.id)?;
    let explanation = engine.explain_build(&build)?;
    let step = arguments.step.as_deref().map(|text| explanation.find(text)).transpose()?;
    let text = match (arguments.format, step) {
        (Format::Json, Some(step)) => why::line(&explanation, step),
        (Format::Json, None) => why::lines(&explanation),
        (Format::Table, Some(step)) => why::step(&explanation, step, &age),
        (Format::Table, None) => {
            let ended = ended(&listed.state);
            let ago = age(build.created_ms);
            let heading = format!("{}  {}, {ago}{ended}\n\n", build.id, build.name);
            heading + &why::summary(&explanation, Detail::Brief, &age)
        }
    };
    print(&text);
    Ok(())
}

/// How a build ended, where not well.
const fn ended(state: &BuildState) -> &'static str {
    match state {
        BuildState::Ended(row) => match row.status {
            BuildStatus::Completed => "",
            BuildStatus::Failed => "; it failed",
            BuildStatus::Cancelled => "; it was interrupted",
        },
        BuildState::Running => "; it is running",
        BuildState::Killed => "; it was killed",
    }
}
