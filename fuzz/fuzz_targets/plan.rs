//! Planning: any Dockerfile is refused with remarks that lie in it, or planned, without a base image's
//! config.

#![no_main]

use kiln_frontend::{BuildOptions, Facts, plan, render};
use kiln_image::Platform;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let parsed = kiln_grammar::parse(source);
    let options = BuildOptions::new(Platform::host());
    if let Err(diagnostics) = plan(&parsed.dockerfile, source, &options, &Facts::new()) {
        for diagnostic in &diagnostics {
            std::hint::black_box(render(diagnostic, "Dockerfile", source));
        }
    }
});
