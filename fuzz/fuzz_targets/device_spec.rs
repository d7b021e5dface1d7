//! Any text as a specification of devices, in YAML and JSON: it is refused, or its devices can be had or not, and
//! what a command gets of them lies inside its root.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The engine shows nobody how it reads them.
#[expect(dead_code, reason = "annotations are for the rest of the engine")]
#[path = "../../engine/src/devices/spec.rs"]
mod spec;

fuzz_target!(|text: &str| {
    for is_json in [false, true] {
        let Ok(spec) = spec::Spec::parse(text, is_json) else { continue };
        let mut edits = spec::DeviceEdits::default();
        let all = spec.devices.iter().map(|device| &device.container_edits);
        for edit in all.chain([&spec.container_edits]) {
            let _reason = edit.apply(&mut edits);
        }
        assert!(edits.env.iter().all(|(name, _)| !name.is_empty() && !name.contains(['=', '\0'])));
        assert!(edits.mounts.iter().all(|mount| !mount.target.is_root()));
    }
});
