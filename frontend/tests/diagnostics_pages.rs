//! Every code of a remark has a page in `docs/diagnostics/`, and the pages' examples are true.

#![expect(clippy::unwrap_used, reason = "a page that cannot be read fails the test")]

use std::collections::BTreeSet;

use kiln_frontend::{
    BuildOptions, FactRequest, Facts, Planning, ResolvedImage, Severity, codes, plan,
    syntax_diagnostics,
};
use kiln_grammar::parse;
use kiln_image::{ImageConfig, Platform};
use kiln_testkit::{Case, documents};

const PAGES: &str = "docs/diagnostics";

/// What a page shows.
struct Page {
    bad: String,
    good: String,
    options: BuildOptions,
}

impl Page {
    fn read(case: &Case) -> Self {
        let text = &case.input;
        assert!(text.starts_with(&format!("# `{}`\n", case.name)), "{}: the title", case.name);
        let (_, examples) = text.split_once("\n## Bad\n").unwrap();
        let (bad, good) = examples.split_once("\n## Good\n").unwrap();
        let mut options = BuildOptions::new(Platform::new("linux", "amd64", ""));
        for argument in text.split("--build-arg ").skip(1) {
            let argument = argument.split_whitespace().next().unwrap();
            if let Some((name, value)) = argument.split_once('=') {
                options.build_args.insert(name.to_owned(), value.to_owned());
            }
        }
        Self { bad: fenced(bad), good: fenced(good), options }
    }
}

/// The one Dockerfile in a part of a page.
fn fenced(part: &str) -> String {
    let (_, after) = part.split_once("```dockerfile\n").unwrap();
    let (dockerfile, rest) = after.split_once("\n```").unwrap();
    assert!(!rest.contains("```"), "one example each");
    // A page is not to hold a line of more than 64 KiB.
    format!("{}\n", dockerfile.replace("STRETCHED", &"x".repeat(70_000)))
}

/// A base image; that of a trigger's page has a trigger that is none.
fn image(reference: &str) -> ResolvedImage {
    let mut config = ImageConfig { os: "linux".to_owned(), ..ImageConfig::default() };
    config.architecture = "amd64".to_owned();
    if reference.contains("with-broken-trigger") {
        config.config.docker.on_build = vec!["FROM another".to_owned()];
    }
    let text = reference.to_owned();
    ResolvedImage {
        manifest: "sha256:0".to_owned(),
        locator: text.clone(),
        reference: text,
        config,
    }
}

/// The codes and severities of all that is said of a Dockerfile.
fn said(source: &str, options: &BuildOptions) -> BTreeSet<(&'static str, Severity)> {
    let parsed = parse(source);
    let remarks = if parsed.errors.is_empty() {
        let mut facts = Facts::new();
        loop {
            match plan(&parsed.dockerfile, source, options, &facts) {
                Ok(Planning::Done(plan)) => break plan.warnings,
                Err(remarks) => break remarks,
                Ok(Planning::Need(requests)) => {
                    for FactRequest::ImageConfig { reference, platform, .. } in requests {
                        let image = image(&reference);
                        facts.insert(reference, platform, image);
                    }
                }
            }
        }
    } else {
        syntax_diagnostics(&parsed.errors)
    };
    remarks.iter().map(|remark| (remark.code, remark.severity)).collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<_> = documents(PAGES, "md").into_iter().map(|case| case.name).collect();
    let known: BTreeSet<_> = codes().map(str::to_owned).collect();
    assert_eq!(pages, known);
}

#[test]
fn bad_examples_yield_their_code_alone_and_good_ones_nothing() {
    let mut untrue = Vec::new();
    for case in documents(PAGES, "md") {
        let page = Page::read(&case);
        let bad = said(&page.bad, &page.options);
        let found: Vec<_> = bad.iter().map(|(code, _)| *code).collect();
        if found != [case.name.as_str()] {
            untrue.push(format!("{}: the bad example yields {found:?}", case.name));
        }
        let good = said(&page.good, &page.options);
        if !good.is_empty() {
            untrue.push(format!("{}: the good example yields {good:?}", case.name));
        }
    }
    assert!(untrue.is_empty(), "{untrue:#?}");
}
