//! A cache inside an image, which stays an image like any other.

use serde_json::Value;

use super::super::support::image::Image;
use super::super::support::servers::{Bundle, Registry};
use super::super::support::{have, oci, output, tool};
use super::Bed;

const FIELD: &str = "kiln.cache.v1";

#[test]
fn an_image_with_a_cache_serves_another_machine() {
    if !have(&["docker-registry", "skopeo"]) {
        return;
    }
    let Some(bed) = Bed::new() else { return };
    let registry = Registry::start(&bed.work);
    let layout = bed.work.path("layout");
    bed.build("a").arg("--cache-to=type=inline").into_layout(&layout).at_epoch().run();
    let made = Image::of(&layout).digest;
    for (name, more) in [("as-it-is", &[][..]), ("zstd", &["--dest-compress-format=zstd"])] {
        let name = format!("{}/app:{name}", registry.host);
        let mut skopeo = tool("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]).args(more);
        output(skopeo.args([&oci(&layout, "latest"), &format!("docker://{name}")]));
        let from = ["--cache-from", &name, "--cache-to=type=inline"];
        let (steps, used) = bed.run_at_epoch("b", &from);
        let ran = steps.ran();
        // An image has no more than its own layers; the stage it copies from runs.
        assert!(ran.iter().all(|name| name.starts_with("[build ")), "{ran:?}");
        assert_eq!((ran.len(), used), (3, made.clone()));
        bed.forget("b");
    }
}

#[test]
fn other_programs_take_an_image_with_a_cache() {
    if !have(&["skopeo", "umoci", "runc"]) {
        return;
    }
    let Some(bed) = Bed::new() else { return };
    let layout = bed.work.path("layout");
    bed.build("a").arg("--cache-to=type=inline").into_layout(&layout).run();
    let image = Image::of(&layout);
    assert!(image.config[FIELD]["records"].as_array().unwrap().len() >= 3);
    let mut skopeo = tool("skopeo");
    skopeo.args(["--insecure-policy", "inspect", "--config", &oci(&layout, "latest")]);
    let seen: Value = serde_json::from_str(&output(&mut skopeo)).unwrap();
    assert_eq!(seen["rootfs"]["diff_ids"], image.config["rootfs"]["diff_ids"]);
    let archive = bed.work.path("docker.tar");
    let mut skopeo = tool("skopeo");
    let to = format!("docker-archive:{}:app:1", archive.display());
    output(skopeo.args(["--insecure-policy", "copy", &oci(&layout, "latest"), &to]));
    if !super::super::support::is_root() {
        return;
    }
    let bundle = Bundle::unpack(&bed.work, &layout);
    assert_eq!(std::fs::read_to_string(bundle.file("root/x")).unwrap(), "x\n");
    bundle.set_variable("NAME", "value");
    let id = format!("kiln-inline-{}", std::process::id());
    bundle.run(&id);
}

#[test]
fn an_image_without_a_cache_has_no_trace_of_one() {
    let Some(bed) = Bed::new() else { return };
    let (_, plain) = bed.run_at_epoch("a", &[]);
    let to = bed.at("--cache-to=type=local,mode=max,dest", "cache");
    let (_, exported) = bed.run_at_epoch("b", &[&to]);
    assert_eq!(exported, plain);
    let layout = bed.work.path("layout");
    bed.build("c").arg("--cache-to=type=inline").into_layout(&layout).at_epoch().run();
    let image = Image::of(&layout);
    assert_ne!(image.digest, plain);
    assert_eq!(image.config["config"], config_of(&bed, "a")["config"]);
    // Nor has an image that is made from one with a cache.
    let above = bed.work.context("above", "FROM base\nRUN echo more > /more\n");
    let result = bed.work.path("above-layout");
    let kiln = bed.machine("d");
    kiln.build(&above).layout("base", &layout).into_layout(&result).run();
    assert!(Image::of(&result).config.get(FIELD).is_none());
}

fn config_of(bed: &Bed, machine: &str) -> Value {
    let shown: Value =
        serde_json::from_str(&bed.machine(machine).print(&["inspect", "app"])).unwrap();
    let mut config = shown[0].clone();
    config["config"] = config["Config"].take();
    config
}

#[test]
fn an_image_for_several_platforms_has_a_cache_for_each() {
    let Some(bed) = Bed::new() else { return };
    let context = bed
        .work
        .context("platforms", "FROM scratch\nCOPY file /\nARG TARGETARCH\nWORKDIR /$TARGETARCH\n");
    bed.work.write("platforms/file", "x\n");
    let layout = bed.work.path("layout");
    let build = |machine: &str| {
        let build = bed.machine(machine).build(&context).at_epoch();
        build.arg("--platform=linux/amd64,linux/arm64").tag("app").arg("--cache-to=type=inline")
    };
    let steps = build("a").into_layout(&layout).run();
    assert_eq!(steps.ran().len(), steps.count());
    let from = format!("--cache-from=type=local,src={},tag=latest", layout.display());
    assert_eq!(build("b").arg(from).run().ran(), Vec::<&str>::new());
    assert_eq!(bed.machine("b").digest("app"), bed.machine("a").digest("app"));
}
