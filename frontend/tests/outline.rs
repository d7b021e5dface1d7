//! What a Dockerfile says it offers.

#![expect(clippy::unwrap_used, reason = "a Dockerfile that cannot be read fails the test")]

use kiln_frontend::{BuildOptions, Facts, Outline, outline, targets};
use kiln_grammar::{line_column, parse};
use kiln_image::Platform;

const SOURCE: &str = "\
# TAG is the base's
ARG TAG=3${SUFFIX}
ARG SUFFIX
ARG UNUSED=1
# tools compiles
#   everything
FROM debian:${TAG} AS tools
# not its name
ARG DEBUG=
ARG TARGETARCH
RUN --mount=type=secret,id=token,required=true --mount=type=ssh make
FROM alpine AS other
ARG OTHER=1
FROM --platform=$BUILDPLATFORM tools AS Final
ARG MODE=x$DEBUG
ARG UNSET
RUN --mount=type=secret,target=/etc/key --mount=type=secret,id=token true
";

fn outlined(target: Option<&str>, build_args: &[(&str, &str)]) -> Outline {
    let mut options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    options.target = target.map(str::to_owned);
    let pairs = build_args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    options.build_args = pairs.collect();
    outline(&parse(SOURCE).dockerfile, &options, &Facts::new()).unwrap()
}

/// Names, values and lines.
fn arguments(outline: &Outline) -> Vec<(&str, &str, usize)> {
    let all = outline.arguments.iter();
    all.map(|one| {
        let line = line_column(SOURCE, one.span.start).0;
        (one.name.as_str(), one.value.as_deref().unwrap_or("-"), line)
    })
    .collect()
}

#[test]
fn an_outline_has_what_the_target_and_the_stages_below_it_take() {
    let shown = outlined(None, &[("DEBUG", "y")]);
    assert_eq!(shown.name.as_deref(), Some("final"));
    assert_eq!(
        arguments(&shown),
        [
            ("TAG", "3", 2),
            ("SUFFIX", "-", 3),
            ("DEBUG", "y", 9),
            ("MODE", "xy", 15),
            ("UNSET", "-", 16)
        ]
    );
    assert_eq!(shown.arguments[0].description.as_deref(), Some("is the base's"));
    assert_eq!(shown.arguments[2].description, None);
    let secrets: Vec<_> = shown.secrets.iter().map(|s| (s.id.as_str(), s.is_required)).collect();
    assert_eq!(secrets, [("token", true), ("key", false)]);
    assert_eq!(shown.ssh[0].id, "default");
}

#[test]
fn an_outline_of_another_stage_leaves_the_rest_out() {
    let shown = outlined(Some("other"), &[]);
    assert_eq!(arguments(&shown), [("OTHER", "1", 13)]);
    assert!(shown.secrets.is_empty() && shown.ssh.is_empty());
}

#[test]
fn targets_are_the_stages_and_the_last_is_the_default() {
    let all = targets(&parse(SOURCE).dockerfile);
    let names: Vec<_> =
        all.iter().map(|one| (one.name.as_deref().unwrap(), one.is_default)).collect();
    assert_eq!(names, [("tools", false), ("other", false), ("final", true)]);
    assert_eq!(all[0].description.as_deref(), Some("compiles"));
    assert_eq!((all[0].base.as_str(), all[2].base.as_str()), ("debian:${TAG}", "tools"));
    assert_eq!(all[2].platform.as_deref(), Some("$BUILDPLATFORM"));
}
