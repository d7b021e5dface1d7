//! One round of planning, with the build checks beside it.

use kiln_frontend::{BuildOptions, Diagnostic, Extent, FactRequest, Facts, Plan, Planning, plan};

use super::definition::Text;

/// A Dockerfile of at least this many bytes is planned and checked at the same time; for a shorter one it is not worth
/// waking a thread.
const LONG_BYTES: usize = 32 << 10;

/// The plans of all platforms, or those that are done and what the others need to know; or what is wrong.
pub(super) type Planned = Result<(Vec<Plan>, Vec<FactRequest>), Vec<Diagnostic>>;

/// Plans for all platforms. The second answer is that of [`check`], where it was made beside.
pub(super) fn plan_and_check(
    text: &Text,
    every: &[BuildOptions],
    facts: &Facts,
) -> (Planned, Option<Vec<Diagnostic>>) {
    if text.source.text().len() < LONG_BYTES {
        return (plan_all(text, every, facts), None);
    }
    let plans = || plan_all(text, every, facts);
    let (planned, checked) = rayon::join(plans, || check(text, every, facts));
    (planned, Some(checked))
}

/// The build checks. As the reference does, the first platform's plan is checked.
pub(super) fn check(text: &Text, every: &[BuildOptions], facts: &Facts) -> Vec<Diagnostic> {
    text.check(&every[0], facts, Extent::Target).remarks
}

fn plan_all(text: &Text, every: &[BuildOptions], facts: &Facts) -> Planned {
    let (mut plans, mut wanted) = (Vec::new(), Vec::new());
    for options in every {
        match plan(&text.parsed.dockerfile, text.source.text(), options, facts)? {
            Planning::Done(plan) => plans.push(*plan),
            Planning::Need(more) => want(&mut wanted, more),
        }
    }
    Ok((plans, wanted))
}

/// Adds requests that have not been made yet; of two for the same image the first place counts.
fn want(wanted: &mut Vec<FactRequest>, more: Vec<FactRequest>) {
    let key = |FactRequest::ImageConfig { reference, platform, .. }: &FactRequest| {
        (reference.clone(), platform.clone())
    };
    for request in more {
        if !wanted.iter().any(|known| key(known) == key(&request)) {
            wanted.push(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_image::Platform;

    use super::*;

    /// What comes of a file with so many bytes of comments at its end.
    fn round(dockerfile: &str, padding: usize) -> (Planned, Option<Vec<Diagnostic>>) {
        let bytes = dockerfile.to_owned() + &"# padding\n".repeat(padding / 10 + 1);
        let none = |_: &str| unreachable!("nothing is included");
        let text = Text::of("Dockerfile".to_owned(), bytes.as_bytes(), &none).unwrap();
        let every = [BuildOptions::new(Platform::host())];
        let (planned, checked) = plan_and_check(&text, &every, &Facts::new());
        assert_eq!(checked.is_some(), padding >= LONG_BYTES);
        (planned, Some(checked.unwrap_or_else(|| check(&text, &every, &Facts::new()))))
    }

    #[test]
    fn a_long_file_gives_what_a_short_one_gives() {
        for dockerfile in [
            "FROM scratch as base\nCOPY a /a\nFROM base\nCOPY b /b\n",
            "FROM scratch\nCOPY --from=nowhere a\n",
            "FROM base\nRUN make\n",
        ] {
            let ((short, remarks), (long, beside)) =
                (round(dockerfile, 0), round(dockerfile, LONG_BYTES));
            assert_eq!(remarks, beside);
            match (short, long) {
                (Ok((short, wanted)), Ok((long, also_wanted))) => {
                    assert_eq!(wanted, also_wanted);
                    let graphs = |plans: &[Plan]| -> Vec<_> {
                        plans.iter().map(|plan| plan.graph.clone()).collect()
                    };
                    assert_eq!(graphs(&short), graphs(&long));
                }
                (Err(short), Err(long)) => assert_eq!(short, long),
                (short, long) => panic!("{short:?} and {long:?}"),
            }
        }
    }
}
