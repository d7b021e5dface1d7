//! Real Dockerfiles on real Debian bases: built, unpacked by umoci, run by runc.

use std::fs;

use super::support::build::{Build, Kiln};
use super::support::image::Image;
use super::support::servers::{Bundle, free_port};
use super::support::{Work, bases, example, have, is_root};

/// The host's certificates: in the sandbox only, never in the image.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[test]
fn the_first_app_installs_from_pypi_and_answers_over_http() {
    if !is_root() || !have(&["umoci", "runc"]) {
        return;
    }
    let Some(base) = bases::python() else { return };
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let app = work.copy(&example("friendlyhello"), "app");
    let certificates = work.path("certificates");
    fs::create_dir(&certificates).unwrap();
    if let Err(error) = fs::copy(CERTIFICATES, certificates.join("ca-certificates.crt")) {
        return kiln_testkit::skipped(&format!("{CERTIFICATES}: {error}"));
    }
    let build = || -> Build {
        let build = kiln.build(&app).tag("friendlyhello").layout("python-base", &base);
        build.arg(format!("--build-context=host-certificates={}", certificates.display()))
    };

    let layout = work.path("layout");
    let steps = build().into_layout(&layout).run();
    assert_eq!(steps.ran().len(), steps.count(), "{steps:?}");
    assert!(steps.said("pip install").contains("Successfully installed"), "{steps:?}");

    let bundle = Bundle::unpack(&work, &layout);
    let port = free_port();
    bundle.set_variable("PORT", &port.to_string());
    let mut container = bundle.start("friendlyhello");
    let answer = container.get(port);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("<h3>Hello World!</h3>"), "{answer}");
    drop(container);
    // The cache mount and the host's certificates were there for the step, and are not in the image.
    assert!(!bundle.file("root/.cache").exists());
    assert!(!bundle.file("run/ca").exists());

    let digest = kiln.digest("friendlyhello");
    let again = build().run();
    assert_eq!(again.ran(), Vec::<&str>::new());
    assert_eq!(again.count(), steps.count());
    assert_eq!(kiln.digest("friendlyhello"), digest);

    let source = fs::read_to_string(app.join("app.py")).unwrap();
    fs::write(app.join("app.py"), source.replace("Hello", "Good day")).unwrap();
    assert_eq!(build().run().ran(), ["[5/5] COPY . ."]);
    assert_ne!(kiln.digest("friendlyhello"), digest);
    work.assert_no_mounts();
}

#[test]
fn a_program_compiled_in_one_stage_is_all_there_is_in_the_next() {
    let Some(base) = bases::c() else { return };
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let layout = work.path("layout");
    let build = || kiln.build(&example("compiled")).tag("compiled").layout("c-base", &base);
    let steps = build().into_layout(&layout).run();
    assert_eq!(steps.said("RUN /out/hello"), "hello, test\n");

    let image = Image::of(&layout);
    assert_eq!(image.names(0), ["hello"]);
    assert_eq!(image.layers().len(), 1);
    assert_eq!(build().run().ran(), Vec::<&str>::new());
    work.assert_no_mounts();

    if is_root() && have(&["umoci", "runc"]) {
        assert_eq!(Bundle::unpack(&work, &layout).run("compiled"), "hello, world\n");
    }
}
