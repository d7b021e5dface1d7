//! The build checks against the reference's remarks on real Dockerfiles.
//!
//! The corpus is kept beside the project; where it is missing the test says so. Files that are refused count,
//! too: the reference makes the remarks that come before its first error.

#![expect(clippy::unwrap_used, reason = "a corpus of another shape fails the test")]

use kiln_frontend::{BuildOptions, Check, Extent, FactRequest, Facts, ResolvedImage, check};
use kiln_grammar::{line_column, parse};
use kiln_image::{ImageConfig, OciDigest, Platform};
use kiln_testkit::Comparison;
use serde_json::Value;

/// The config that the corpus gives to every base image.
fn base_config() -> ImageConfig {
    let mut config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    let run = &mut config.config;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    run.env = vec![path.to_owned(), "BASEENV=frombase".to_owned()];
    run.cmd = Some(vec!["/bin/basecmd".to_owned()]);
    run.working_dir = "/basewd".to_owned();
    run.labels.insert("base.label".to_owned(), "1".to_owned());
    config.rootfs.diff_ids.push(OciDigest::of(b"base"));
    config
}

/// A base image.
fn resolved(reference: &str) -> ResolvedImage {
    ResolvedImage {
        manifest: format!("sha256:{:064}", 0),
        locator: reference.to_owned(),
        reference: reference.to_owned(),
        config: base_config(),
    }
}

/// The reference's checks and the lines they speak of, sorted.
fn lint(source: &str) -> Vec<(String, usize)> {
    let parsed = parse(source);
    let options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    let mut facts = Facts::new();
    let remarks = loop {
        let checked = check(&parsed, source, &options, &facts, Extent::AllStages);
        if checked.missing.is_empty() {
            break checked.remarks;
        }
        for request in checked.missing {
            let FactRequest::ImageConfig { reference, platform, .. } = request;
            assert!(facts.get(&reference, &platform).is_none(), "asked twice");
            let image = resolved(&reference);
            facts.insert(reference, platform, image);
        }
    };
    let lines =
        remarks.iter().filter(|remark| Check::of_code(remark.code).is_some()).map(|remark| {
            let at = remark.line_span().unwrap().start;
            (remark.code.to_owned(), line_column(source, at).0)
        });
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

#[test]
fn checks_of_real_dockerfiles() {
    let Some(text) = kiln_testkit::corpus("visible.jsonl") else { return };
    let mut comparison = Comparison::of("visible.jsonl, lint");
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let expected = case["expect"]["lint"].as_array().into_iter().flatten().map(|pair| {
            let line = usize::try_from(pair[1].as_u64().unwrap()).unwrap();
            (pair[0].as_str().unwrap().to_owned(), line)
        });
        let expected: Vec<_> = expected.collect();
        let found = lint(case["dockerfile"].as_str().unwrap());
        let extra: Vec<_> = found.iter().filter(|one| !expected.contains(one)).collect();
        let missing: Vec<_> = expected.iter().filter(|one| !found.contains(one)).collect();
        let counts = format!("{} remarks of {}", found.len(), expected.len());
        let difference =
            (found != expected).then(|| format!("{counts}: extra {extra:?}, missing {missing:?}"));
        comparison.case(case["id"].as_str().unwrap(), difference);
    }
    comparison.finish(&[], 1_300);
}
