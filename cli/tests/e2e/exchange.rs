//! Images on their way to other tools and back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::build::Kiln;
use super::support::image::Image;
use super::support::servers::Registry;
use super::support::{Work, bases, have, oci, output, tool};

const APP: &str = "\
FROM base
WORKDIR /srv/app
COPY --chown=app:app --chmod=640 notes.txt .
RUN mkdir data && echo made > data/file && ln -s data/file link
ENV GREETING=\"good day\"
LABEL org.example.kind=test
EXPOSE 8080
USER app
CMD [\"cat\", \"notes.txt\"]
";

/// A small image in a store and in a layout.
struct App {
    work: Work,
    kiln: Kiln,
    layout: PathBuf,
}

impl App {
    /// Builds it, with what else `arguments` ask for; nothing where there is no base.
    fn build(arguments: &[String]) -> Option<Self> {
        Self::build_in(Work::new(), arguments)
    }

    fn build_in(work: Work, arguments: &[String]) -> Option<Self> {
        let base = bases::busybox()?;
        let kiln = Kiln::at(work.path("store"));
        let context = work.context("context", APP);
        work.write("context/notes.txt", "a note\n");
        let layout = work.path("layout");
        let mut build = kiln.build(&context).tag("example/app:1").layout("base", &base);
        for argument in arguments {
            build = build.arg(argument);
        }
        build.into_layout(&layout).run();
        Some(Self { work, kiln, layout })
    }
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&output(command)).unwrap()
}

fn skopeo() -> Command {
    let mut command = tool("skopeo");
    command.arg("--insecure-policy");
    command
}

#[test]
fn an_image_comes_back_from_a_registry_as_a_base() {
    if !have(&["docker-registry", "skopeo"]) {
        return;
    }
    let Some(app) = App::build(&[]) else { return };
    let registry = Registry::start(&app.work);
    let name = format!("{}/example/app:1", registry.host);
    let there = format!("docker://{name}");
    let copy = ["copy", "--dest-tls-verify=false", &oci(&app.layout, "1"), &there];
    output(skopeo().args(copy));
    let image = Image::of(&app.layout);
    let seen = json(skopeo().args(["inspect", "--tls-verify=false", &there]));
    assert_eq!(seen["Digest"], image.digest.as_str());

    let by_digest = format!("{}/example/app@{}", registry.host, image.digest);
    for (place, base) in [("by-tag", &name), ("by-digest", &by_digest)] {
        let text =
            format!("FROM {base}\nRUN cat notes.txt link && id -un && echo more > data.txt\n");
        let context = app.work.context(place, &text.replace("data.txt", "/tmp/data.txt"));
        let kiln = Kiln::at(app.work.path(&format!("{place}-store")));
        let layout = app.work.path(&format!("{place}-layout"));
        let steps = kiln.build(&context).into_layout(&layout).run();
        assert_eq!(steps.said("RUN"), "a note\nmade\napp\n");
        let above = Image::of(&layout);
        let below = image.layers();
        assert_eq!(above.layers()[..below.len()], below, "the base's layers are used as they are");
        assert_eq!(above.names(below.len()), ["tmp/", "tmp/data.txt"]);
        assert_eq!(above.config["config"]["User"], "app");
        assert_eq!(above.config["config"]["Labels"]["org.example.kind"], "test");
    }
    app.work.assert_no_mounts();
}

#[test]
fn skopeo_and_umoci_read_a_layout() {
    if !have(&["skopeo", "umoci"]) {
        return;
    }
    let Some(app) = App::build(&[]) else { return };
    let image = Image::of(&app.layout);
    let seen = json(skopeo().args(["inspect", &oci(&app.layout, "1")]));
    assert_eq!(seen["Digest"], image.digest.as_str());
    assert_eq!(seen["Labels"]["org.example.kind"], "test");
    let stat = ["stat", "--json", "--image", &format!("{}:1", app.layout.display())];
    let history = json(tool("umoci").args(stat))["history"].as_array().unwrap().clone();
    let layers = history.iter().filter(|entry| entry["layer"].is_object());
    assert_eq!(layers.count(), image.layers().len());
    let bundle = app.work.path("bundle");
    let unpack = ["unpack", "--rootless", "--image", &format!("{}:1", app.layout.display())];
    output(tool("umoci").args(unpack).arg(&bundle));
    assert_eq!(fs::read_to_string(bundle.join("rootfs/srv/app/link")).unwrap(), "made\n");
}

/// A call of buildah or podman that touches nothing of the machine's.
fn containers(program: &str, work: &Work) -> Command {
    let mut command = tool(program);
    command
        .arg("--root")
        .arg(work.path("containers"))
        .arg("--runroot")
        .arg(work.path("containers-run"))
        .args(["--storage-driver", "vfs"])
        .env("HOME", work.path("home"))
        .env("TMPDIR", work.path("tmp"));
    fs::create_dir_all(work.path("tmp")).unwrap();
    command
}

#[test]
fn buildah_takes_a_layout_as_a_base() {
    if !have(&["buildah"]) {
        return;
    }
    let Some(app) = App::build(&[]) else { return };
    let buildah = || containers("buildah", &app.work);
    // The path becomes the image's name, in which no capital letter may be.
    let mut from = buildah();
    let name =
        output(from.args(["from", "--quiet", "oci:layout:1"]).current_dir(app.work.path("")));
    let seen = json(buildah().args(["inspect", name.trim()]));
    assert_eq!(seen["OCIv1"]["config"]["Cmd"], serde_json::json!(["cat", "notes.txt"]));
    assert_eq!(seen["FromImageDigest"], Image::of(&app.layout).digest.as_str());
    output(buildah().args(["rm", name.trim()]));
}

#[test]
fn podman_loads_a_docker_archive() {
    if !have(&["podman", "skopeo"]) {
        return;
    }
    let work = Work::new();
    let archive = work.path("app.tar");
    let to_docker = format!("--output=type=docker,dest={}", archive.display());
    let Some(app) = App::build_in(work, &[to_docker]) else { return };
    let loaded = output(containers("podman", &app.work).arg("load").arg("-i").arg(&archive));
    assert!(loaded.contains("docker.io/example/app:1"), "{loaded}");
    let podman = &mut containers("podman", &app.work);
    let seen = json(podman.args(["image", "inspect", "docker.io/example/app:1"]));
    let image = Image::of(&app.layout);
    let id = image.manifest["config"]["digest"].as_str().unwrap();
    assert_eq!(format!("sha256:{}", seen[0]["Id"].as_str().unwrap()), id);
    assert_eq!(seen[0]["Config"]["User"], "app");
    assert_eq!(seen[0]["RootFS"]["Layers"], image.config["rootfs"]["diff_ids"]);
    let seen = json(skopeo().args(["inspect", &format!("docker-archive:{}", archive.display())]));
    assert_eq!(seen["Env"].as_array().unwrap().last().unwrap(), "GREETING=good day");
}

#[test]
fn what_is_saved_is_loaded_unchanged() {
    let Some(app) = App::build(&[]) else { return };
    let archive = app.work.path("saved.tar");
    let path = archive.to_str().unwrap();
    app.kiln.print(&["save", "-o", path, "example/app:1"]);
    let other = Kiln::at(app.work.path("other-store"));
    assert_eq!(other.print(&["load", "-i", path]), "Loaded image: example/app:1\n");
    assert_eq!(other.digest("example/app:1"), app.kiln.digest("example/app:1"));
    assert_eq!(other.digest("example/app:1"), Image::of(&app.layout).digest);
    // What was loaded is a base like any other.
    let context = app.work.context("above", "FROM example/app:1\nRUN cat notes.txt\n");
    assert_eq!(other.build(&context).run().said("RUN"), "a note\n");
}

#[test]
fn what_skopeo_archives_is_loaded() {
    if !have(&["skopeo"]) {
        return;
    }
    let Some(app) = App::build(&[]) else { return };
    let id = |kiln: &Kiln| kiln.print(&["images", "--quiet", "--no-trunc"]);
    for form in ["oci-archive", "docker-archive"] {
        let archive = app.work.path(&format!("{form}.tar"));
        let to = format!("{form}:{}:example/app:1", archive.display());
        output(skopeo().args(["copy", &oci(&app.layout, "1"), &to]));
        let other = Kiln::at(app.work.path(&format!("{form}-store")));
        other.print(&["load", "-i", archive.to_str().unwrap()]);
        assert_eq!(id(&other), id(&app.kiln), "{form}");
        run_loaded(&app.work, &other, form);
    }
}

fn run_loaded(work: &Work, kiln: &Kiln, form: &str) {
    let context: &Path =
        &work.context(&format!("{form}-above"), "FROM example/app:1\nRUN cat notes.txt link\n");
    assert_eq!(kiln.build(context).run().said("RUN"), "a note\nmade\n");
}
