//! Every code of a remark has a page in `docs/diagnostics/`, and the pages' examples are true.

#![expect(clippy::unwrap_used, reason = "a page that cannot be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use kiln_frontend::{
    BuildOptions, Expansion, Extent, FactRequest, Facts, NoCache, Planning, ResolvedImage,
    Severity, SourceText, check, codes, expand, plan, syntax_diagnostics,
};
use kiln_grammar::parse;
use kiln_image::{ImageConfig, OciDigest, Platform};
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
        options.run.allowed = Some(BTreeSet::new());
        for argument in text.split("--build-arg ").skip(1) {
            let argument = argument.split_whitespace().next().unwrap();
            if let Some((name, value)) = argument.split_once('=') {
                options.build_args.insert(name.to_owned(), value.to_owned());
            }
        }
        for name in text.split("--no-cache-filter ").skip(1) {
            let name = name.split_whitespace().next().unwrap().to_owned();
            options.no_cache = NoCache::Stages(vec![name]);
        }
        for (_, pattern) in text
            .match_indices("`.dockerignore` of `")
            .map(|(at, found)| (at, &text[at + found.len()..]))
        {
            options.ignore.push(pattern.split('`').next().unwrap().to_owned());
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

/// A base image; that of a trigger's page has a trigger that is none, and one is for another platform.
fn image(reference: &str) -> ResolvedImage {
    let mut config = ImageConfig { os: "linux".to_owned(), ..ImageConfig::default() };
    config.architecture = "amd64".to_owned();
    config.config.env = vec!["PATH=/bin".to_owned()];
    config.rootfs.diff_ids.push(OciDigest::of(b"base"));
    if reference.contains("for-s390x") {
        config.architecture = "s390x".to_owned();
    }
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
    let whole = match expand(SourceText::of_file("Dockerfile", source), &BTreeMap::new()) {
        Ok(Expansion::Done(whole)) => whole,
        Ok(Expansion::Need(files)) => panic!("no page includes other files: {files:?}"),
        Err((_, remarks)) => return remarks.iter().map(|one| (one.code, one.severity)).collect(),
    };
    let source = whole.text();
    let parsed = parse(source);
    let mut facts = Facts::new();
    let mut remarks = if parsed.errors.is_empty() {
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
    let checked = check(&parsed, source, options, &facts, Extent::AllStages);
    remarks.extend(checked.remarks);
    remarks.iter().map(|remark| (remark.code, remark.severity)).collect()
}

/// The pages without their index.
fn pages() -> Vec<Case> {
    documents(PAGES, "md").into_iter().filter(|case| case.name != "README").collect()
}

#[test]
fn every_page_is_in_the_index() {
    let index = documents(PAGES, "md").into_iter().find(|case| case.name == "README").unwrap();
    for page in pages() {
        let link = format!("| [`{0}`]({0}.md) | ", page.name);
        let rows = index.input.lines().filter(|line| line.starts_with(&link));
        assert_eq!(rows.count(), 1, "{}: rows in the index", page.name);
    }
    let rows = index.input.lines().filter(|line| line.starts_with("| [`")).count();
    assert_eq!(rows, pages().len());
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<_> = pages().into_iter().map(|case| case.name).collect();
    let known: BTreeSet<_> = codes().map(str::to_owned).collect();
    assert_eq!(pages, known);
}

#[test]
fn bad_examples_yield_their_code_alone_and_good_ones_nothing() {
    let mut untrue = Vec::new();
    for case in pages() {
        let page = Page::read(&case);
        let bad = said(&page.bad, &page.options);
        // An error may also show in a check's remark.
        let worst = bad.iter().map(|(_, severity)| *severity).max();
        let told = bad.iter().filter(|(_, severity)| Some(*severity) == worst);
        let found: Vec<_> = told.map(|(code, _)| *code).collect();
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
