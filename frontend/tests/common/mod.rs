//! Plans without a registry, for tests and examples.

use kiln_frontend::{
    BuildOptions, Diagnostic, FactRequest, Facts, Plan, Planning, ResolvedImage, plan,
};
use kiln_grammar::Dockerfile;
use kiln_image::{ImageConfig, OciDigest};

/// Plans; every base is an image of one layer, and of no platform.
pub(crate) fn plan_on_bases(
    dockerfile: &Dockerfile,
    source: &str,
    options: &BuildOptions,
) -> Result<Plan, Vec<Diagnostic>> {
    let mut facts = Facts::new();
    loop {
        let requests = match plan(dockerfile, source, options, &facts)? {
            Planning::Done(plan) => return Ok(*plan),
            Planning::Need(requests) => requests,
        };
        for FactRequest::ImageConfig { reference, platform, .. } in requests {
            let mut config = ImageConfig::default();
            config.rootfs.diff_ids.push(OciDigest::of(b""));
            let image = ResolvedImage {
                manifest: String::new(),
                locator: reference.clone(),
                reference: reference.clone(),
                config,
            };
            facts.insert(reference, platform, image);
        }
    }
}
