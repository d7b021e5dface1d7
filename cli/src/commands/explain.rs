//! `kiln explain`.

use kiln_cli::args::{ExplainArgs, Format};
use kiln_cli::why::{self, Detail};

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
            let heading = format!("{}  {}, {}\n\n", build.id, build.name, age(build.created_ms));
            heading + &why::summary(&explanation, Detail::Brief, &age)
        }
    };
    print(&text);
    Ok(())
}
