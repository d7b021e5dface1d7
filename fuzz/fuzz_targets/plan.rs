//! Planning and checking: any Dockerfile, on bases with a config and triggers, is refused with remarks that lie in
//! it, or planned. What no plan is made of is refused by the checks, too.

#![no_main]

use kiln_frontend::{
    BuildOptions, Extent, FactRequest, Facts, Planning, ResolvedImage, Severity, SourceText, check,
    plan, render,
};
use kiln_image::{ImageConfig, OciDigest, Platform};
use libfuzzer_sys::fuzz_target;

fn base(reference: &str) -> ResolvedImage {
    let mut config = ImageConfig::default();
    config.rootfs.diff_ids.push(OciDigest::of(b""));
    config.config.env = vec!["PATH=/bin".to_owned(), "odd".to_owned()];
    config.config.docker.on_build = vec!["COPY --from=a $b c".to_owned()];
    ResolvedImage {
        manifest: String::new(),
        locator: reference.to_owned(),
        reference: reference.to_owned(),
        config,
    }
}

fuzz_target!(|source: &str| {
    let parsed = kiln_grammar::parse(source);
    let text = SourceText::of_file("Dockerfile", source);
    let options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    let mut facts = Facts::new();
    let remarks = loop {
        match plan(&parsed.dockerfile, source, &options, &facts) {
            Ok(Planning::Need(requests)) => {
                for FactRequest::ImageConfig { reference, platform, .. } in requests {
                    let image = base(&reference);
                    facts.insert(reference, platform, image);
                }
            }
            Ok(Planning::Done(plan)) => break plan.warnings,
            Err(remarks) => break remarks,
        }
    };
    let is_error = |remark: &kiln_frontend::Diagnostic| remark.severity == Severity::Error;
    let checked = check(&parsed, source, &options, &facts, Extent::Target).remarks;
    assert!(checked.iter().any(is_error) || !remarks.iter().any(is_error), "{remarks:?}");
    let unknowing = check(&parsed, source, &options, &Facts::new(), Extent::AllStages).remarks;
    for remark in remarks.iter().chain(&checked).chain(&unknowing) {
        std::hint::black_box(render(remark, &text));
    }
});
